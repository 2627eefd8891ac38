"""YAML as users expect it: ``2e-5`` is a number, and a key given twice is an error."""

from __future__ import annotations

import re
from typing import Any

import yaml


class ConfigLoader(yaml.SafeLoader):
    """YAML 1.1 reads ``2e-5`` as text, PyYAML takes the last of equal keys; users expect neither."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping as written, before merges (``<<``), which may repeat a key.

        Raises:
            DuplicateKey: the same key twice.
        """
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise DuplicateKey(
                        f"line {line}: the key {key.value!r} is given twice in one section, "
                        f"first on line {lines[name]}; keep one of them"
                    )
                lines[name] = line
        return node


class DuplicateKey(yaml.YAMLError):
    """One of two values would be lost."""


ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)
