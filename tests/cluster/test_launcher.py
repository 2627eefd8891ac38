"""The file for `ray up`, read by Ray's own code: its schema, its defaults, the autoscaler's view of it."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from longspan.cluster.files import rendered
from longspan.cluster.settings import SETTINGS
from longspan.runtime.pool import selector
from tests.cluster.settings import settings

HOME = "~/longspan/"


def config(*overrides: str) -> dict[str, Any]:
    return yaml.safe_load(rendered(settings(*overrides))["aws.yaml"])


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("zones=[us-west-2b, us-west-2a]", "key={name: mine, file: ~/.ssh/mine.pem}"),
        ("efa={subnet: subnet-1, security_group: sg-1}", "source={git: 'https://host/x', ref: v1}"),
    ],
    ids=["own", "zones", "efa"],
)
def test_rays_schema_takes_it(overrides: tuple[str, ...]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(config(*overrides)))


def test_the_autoscaler_sees_the_pools() -> None:
    from ray._private.label_utils import validate_label_key, validate_label_value
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig

    seen = AutoscalingConfig(config(), skip_content_hash=True)
    nodes = seen.get_node_type_configs()
    assert nodes
    assert seen.get_head_node_type() == "head"
    assert {
        name: (each.min_worker_nodes, each.max_worker_nodes) for name, each in nodes.items()
    } == {
        "head": (0, 1),
        "data": (0, 4),
        "training": (0, 8),
        "training-on-demand": (0, 2),
        "serving": (0, 4),
    }
    assert nodes["head"].resources == {"CPU": 0, "GPU": 0}
    assert nodes["training"].labels == {
        "longspan.io/pool": "training",
        "ray.io/market-type": "spot",
        "ray.io/accelerator-type": "H100",
    }
    assert nodes["training-on-demand"].labels["longspan.io/pool"] == "training"
    assert nodes["data"].labels == {"longspan.io/pool": "data", "ray.io/market-type": "spot"}
    for each in nodes.values():
        for key, value in each.labels.items():
            assert (validate_label_key(key), validate_label_value(value)) == (None, None)
    assert seen.get_worker_setup_commands("training") == ["~/longspan/cluster/node.sh setup gpu"]
    assert seen.get_worker_setup_commands("data") == ["~/longspan/cluster/node.sh setup cpu"]
    assert seen.get_head_setup_commands() == ["~/longspan/cluster/node.sh setup cpu"]


def schedule(
    available: dict[str, float] | None = None, count: int = 1, **takes: float
) -> dict[str, int]:
    """What Ray's scheduler starts for `count` that ask for the training pool, each for eight GPUs if not for less."""
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil
    from ray.core.generated.autoscaler_pb2 import ResourceRequestByCount
    from ray.core.generated.common_pb2 import LabelSelectorOperator

    labels = [
        (label, LabelSelectorOperator.LABEL_OPERATOR_IN, [value])
        for label, value in selector("training").items()
    ]
    request = ResourceRequestUtil.make(takes or {"GPU": 8}, label_selectors=[labels])
    seen = AutoscalingConfig(config(), skip_content_hash=True)
    reply = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            node_type_configs=seen.get_node_type_configs(),
            max_num_nodes=seen.get_max_num_nodes(),
            disable_launch_config_check=True,
            resource_requests=[ResourceRequestByCount(request=request, count=count)],
            recoverable_resource_availabilities=available or {},
        )
    )
    return {each.instance_type: each.count for each in reply.to_launch}


def test_spot_comes_first_and_on_demand_when_the_spot_pool_is_full() -> None:
    assert schedule(count=2) == {"training": 2}
    assert schedule(count=10) == {"training": 8, "training-on-demand": 2}


def test_a_machine_comes_for_a_job_that_looks_for_its_gpus() -> None:
    """What `runtime/session.py` asks for: a GPU, or where none is asked for by number a machine of the pool."""
    assert schedule(GPU=1) == schedule(CPU=1) == {"training": 1}


def test_on_demand_stands_in_while_ray_takes_spot_for_unavailable() -> None:
    assert schedule({"training": 0.1}) == {"training-on-demand": 1}


def test_ray_does_not_take_spot_for_unavailable_when_ec2_refuses_to_start_it() -> None:
    """Why there is workers.on_demand_after_s; when this fails, Ray has fixed it."""
    from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import (
        CloudResourceMonitor,
    )
    from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

    monitor = CloudResourceMonitor()
    refused = InstanceUpdateEvent(
        instance_id="i", instance_type="training", new_instance_status=Instance.ALLOCATION_FAILED
    )
    monitor.notify([refused])
    assert monitor.get_recoverable_resource_availabilities() == {}


def test_machines_are_closed_encrypted_and_know_their_role() -> None:
    for name, node in config()["available_node_types"].items():
        machine = node["node_config"]
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        assert machine["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
        role = name if name in ("head", "serving") else "worker"
        assert machine["IamInstanceProfile"] == {"Name": f"longspan-{role}"}
        spot = node["labels"]["ray.io/market-type"] == "spot"
        assert ("InstanceMarketOptions" in machine) is spot is (name in ("data", "training"))


def test_ray_asks_for_the_token_and_the_dashboard_stays_on_the_head() -> None:
    ours = config()
    start = ours["head_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in start
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in start
    for command in (*ours["head_start_ray_commands"], *ours["worker_start_ray_commands"]):
        # env.sh sets RAY_AUTH_MODE, and says that the token is where the file mount puts it.
        assert command.startswith("cd ~/longspan && . ./env.sh && ") or command.endswith("watch")
    assert next(iter(ours["file_mounts"])) == "~/longspan/.longspan/ray/token"
    assert "token" not in str(ours["head_start_ray_commands"])


def test_the_nodes_get_all_that_git_holds_and_they_need() -> None:
    mounts = config()["file_mounts"]
    tracked = subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, check=False
    ).stdout
    there = {line.split("/")[0] for line in tracked.splitlines()}
    if not there:
        pytest.skip("not a git checkout")
    left_out = {"tests", "docs", "benchmarks", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    mounted = {path.removeprefix(HOME) for path in mounts}
    assert {name for name in there if not name.startswith(".")} - left_out <= mounted
    assert mounted - there == {".longspan/ray/token"}


def test_machines_that_are_there_already_get_the_same() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    local = yaml.safe_load((SETTINGS.parent / "local.yaml").read_text())
    ours = config()
    for key in ("file_mounts", "rsync_exclude"):
        assert local[key] == ours[key]
    validate_config(prepare_config(local))


def test_a_repository_is_fetched_where_one_is_named() -> None:
    ours = config("source={git: 'https://host/x y', ref: v1}")
    assert list(ours["file_mounts"]) == ["~/longspan/.longspan/ray/token"]
    fetch = ours["setup_commands"][0]
    assert "git fetch -q --depth 1 'https://host/x y' v1" in fetch
    # A pool's own commands stand in place of the ones for all.
    assert ours["available_node_types"]["serving"]["worker_setup_commands"][0] == fetch


def test_machines_without_gpus_are_told_where_torch_is() -> None:
    ours = config("extra_index=https://wheels.example/cpu")
    command = "EXTRA_INDEX=https://wheels.example/cpu ~/longspan/cluster/node.sh setup cpu"
    assert ours["head_setup_commands"] == ours["worker_setup_commands"] == [command]
    assert "EXTRA_INDEX" not in str(ours["available_node_types"]["serving"])


def test_efa_has_an_adapter_on_every_card_and_one_group_for_all() -> None:
    ours = config("efa={subnet: subnet-1, security_group: sg-1}")["available_node_types"]
    cards = ours["training"]["node_config"]["NetworkInterfaces"]
    assert len(cards) == 32
    assert {card["InterfaceType"] for card in cards} == {"efa"}
    assert [(card["NetworkCardIndex"], card["DeviceIndex"]) for card in cards[:3]] == [
        (0, 0),
        (1, 1),
        (2, 1),
    ]
    assert ours["head"]["node_config"]["SecurityGroupIds"] == ["sg-1"]
    assert "NetworkInterfaces" not in ours["serving"]["node_config"]


def test_the_script_of_the_nodes_parses() -> None:
    subprocess.run(["bash", "-n", "cluster/node.sh"], check=True)
    done = subprocess.run(["cluster/node.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "node: node.sh setup cpu|gpu, or node.sh watch\n")


@pytest.mark.parametrize(
    ("name", "cpus", "market"), [("head", 0, "on-demand"), ("data", 32, "spot")]
)
def test_a_node_announces_what_its_pool_says(
    name: str, cpus: int, market: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private import ray_constants
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    node = config()["available_node_types"][name]
    # So Ray's launcher passes them on to `ray start`.
    for variable, key in (("RESOURCES", "resources"), ("LABELS", "labels")):
        given = getattr(ray_constants, f"{variable}_ENVIRONMENT_VARIABLE")
        monkeypatch.setenv(given, json.dumps(node[key]))
    announced = ResourceAndLabelSpec().resolve(is_head=name == "head", node_ip_address="10.0.0.1")
    assert (announced.num_cpus, announced.num_gpus) == (cpus, 0)
    assert announced.labels["longspan.io/pool"] == name
    assert announced.labels["ray.io/market-type"] == market
