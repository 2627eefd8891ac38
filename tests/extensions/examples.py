"""The examples of docs/extend.md as modules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def write_modules(folder: Path) -> list[str]:
    """Write the page's Python modules into a folder; returns their names."""
    names = []
    for language, text in _BLOCK.findall(PAGE.read_text()):
        if language == "python":
            first = text.partition("\n")[0]
            (folder / first.removeprefix("# ")).write_text(text)
            names.append(first.removeprefix("# ").removesuffix(".py"))
    return names


def recipe_parts(module: str) -> dict[str, Any]:
    """The page's YAML that names a class of a module and stands below it."""
    text = PAGE.read_text().partition(f"# {module}.py\n")[2]
    return yaml.safe_load(next(body for kind, body in _BLOCK.findall(text) if kind == "yaml"))


def install(folder: Path, group: str, name: str, value: str) -> None:
    """Write the metadata of an installed package that declares an entry point."""
    info = folder / "my_extensions-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-extensions\nVersion: 1.0\n")
    with (info / "entry_points.txt").open("a") as file:
        file.write(f"[{group}]\n{name} = {value}\n")
