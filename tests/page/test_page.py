import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from longspan.serve.page import routes as page
from tests.page.pdfs import pdf
from tests.page.standin import MODEL, WINDOW, Words


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(Starlette(routes=page.routes(Words()))) as client:
        yield client


def said(response) -> str:
    """The message of an error, which has OpenAI's shape."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["message"]


def test_the_page_comes_with_a_policy_that_lets_nothing_else_in(client: TestClient):
    for path in ("/", *(f"/page/{file.name}" for file in page.STATIC.iterdir())):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'; script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert client.get("/page/main.js").headers["content-type"].startswith("text/javascript")


def test_what_has_not_changed_is_not_sent_again(client: TestClient):
    etag = client.get("/").headers["etag"]
    again = client.get("/", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/page/page.py", "/page/..%2Fpage.py", "/page/%2e%2e/page.py", "/page/", "/page/x/y"]
)
def test_only_the_files_of_the_page_are_served(client: TestClient, path: str):
    assert client.get(path).status_code == 404


def test_no_file_of_the_page_builds_elements_from_text():
    writers = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
    writers += ("DOMParser", "createContextualFragment", "setHTML", "new Function", "srcdoc")
    for file in page.STATIC.glob("*.js"):
        assert [word for word in writers if word in file.read_text()] == [], file.name


def test_tokens_of_a_conversation_and_of_texts(client: TestClient):
    turns = [{"role": "user", "content": "two words"}, {"role": "assistant", "content": "one"}]
    turns.append({"role": "user", "content": ""})
    facts = {"window": WINDOW, "model": MODEL}
    answer = client.post("/page/tokens", json={"messages": turns})
    assert answer.json() == {"tokens": 12, **facts}
    answer = client.post("/page/tokens", json={"texts": ["two words", "one", ""]})
    assert answer.json() == {"tokens": [2, 1, 0], **facts}
    assert client.post("/page/tokens", json={"texts": []}).json() == {"tokens": [], **facts}
    many = client.post("/page/tokens", json={"texts": [""] * 257})
    assert (many.status_code, many.json()["error"]["param"]) == (400, "texts")
    assert client.post("/page/tokens", json={"texts": [""] * 256}).status_code == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b"{}", "either 'messages' or 'texts'"),
        (b'{"texts": ["\\ud800"]}', "hex escape"),
        (b'{"texts": [1]}', "valid string"),
        (b'{"messages": [{"role": "user", "content": "x", "more": 1}]}', "not permitted"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', "end with the user's turn"),
    ],
)
def test_what_can_not_be_counted_is_explained(client: TestClient, body: bytes, message: str):
    answer = client.post("/page/tokens", content=body)
    assert answer.status_code == 400
    assert message in said(answer)


def test_the_text_of_a_pdf(client: TestClient):
    answer = client.post("/page/text", content=pdf("The first page", "", "The third"))
    expected = {"text": "The first page\n\nThe third", "pages": 3, "empty_pages": 1}
    assert answer.json() == expected


def test_a_pdf_that_only_asks_not_to_be_printed(client: TestClient):
    answer = client.post("/page/text", content=pdf("Readable", password=""))
    assert answer.json()["text"] == "Readable"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"plain text", "not a PDF"),
        (pdf("Secret", password="word"), "encrypted"),
        (pdf("", ""), "only pictures of its pages"),
        (pdf("Half")[:200], "damaged"),
        (b"%PDF-1.7\n" + bytes(1000), "damaged"),
    ],
    ids=["text", "encrypted", "pictures", "cut off", "empty"],
)
def test_pdfs_that_have_no_text_to_give_say_why(client: TestClient, data: bytes, message: str):
    answer = client.post("/page/text", content=data)
    assert answer.status_code == 400
    assert message in said(answer)


@pytest.mark.parametrize(
    ("deed", "error"),
    [
        ("bytearray(pdf_text.MEMORY)", "MemoryError"),
        ("open('written', 'w').write('x' * 100_000)", "File too large"),
    ],
)
def test_the_process_that_reads_a_pdf_is_bounded(tmp_path: Path, deed: str, error: str):
    program = f"from longspan.serve.page import pdf_text; pdf_text.limit(10); {deed}"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode
    assert error in done.stderr


def test_the_static_files_stay_small():
    lines = {file.name: len(file.read_text().splitlines()) for file in Path(page.STATIC).iterdir()}
    assert {name: count for name, count in lines.items() if count > 300} == {}
