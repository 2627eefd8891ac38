"""The machines of cluster/aws.yaml in a cloud that has no spot ones left; the others are nodes on this machine."""

from pathlib import Path
from typing import Any

import yaml
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider

from longspan.runtime.pool import MARKET

FILE = Path(__file__).parents[2] / "cluster" / "aws.yaml"
HEAD = "ray.head.default"
"""How that provider calls it."""


class Scarce(FakeMultiNodeProvider):
    """Ray's provider for its own tests, which refuses spot machines as EC2 does."""

    def create_node_with_resources_and_labels(
        self, node_config: Any, tags: Any, count: int, resources: Any, labels: dict[str, str]
    ) -> None:
        if labels.get(MARKET) == "spot":
            raise RuntimeError("InsufficientInstanceCapacity: there is no capacity for spot")
        super().create_node_with_resources_and_labels(node_config, tags, count, resources, labels)


def cloud() -> dict[str, Any]:
    """The autoscaler's config: pools, labels, numbers and priorities of aws.yaml, machines of one CPU."""
    config: dict[str, Any] = yaml.safe_load(FILE.read_text())
    types = config["available_node_types"]
    for node in types.values():
        node |= {"resources": {"CPU": 1}, "node_config": {}}
    types[HEAD] = types.pop("head") | {"resources": {"CPU": 0}}
    config["head_node_type"] = HEAD
    config["provider"] = {
        "type": "external",
        "module": "tests.cluster.scarce.Scarce",
        "launch_multiple": True,
    }
    config["cluster_synced_files"] = []
    return config
