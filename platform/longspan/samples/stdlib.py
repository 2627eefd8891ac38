"""Code: the source of the running interpreter's own standard library, one document per package."""

import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

from longspan.errors import UserError
from longspan.samples.documents import Document

# Tables rather than code, by the megabyte.
TABLES = frozenset({"encodings", "pydoc_data"})
TESTS = frozenset({"test", "tests", "idle_test"})


def documents(
    folder: Path | None = None, names: Iterable[str] = sys.stdlib_module_names
) -> list[Document]:
    """One document per top-level module, and one per package: all its modules, each under its path.

    Args:
        folder: where the source is; the interpreter's own standard library by default.
        names: the top-level modules and packages wanted, as far as they are there.

    Raises:
        UserError: the interpreter's standard library is not there as source.
    """
    folder = folder or Path(sysconfig.get_paths()["stdlib"])
    found = [
        document for name in sorted(set(names) - TABLES) if (document := _document(folder, name))
    ]
    if not found:
        raise UserError(f"no Python source in {folder}: make setup with a PYTHON that has its own")
    return found


def _document(folder: Path, name: str) -> Document | None:
    module = folder / f"{name}.py"
    if module.is_file():
        text = _source(module)
        return Document(module.name, text) if text.strip() else None
    parts = [
        f"# {path.relative_to(folder).as_posix()}\n{text}"
        for path in _modules(folder / name)
        if (text := _source(path)).strip()
    ]
    return Document(f"{name}/", "\n\n".join(parts)) if parts else None


def _modules(package: Path) -> Iterator[Path]:
    for path in sorted(package.rglob("*.py")):
        if not TESTS.intersection(path.relative_to(package).parts):
            yield path


def _source(path: Path) -> str:
    """A module's text in the encoding it declares; empty where it has none that can be read."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        return ""
