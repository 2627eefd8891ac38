"""The files that settings become, and whether those that are kept are what they would become."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from longspan.cluster.launcher import has_efa, launcher_config
from longspan.cluster.roles import head_policy, worker_policy
from longspan.cluster.schema import Settings
from longspan.cluster.settings import PLACEHOLDER, NodeType, image_of, node_types
from longspan.errors import UserError

LAUNCHER, HEAD_POLICY, WORKER_POLICY = "aws.yaml", "iam-policy-head.json", "iam-policy-worker.json"
WIDTH = 140


def rendered(settings: Settings) -> dict[str, str]:
    """The files by their names.

    Raises:
        UserError: the region has no image.
    """
    return {
        LAUNCHER: _head_line(settings)
        + yaml.dump(launcher_config(settings), Dumper=_Dumper, sort_keys=False, width=WIDTH),
        HEAD_POLICY: json.dumps(head_policy(settings), indent=2) + "\n",
        WORKER_POLICY: json.dumps(worker_policy(settings), indent=2) + "\n",
    }


def write(settings: Settings, folder: Path) -> list[Path]:
    """Write them into a folder; which they are."""
    files = rendered(settings)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def require_rendered(settings: Settings, folder: Path) -> None:
    """The files in a folder are what the settings become.

    Raises:
        UserError: one is missing, or is not.
    """
    stale = [
        name
        for name, text in rendered(settings).items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    if stale:
        raise UserError(
            f"{', '.join(str(folder / name) for name in stale)}: not what the settings say; "
            "change the settings, never these files, then run python -m longspan.cluster render"
        )


def notes(settings: Settings) -> list[str]:
    """What the user should know of what was rendered."""
    found = []
    if image_of(settings) == PLACEHOLDER:
        found.append("image: still the placeholder; cluster/settings.yaml says how to find yours")
    if any(bucket.name == "your-bucket" for bucket in settings.buckets):
        found.append("buckets: still the placeholder your-bucket")
    return found


def _head_line(settings: Settings) -> str:
    lines = [
        "Rendered by `python -m longspan.cluster render` from cluster/settings.yaml: change that one, not this.",
        "`ray up cluster/aws.yaml`, from the checkout's root; docs/cluster.md has the rest.",
        *(line for node in node_types(settings) if (line := _fabric(settings, node))),
    ]
    return "".join(f"# {line}\n" for line in lines)


def _fabric(settings: Settings, node: NodeType) -> str | None:
    if node.pool != "training" or not node.instance.efa:
        return None
    if has_efa(settings, node):
        return f"{node.name}: EFA on each of the {node.instance.efa} network cards of {node.machine.type}."
    return (
        f"{node.name}: {node.machine.type} has EFA, which is off: efa in the settings is not set."
    )


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, and no anchors where a value occurs twice."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True
