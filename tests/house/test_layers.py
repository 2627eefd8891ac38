"""Packages import from lower layers only, and no module imports itself by way of others."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def layers() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs" / "draw_layers.py"))


def test_imports_go_to_lower_layers(layers: dict[str, Any]) -> None:
    height = {
        package: -number
        for number, (_, packages) in enumerate(layers["LAYERS"])
        for package in packages
    }
    edges = layers["package_imports"]()
    assert set(edges) == set(height), "docs/draw_layers.py: LAYERS names every package"
    upward = [
        f"{package} imports {target}"
        for package, targets in edges.items()
        for target in sorted(targets)
        if height[target] >= height[package]
    ]
    assert not upward


def test_no_module_imports_itself_by_way_of_others(layers: dict[str, Any]) -> None:
    known = layers["modules"]()
    remaining = {
        module: set(layers["imports"](path, known, for_types=False))
        for module, path in known.items()
    }
    while free := [
        module for module, targets in remaining.items() if not targets & remaining.keys()
    ]:
        for module in free:
            del remaining[module]
    assert not remaining, "modules of a cycle, and those that import it"


def test_the_order_of_the_data_has_no_io(layers: dict[str, Any]) -> None:
    assert not layers["package_imports"]()["order"]


def test_the_picture_is_up_to_date(layers: dict[str, Any]) -> None:
    written = (ROOT / "docs" / "layers.svg").read_text(encoding="utf-8")
    assert written == layers["svg"](), "python docs/draw_layers.py draws it anew"
