"""Chat: questions about the standard library, answered by its own documentation, one to three turns."""

import ast
import inspect
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from longspan.samples.documents import Document

Pair = tuple[str, str]

LONGEST_ANSWER = 800
"""Characters: the model learns to answer, not to recite."""


def documents(
    folder: Path | None = None, names: Iterable[str] = sys.stdlib_module_names
) -> list[Document]:
    """Conversations of top-level modules, each as one line of JSON (messages).

    Args:
        folder: where the source is; the interpreter's own standard library by default.
        names: the modules wanted, as far as they are there.
    """
    folder = folder or Path(sysconfig.get_paths()["stdlib"])
    found = []
    for name in sorted(names):
        path = folder / f"{name}.py"
        if not name.startswith("_") and path.is_file():
            pairs = list(_questions(name, path.read_text(encoding="utf-8")))
            # One, two and three turns by turns.
            size = 1 + len(found) % 3
            chunks = [pairs[at : at + size] for at in range(0, len(pairs), size)]
            found += [Document(f"{name}-{n}", _line(chunk)) for n, chunk in enumerate(chunks)]
    return found


def write(documents: Sequence[Document], folder: Path) -> None:
    """As JSON lines."""
    lines = "".join(f"{document.text}\n" for document in documents)
    (folder / "standard-library.jsonl").write_text(lines, encoding="utf-8")


def _questions(module: str, source: str) -> Iterator[Pair]:
    tree = ast.parse(source)
    if answer := _answer(tree):
        yield f"What is Python's module {module} for?", answer
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and (answer := _answer(node)):
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            yield f"What does the {kind} {module}.{node.name} do?", answer


def _answer(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str | None:
    """The first paragraph of its documentation, where it has any and is public."""
    text = ast.get_docstring(node)
    if not text or getattr(node, "name", "").startswith("_"):
        return None
    paragraph = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    return paragraph if 20 <= len(paragraph) <= LONGEST_ANSWER else None


def _line(pairs: Sequence[Pair]) -> str:
    messages = [
        {"role": role, "content": content}
        for pair in pairs
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]
    return json.dumps({"messages": messages}, ensure_ascii=False)
