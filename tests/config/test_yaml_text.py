"""YAML of others runs nothing and does not grow."""

from pathlib import Path

import pytest
import yaml

from longspan.config.yaml_text import load_yaml
from longspan.errors import UserError
from longspan.recipe.load import load_recipe

LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)
MERGES = "m0: &m0 {k: v}\n" + "".join(
    f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}\n" for n in range(1, 30)
)
HOSTILE = {
    "aliases": (LAUGHS, r"aliases \(\*name\) make [\d,]+ values of it; at most 100,000"),
    "merges": (MERGES, "values of it"),
    "itself": ("a: &a [*a]", "repeats a value within itself"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "large": ("# " + "x" * 2**22, "at most 4,194,304"),
    "number": ("a: " + "1" * 10_000, "digits"),
    "date": ("a: 2024-13-45", "month"),
    "object": ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
}


@pytest.mark.parametrize(("text", "why"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_yaml_is_an_error(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(yaml.YAMLError, match=why):
        load_yaml(text)
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"(?s)recipe: .*recipe.yaml is not valid YAML: .*{why}"):
        load_recipe(path)


def test_aliases_and_merges_that_people_write_are_read() -> None:
    text = "a: &a {x: 1}\nb: [*a, *a]\nc: {<<: *a, y: 2}\n"
    assert load_yaml(text) == {"a": {"x": 1}, "b": [{"x": 1}] * 2, "c": {"x": 1, "y": 2}}
    assert load_yaml("") is None
    assert load_yaml("3") == 3
