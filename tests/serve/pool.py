"""A driver that plans for a pool of the cluster, and has a replica of nothing on it."""

import sys

import ray
from ray import serve

from longspan.runtime import console
from longspan.runtime.nodes import start_machine
from longspan.runtime.pool import LABEL
from longspan.serve.app import deployment_options
from longspan.serve.engine import EnginePlan
from longspan.serve.hardware import probe_hardware
from longspan.serve.schema import ServeSettings

POOL = "serving"


class Replica:
    """Says where it is."""

    def where(self) -> str:
        return ray.get_runtime_context().get_node_labels()[LABEL]


def main(_: list[str]) -> int:
    ray.init(log_to_driver=False)
    start_machine(POOL, print)
    hardware = probe_hardware(POOL)
    print("runs on", hardware.device.kind, hardware.gpus)
    settings = ServeSettings.model_validate({"model": "m", "pool": POOL})
    bundle = {"CPU": 0.2}
    plan = EnginePlan({"max_model_len": 64}, bundle, 2, 1, {}, gpu=False)
    options = deployment_options(settings, plan)
    deployment = serve.deployment(
        Replica,
        ray_actor_options={"num_cpus": 0},
        placement_group_bundles=[bundle] * plan.workers,
        placement_group_strategy="STRICT_PACK",
        **options,
    )
    handle = serve.run(deployment.bind())
    print("a replica in", handle.where.remote().result(timeout_s=60))
    serve.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main, []))
