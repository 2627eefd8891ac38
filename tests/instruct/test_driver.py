"""The driver's two ways to look before leaping, and mistakes found before anything starts."""

import json
from pathlib import Path

import pytest

from longspan.errors import UserError
from tests.in_process import main_of
from tests.instruct.project import Project
from tests.instruct.server import MODEL, Server, serving
from tests.tiny import make_tiny_tokenizer


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("driver")
    make_tiny_tokenizer().save_pretrained(folder / "tokenizer")
    recipe = {"tokenizer": str(folder / "tokenizer"), "generator": {"model": "nowhere"}}
    return Project(folder, recipe, documents=2, paragraphs=4)


def driver(project: Project, server: Server, *arguments: str) -> int:
    """The driver's `main`, in this process."""
    endpoint = f"generator={json.dumps({'endpoint': {'url': server.url, 'model': MODEL}})}"
    return main_of("self_instruct")([str(project.path), endpoint, *arguments])


def test_validate_and_plan_start_nothing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        assert driver(project, server, "--validate") == 0
        assert "the recipe is valid" in capsys.readouterr().out
        assert driver(project, server, "--plan") == 0
        plan = capsys.readouterr().out
        assert "chunk_tokens" in plan and "stories" in plan and "storyteller at http" in plan
        assert server.asked == []
    assert not project.store.exists("instruct")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("corpora.0.path=nowhere",), "corpora.stories.path: 'nowhere' matches no object"),
        (("chunk_tokens=5000",), "chunk_tokens: 5,000 is more than"),
        (("tokenizer=nowhere",), "tokenizer: there is no model 'nowhere'"),
        (("prompts=nowhere",), "prompts: "),
        (
            ("generator.endpoint.key_variable=NO_SUCH_API_KEY",),
            "variable NO_SUCH_API_KEY is not set",
        ),
        (("generator.endpoint.model=other",), "has no model 'other'; it has storyteller"),
    ],
)
def test_mistakes_are_found_before_anything_starts(
    project: Project, overrides: tuple[str, ...], said: str
) -> None:
    with serving() as server:
        with pytest.raises(UserError) as error:
            driver(project, server, *overrides)
        assert said in str(error.value)
        assert server.asked == []


def test_a_generator_that_is_no_model_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^generator\.model: "):
        project.prepared(f"generator.model={tmp_path}")


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_of("self_instruct")(["--help"]) == 0
    said = capsys.readouterr().out
    assert "python jobs/self_instruct.py my.yaml --plan" in said and "{url: http" in said
