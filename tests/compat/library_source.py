"""Classes of a library as its source states them: importing vLLM takes longer than all other contracts together."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


class ClassSource:
    """A class in a library's source."""

    def __init__(self, module: str, name: str) -> None:
        """Parse a class without importing its module.

        Args:
            module: full name, such as vllm.v1.engine.async_llm.
            name: of the class; an AssertionError tells that there is none.
        """
        found = [node for node in ast.walk(tree(module)) if isinstance(node, ast.ClassDef)]
        classes = {node.name: node for node in found}
        assert name in classes, f"{module} has no class {name}"
        self._node = classes[name]

    def methods(self) -> dict[str, list[str]]:
        """Return the names of its methods' parameters, by method."""
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        found = [node for node in self._node.body if isinstance(node, functions)]
        return {node.name: [each.arg for each in node.args.args] for node in found}

    def is_async(self, method: str) -> bool:
        """Whether a method is a coroutine."""
        found = [node for node in self._node.body if isinstance(node, ast.AsyncFunctionDef)]
        return method in {node.name for node in found}

    def attributes(self) -> set[str]:
        """Return the names that its body annotates, and those that its methods assign to `self`."""
        stored = {
            node.attr
            for node in ast.walk(self._node)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        }
        annotated = [node.target for node in self._node.body if isinstance(node, ast.AnnAssign)]
        return stored | {ast.unparse(target) for target in annotated}


@cache
def tree(module: str) -> ast.Module:
    """Parse a module of a library without importing it or its packages."""
    return ast.parse(text(module))


def text(module: str) -> str:
    """Read the source of a module of a library."""
    package, *parts = module.split(".")
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(*parts).with_suffix(".py").read_text()
