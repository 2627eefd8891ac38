"""Plain Ray Train with DeepSpeed's own checkpoints, as Ray's documentation has it.

    python benchmarks/plain.py SETTINGS.json

The same model, updates, rows and tokens as the other side; the rows are synthetic. The number of
workers is fixed: DeepSpeed's checkpoint of one number of workers is not read by another. Upon a
drain notice it reacts as `ray.train.get_preemption_info` recommends: a checkpoint just in time,
then it works on, until Ray Train restarts it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.counted import Counter


def initialize(model_dir: str) -> Any:
    """The model under DeepSpeed, ZeRO stage 1, fp32."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed
    import torch
    from transformers import AutoModelForCausalLM

    # It would compile its shared-memory all-reduce for 100 s; gloo serves as well here.
    deepspeed.ops.__compatible_ops__ = {}
    deepspeed.init_distributed(dist_backend="gloo", dist_init_required=False)
    model: Any = AutoModelForCausalLM.from_pretrained(
        model_dir, dtype=torch.float32, trust_remote_code=False
    )
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {"stage": 1},
        "steps_per_print": 10**12,
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    return engine


def save(engine: Any, update: int) -> None:
    """A checkpoint that is waited for; all workers call it."""
    import ray.train

    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(folder, client_state={"update": update})
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report({"update": update}, checkpoint=checkpoint)


def load(engine: Any) -> int:
    """The update to go on from."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return 0
    with checkpoint.as_directory() as folder:
        _, state = engine.load_checkpoint(folder)
    return state["update"]


def update(engine: Any, settings: dict[str, Any]) -> None:
    """One update on this worker's rows."""
    import torch

    shape = (settings["rows"] // settings["workers"], settings["length"])
    tokens = torch.randint(settings["vocabulary"], shape)
    engine.backward(engine(input_ids=tokens, labels=tokens, use_cache=False).loss)
    engine.step()


def worker(settings: dict[str, Any]) -> None:
    """What each worker does."""
    import ray.train
    import torch

    torch.set_num_threads(1)
    context = ray.train.get_context()
    engine = initialize(settings["model"])
    done = first = load(engine)
    counter = Counter(Path(settings["counter"])) if context.get_world_rank() == 0 else None

    def note(**record: Any) -> None:
        if counter:
            counter.log(record)

    event = "resumed" if first else "started"
    note(kind="event", event=event, update=first, workers=context.get_world_size())
    told = False
    while done < settings["updates"]:
        began = time.perf_counter()
        update(engine, settings)
        done += 1
        note(kind="update", update=done, step_seconds=time.perf_counter() - began)
        noticed = ray.train.get_preemption_info() is not None
        if done % settings["checkpoint_every"] == 0 or (noticed and not told):
            save(engine, done)
            note(kind="event", event="checkpoint", update=done)
        told = told or noticed


def main(settings_file: str) -> None:
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = json.loads(Path(settings_file).read_text())
    # Its controller's log then says when it noticed that a worker is gone.
    os.environ["RAY_TRAIN_ENABLE_STATE_TRACKING"] = "1"
    ray.init(logging_level="WARNING", log_to_driver=False)
    trainer = TorchTrainer(
        import_module("benchmarks.plain").worker,  # Ray passes it on by name.
        train_loop_config=settings,
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=settings["workers"], resources_per_worker={"CPU": 1}
        ),
        run_config=RunConfig(
            name=settings["name"],
            storage_path=settings["storage"],
            failure_config=FailureConfig(max_failures=-1),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    trainer.fit()


if __name__ == "__main__":
    main(sys.argv[1])
