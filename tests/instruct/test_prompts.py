"""Prompt files, ours and a user's."""

from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.instruct.prompt_files import OURS, PLACES, load_prompts


def test_ours_have_all_places_and_share_their_beginning() -> None:
    prompts = load_prompts()
    assert prompts.shared_beginning
    assert sorted(path.stem for path in OURS.glob("*.txt")) == sorted(PLACES)
    chunk = "Some text with {question} and {answer} in it."
    asked = prompts.ask("short", chunk)
    judged = prompts.judge(chunk, "Who?", "Anna")
    # The chunk's computation is shared: it stands before all that differs.
    assert asked.index(chunk) == judged.index(chunk) < 200
    assert asked[: asked.index(chunk)] == judged[: judged.index(chunk)]
    assert "Question: Who?" in judged and "Answer: Anna" in judged
    assert prompts.example("normal", chunk, "Who?").endswith("Who?")


def test_a_folder_replaces_some_or_all(tmp_path: Path) -> None:
    (tmp_path / "critique.txt").write_text("Judge {chunk} {question} {answer}")
    prompts = load_prompts(tmp_path)
    assert prompts.judge("a", "b", "c") == "Judge a b c"
    assert prompts.hash != load_prompts().hash
    assert prompts.hash_of("question") == load_prompts().hash_of("question")
    assert not prompts.shared_beginning


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Judge {chunk} {answer} {question}", "must have the places {chunk}, {question}, {answer}"),
        ("Judge {chunk}", "it has {chunk}"),
        ("Judge", "it has none"),
        ("{chunk} {chunk} {question} {answer}", "once and in this order"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "critique.txt").write_text(text)
    with pytest.raises(UserError, match=r"prompts: .*critique\.txt") as error:
        load_prompts(tmp_path)
    assert said in str(error.value)


def test_a_folder_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds none of"):
        load_prompts(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        load_prompts(tmp_path / "nowhere")
    (tmp_path / "critique.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8"):
        load_prompts(tmp_path)
    with open(tmp_path / "critique.txt", "wb") as file:
        file.truncate(2**20 + 1)
    with pytest.raises(UserError, match=r"critique\.txt has more than 1,048,576 bytes"):
        load_prompts(tmp_path)
