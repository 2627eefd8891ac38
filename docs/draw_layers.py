"""Draws docs/layers.svg, the layers of the package from its imports: python docs/draw_layers.py."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "platform" / "longspan"

LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("entry points", ("cli",)),
    ("tools", ("pipeline", "cluster", "samples")),
    ("applications", ("serve", "instruct", "evaluate")),
    ("training", ("train",)),
    ("recipes and histories", ("recipe", "history")),
    ("work on the cluster", ("generate", "ingest", "stream", "selection")),
    ("the Ray cluster", ("runtime",)),
    ("estimates", ("plan",)),
    ("models and data", ("model", "corpus", "order", "observe", "shards")),
    ("configuration", ("config",)),
    ("storage and formats", ("storage", "chat", "parallel", "extensions")),
    ("base", ("_compat", "errors", "job_environment", "hashing", "position_bands")),
    ("", ("addresses",)),
)
"""Layers from the top, each a name and its packages. A package imports from lower layers only."""

WIDTH, ROW, TITLE, GAP = 960, 44, 190, 10


def modules() -> dict[str, Path]:
    """Return the modules of the package by dotted name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path], *, for_types: bool = True) -> Iterator[str]:
    """Yield the modules of the package that a module imports, also inside functions.

    Entry points may import anything: ``__main__`` modules, and what follows ``if __name__ == "__main__"``.

    Args:
        path: of the module.
        known: modules of the package.
        for_types: whether imports count that are made for type annotations alone.
    """
    if path.name == "__main__.py":
        return
    skipped = {'__name__ == "__main__"', *(() if for_types else ("TYPE_CHECKING",))}
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), skipped):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in known or node.module in known:
                    yield inner if inner in known else str(node.module)


def _nodes(tree: ast.AST, skipped: set[str]) -> Iterator[ast.AST]:
    """Yield the nodes of a tree, without the bodies of these conditions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).replace("'", '"') in skipped:
            continue
        yield node
        yield from _nodes(node, skipped)


def package_of(module: str) -> str:
    """Return the package, or top-level module, that a module belongs to; the package itself is ``longspan``."""
    return module.split(".")[1] if "." in module else module


def package_imports() -> dict[str, set[str]]:
    """Return the packages that each package imports."""
    known = modules()
    edges: dict[str, set[str]] = {package_of(module): set() for module in known}
    for module, path in known.items():
        edges[package_of(module)] |= {package_of(target) for target in imports(path, known)}
    own = {"longspan", "__main__"}
    return {
        package: targets - {package} - own
        for package, targets in edges.items()
        if package not in own
    }


def svg() -> str:
    """Return the picture: a row for each layer, a box for each package with what it imports as a tooltip."""
    edges = package_imports()
    parts = []
    for number, (title, packages) in enumerate(LAYERS):
        y = GAP + number * (ROW + GAP)
        parts.append(f'<text x="{TITLE - 12}" y="{y + 27}" class="t">{escape(title)}</text>')
        width = (WIDTH - TITLE - GAP * len(packages)) / len(packages)
        for column, package in enumerate(packages):
            x = TITLE + column * (width + GAP)
            tooltip = ", ".join(sorted(edges.get(package, ()))) or "nothing"
            parts.append(
                f"<g><title>{package} imports {tooltip}</title>"
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW}" rx="6"/>'
                f'<text x="{x + width / 2:.1f}" y="{y + 27}" class="p">{package}</text></g>'
            )
    height = GAP + len(LAYERS) * (ROW + GAP)
    style = (
        "text{font:14px system-ui,sans-serif;fill:#1f2933}.t{text-anchor:end;fill:#52606d}"
        ".p{text-anchor:middle}rect{fill:#e6f0fa;stroke:#7ba7d0}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Layers of the package">\n<style>{style}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" style="fill:#ffffff;stroke:none"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python docs/draw_layers.py", description=__doc__).parse_args()
    (ROOT / "docs" / "layers.svg").write_text(svg(), encoding="utf-8")
