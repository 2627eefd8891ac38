"""Globs, by example."""

import pytest

from longspan.storage.patterns import Glob


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.txt", "a.txt", True),
        ("*.txt", ".txt", False),
        ("*.txt", "a/b.txt", False),
        (".*", ".hidden", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("a*", "a", True),
        ("**", "a/b/c", True),
        ("**", "a/.b/c", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/**/z", "ab/z", False),
        ("**/z", "z", True),
        ("**/z", "xz", False),
        ("a.[t]*", "a.[t]x", True),
        ("a.[t]*", "a.tx", False),
        ("a+b*", "a+b", True),
        ("a+b*", "aab", False),
        ("*\n", "a\n", True),
    ],
)
def test_glob(pattern: str, path: str, matches: bool) -> None:
    assert Glob.compile(pattern).matches(path) == matches


@pytest.mark.parametrize(
    ("pattern", "prefix", "depth"),
    [("a/b*", "a/b", 1), ("*", "", 1), ("a/*/c?/d", "a/", 3), ("a/**/c", "a/", None)],
)
def test_how_much_has_to_be_listed(pattern: str, prefix: str, depth: int | None) -> None:
    glob = Glob.compile(pattern)

    assert (glob.prefix, glob.depth) == (prefix, depth)
