"""YAML to plain values, without running code and without growing.

An alias (`*name`) repeats a value at no cost in the file, so that a few lines can stand for billions of
values, as soon as something walks through them. Their number is counted before any is made.
"""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 2**22
MAX_VALUES = 100_000


class RefusedYaml(yaml.YAMLError):
    """YAML that is too large, or holds a value that can't be made."""


def load_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The plain values in a YAML text of one document.

    Args:
        text: what to parse.
        loader: a safe loader; it makes no other objects than plain values.

    Raises:
        yaml.YAMLError: it is no YAML, or too large, or nested too deeply.
    """
    assert issubclass(loader, yaml.SafeLoader), f"{loader.__name__} could make any object"
    if len(text) > MAX_CHARACTERS:
        raise RefusedYaml(f"it has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    parser = loader(text)
    try:
        node = parser.get_single_node()
        if node is None:
            return None
        values = _count(node, {})
        if values > MAX_VALUES:
            raise RefusedYaml(
                f"its aliases (*name) make {values:,} values of it; at most {MAX_VALUES:,} are read"
            )
        return parser.construct_document(node)
    except RecursionError:
        raise RefusedYaml("it is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # A date or a number that Python has not.
        raise RefusedYaml(str(error)) from None
    finally:
        parser.dispose()


def _count(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Number of values in a node, each alias counted like what it repeats.

    Args:
        node: where to begin.
        known: the numbers of nodes that were counted; None of those that are being counted.
    """
    if id(node) not in known:
        known[id(node)] = None
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [each for pair in node.value for each in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_count(child, known) for child in children)
    number = known[id(node)]
    if number is None:
        raise RefusedYaml("an alias (*name) repeats a value within itself")
    return number
