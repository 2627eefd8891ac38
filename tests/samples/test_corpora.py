import io
import json
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longspan.chat.conversation import conversation
from longspan.errors import UserError
from longspan.samples import books, chat, encyclopedia, stdlib
from longspan.samples.documents import (
    Document,
    measure,
    write_jsonl,
    write_parquet,
    write_text,
)


def archive(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            content = text.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_books_are_the_long_texts_each_once(tmp_path):
    long, other = "To be, or not to be \r\n" * 3000, "Of Mans First Disobedience\n" * 3000
    found = books.documents(
        archive(
            tmp_path / "x.tar.gz",
            {
                "x/texts/hamlet_gut.txt": "\ufeff\r\n\r\n" + long,
                "x/texts/hamlet_gut_f.txt": "folio " * 20_000,
                "x/texts/paradise.txt": other,
                "x/texts/paradise_lost_gut.txt": other,
                "x/texts/sonnet_gut.txt": "short",
                "x/texts/metadata.txt": "about " * 20_000,
                "x/docs/index.txt": "docs " * 20_000,
            },
        )
    )
    assert [document.name for document in found] == ["hamlet", "paradise"]
    assert found[0].text == "To be, or not to be\n" * 3000


def test_the_encyclopedia_leaves_out_empty_and_repeated_summaries(tmp_path):
    articles = {
        "B": {"title": "B", "extract": " second "},
        "A": {"title": "A", "extract": "first"},
        "C": {"title": "C", "extract": ""},
        "D": {"title": "D", "extract": "first"},
    }
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(encyclopedia.MEMBER, json.dumps(articles))
    assert encyclopedia.documents(path) == [Document("A", "first"), Document("B", "second")]


def test_code_is_one_document_per_package_without_its_tests(tmp_path):
    (tmp_path / "pack" / "test").mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("")
    (tmp_path / "pack" / "b.py").write_text("b = 1\n")
    (tmp_path / "pack" / "a.py").write_bytes(b"# coding: latin-1\na = '\xe9'\n")
    (tmp_path / "pack" / "test" / "c.py").write_text("c = 1\n")
    (tmp_path / "one.py").write_text("x = 1\n")
    (tmp_path / "foreign.py").write_text("y = 1\n")
    found = stdlib.documents(tmp_path, ["pack", "one", "builtin"])
    assert found == [
        Document("one.py", "x = 1\n"),
        Document("pack/", "# pack/a.py\n# coding: latin-1\na = '\u00e9'\n\n\n# pack/b.py\nb = 1\n"),
    ]


def test_chat_asks_what_is_documented(tmp_path):
    functions = [
        f'def f{n}():\n    "Return the number {n}, as it was given before."\n' for n in range(7)
    ]
    private = 'def _hidden():\n    "Nobody is asked what this one is about."\n'
    source = '"""Numbers, one function for each of them."""\n' + "".join(functions) + private
    (tmp_path / "one.py").write_text(source)
    found = chat.documents(tmp_path, ["one", "builtin"])
    chat.write(found, tmp_path)
    lines = (tmp_path / "standard-library.jsonl").read_text().splitlines()
    talks = [conversation(json.loads(line)) for line in lines]
    turns = [message.content for talk in talks for message in talk.messages]
    assert turns[:2] == [
        "What is Python's module one for?",
        "Numbers, one function for each of them.",
    ]
    assert len(turns) == 16 and "What does the function one.f6 do?" in turns


def test_an_interpreter_without_source_is_told_so(tmp_path):
    with pytest.raises(UserError, match="no Python source"):
        stdlib.documents(tmp_path, ["os"])


DOCUMENTS = [Document(f"d{number}", "\u00e9x\n" * (number + 1)) for number in range(5)]


def test_every_format_gives_back_every_document_once(tmp_path):
    for name in ("text", "jsonl", "parquet"):
        (tmp_path / name).mkdir()
    write_text(DOCUMENTS, tmp_path / "text")
    write_jsonl(DOCUMENTS, tmp_path / "jsonl", shards=2)
    write_parquet(DOCUMENTS, tmp_path / "parquet", shards=9)
    texts = {path.stem: path.read_text() for path in (tmp_path / "text").iterdir()}
    rows = [
        json.loads(line)
        for path in sorted((tmp_path / "jsonl").iterdir())
        for line in pa.input_stream(str(path), compression="zstd").read().splitlines()
    ]
    wanted = {document.name: document.text for document in DOCUMENTS}
    assert texts == wanted
    assert {row["title"]: row["text"] for row in rows} == wanted and len(rows) == 5
    table = pq.read_table(tmp_path / "parquet").to_pydict()
    assert dict(zip(table["path"], table["text"], strict=True)) == wanted
    assert len(list((tmp_path / "jsonl").iterdir())) == 2
    assert len(list((tmp_path / "parquet").iterdir())) == 5


def test_the_figures_are_those_of_the_documents():
    figures = measure(DOCUMENTS)
    assert (figures.documents, figures.characters) == (5, 45)
    assert (figures.median, figures.longest) == (9, 15)
