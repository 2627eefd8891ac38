"""The files that settings become, and whether those that are kept are what they would become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from longspan.cluster.kubernetes.schema import PLACEHOLDER as IMAGE_PLACEHOLDER
from longspan.cluster.kubernetes.schema import Kubernetes
from longspan.cluster.launcher import has_efa, launcher_config
from longspan.cluster.roles import head_policy, operator_policy, serving_policy, worker_policy
from longspan.cluster.schema import Settings
from longspan.cluster.settings import NodeType, node_types, unfilled
from longspan.errors import UserError

BASE, PRETRAIN, CHAT = "kubernetes/base.yaml", "kubernetes/pretrain.yaml", "kubernetes/chat.yaml"
LAUNCHER = "aws.yaml"
HEAD_POLICY, WORKER_POLICY = "iam-policy-head.json", "iam-policy-worker.json"
SERVING_POLICY, OPERATOR_POLICY = "iam-policy-serving.json", "iam-policy-operator.json"
WIDTH = 140
RENDERED = "Rendered by `python -m longspan.cluster render` from cluster/settings.yaml: change that one, not this."


def rendered(settings: Settings) -> dict[str, str]:
    """The files by their names.

    Raises:
        UserError: the region has no image, or what is to be served is not valid.
    """
    return {
        LAUNCHER: _head_line(settings) + _text([launcher_config(settings)]),
        HEAD_POLICY: _json(head_policy(settings)),
        WORKER_POLICY: _json(worker_policy(settings)),
        SERVING_POLICY: _json(serving_policy(settings)),
        OPERATOR_POLICY: _json(operator_policy(settings)),
        **(_of_kubernetes(settings) if settings.kubernetes else {}),
    }


def _json(policy: dict[str, Any]) -> str:
    return json.dumps(policy, indent=2) + "\n"


def _of_kubernetes(settings: Settings) -> dict[str, str]:
    from longspan.cluster.kubernetes.clusters import KUBERAY, chat, pretrain
    from longspan.cluster.kubernetes.objects import base

    kuberay = f"for KubeRay {KUBERAY} or newer; docs/cluster.md, On Kubernetes, has the rest"
    found = {BASE: base(settings), PRETRAIN: pretrain(settings), CHAT: chat(settings)}
    return {
        name: _comment([RENDERED, f"`kubectl apply -f cluster/{name}`, {kuberay}."])
        + _text(objects)
        for name, objects in found.items()
    }


def write(settings: Settings, folder: Path) -> list[Path]:
    """Write them into a folder; which they are."""
    files = rendered(settings)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def require_rendered(settings: Settings, folder: Path) -> None:
    """Check that the files in a folder are what the settings become.

    Raises:
        UserError: one is missing, or is not.
    """
    if message := stale(settings, folder):
        raise UserError(message)


def stale(settings: Settings, folder: Path) -> str | None:
    """Message about rendered files that are missing or differ from the settings; None if there are none."""
    names = [
        name
        for name, text in rendered(settings).items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]
    if not names:
        return None
    return (
        f"{', '.join(str(folder / name) for name in names)}: not what the settings say; "
        "change the settings, never these files, then run python -m longspan.cluster render"
    )


def notes(settings: Settings) -> list[str]:
    """What the user should know of what was rendered."""
    found = unfilled(settings)
    if not settings.subnets:
        found.append(
            f"{HEAD_POLICY}: subnets and security group are not known here; prepare fills them in"
        )
    if any(bucket.name == "your-bucket" for bucket in settings.buckets):
        found.append("buckets: still the placeholder your-bucket")
    return found + (_notes_of_kubernetes(settings.kubernetes) if settings.kubernetes else [])


def _notes_of_kubernetes(ours: Kubernetes) -> list[str]:
    found = []
    if ours.image == IMAGE_PLACEHOLDER:
        found.append("kubernetes.image: still the placeholder; docs/cluster.md says what is in it")
    found += tag_note(ours)
    if "model" not in ours.chat:
        found.append("kubernetes.chat.model: not set, so chat.yaml has a placeholder")
    return found


def tag_note(ours: Kubernetes) -> list[str]:
    """A warning if the image of one's own is named by a tag alone; empty otherwise."""
    if ours.image == IMAGE_PLACEHOLDER or ours.has_digest:
        return []
    return [
        f"kubernetes.image: {ours.image} is a tag, and a tag can be moved to another image; add the digest "
        f"({ours.image}@sha256:...) that `docker buildx imagetools inspect {ours.image}` prints"
    ]


def _head_line(settings: Settings) -> str:
    lines = [
        RENDERED,
        "`ray up cluster/aws.yaml`, from the checkout's root; docs/cluster.md has the rest.",
        *(line for node in node_types(settings) if (line := _fabric(settings, node))),
    ]
    return _comment(lines)


def _comment(lines: list[str]) -> str:
    return "".join(f"# {line}\n" for line in lines)


def _text(documents: list[dict[str, Any]]) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=WIDTH)


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

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Texts of several lines as they are, for people to read."""
        style = "|" if "\n" in data else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)
