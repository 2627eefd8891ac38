"""The training loop of one worker, the same under Ray Train and torchrun."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch.distributed as dist

from longspan.chat.template import Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.history.log import HistoryLog
from longspan.history.records import Facts
from longspan.model.attention import SDPA_BY_DOCUMENT, Conditions, choose
from longspan.model.attention_checks import require_like_sdpa
from longspan.model.cache import model_cache_folder
from longspan.model.export import ExportSpec, export_model, write_model_files
from longspan.model.facts import EXACT_FAMILIES, read_facts
from longspan.model.kernel_checks import require_like_eager
from longspan.model.kernel_functions import Kernels, load_kernels
from longspan.model.kernel_functions import install as install_kernels
from longspan.model.kernels import KernelConditions, choose_kernels
from longspan.model.load import load_config, load_model, load_tokenizer, offload_activations
from longspan.model.loss import CausalLMLoss
from longspan.model.positions import using_positions, verify
from longspan.model.probe import require_round_trip
from longspan.model.source import local_model_dir
from longspan.model.tiled_norms import tile_norms
from longspan.model.tiling import tile_mlps
from longspan.parallel.groups import SequenceGroup
from longspan.parallel.ulysses import install
from longspan.stream.batch import Batch
from longspan.train.callback import Callbacks, Training, Update
from longspan.train.checkpoint.manager import CheckpointManager, latest_checkpoint, restore
from longspan.train.checkpoint.run_record import record_of, save_buffers, write_run_record
from longspan.train.collectives import broadcast_object
from longspan.train.data.heldout import HeldOut
from longspan.train.data.readahead import ReadAhead
from longspan.train.deepspeed_setup import loading
from longspan.train.engine import Engine
from longspan.train.engine_config import EngineConfig
from longspan.train.host import Host
from longspan.train.job import Job
from longspan.train.learning_rate import CosineSchedule
from longspan.train.loss_spike_guard import LossSpikeGuard
from longspan.train.recorder import Recorder


def train(job: Job, host: Host) -> None:
    """Train ``job`` to its end, from its latest checkpoint if it has one, and export the model.

    Raises:
        Restart: the workers have to start again.
    """
    found = latest_checkpoint(job, host)
    # The stream starts up while the model is loaded and held-out losses are measured.
    with closing(ReadAhead(batches_left(job, host, found.facts.update if found else 0))) as batches:
        model_dir = local_model_dir(job.recipe.base_model, job.store, model_cache_folder())
        attention = choose(job.plan.attention, conditions(job))
        on_this_device = KernelConditions.of_process(load_config(model_dir))
        kernels = choose_kernels(job.plan.kernels, on_this_device)
        engine = build_engine(
            job, model_dir, attention.implementation, host.group, load_kernels(kernels.name)
        )
        if found:
            restore(engine, job, found)
        facts = history_facts(engine, job, host)
        recorder = Recorder(job, host, read_facts(model_dir), engine.update_count)
        guard = LossSpikeGuard(job, recorder, found.facts if found else None)
        history = HistoryLog(job.store, job.layout.history_path, facts, recorder.note)
        manager = CheckpointManager(engine, job, host, recorder, history, facts.start, guard)
        is_finished = False
        try:
            callbacks = Callbacks(job.recipe, training_of(engine, job, host, recorder))
            recorder.note(f"attention: {attention.implementation} ({attention.reason})")
            recorder.note(f"kernels: {kernels.name} ({kernels.reason})")
            if host.group.degree > 1:
                recorder.note(
                    f"sequence parallelism: each row is shared by {host.group.degree} workers"
                )
            recorder.begins(engine.update_count, resumed=found is not None)
            broadcast_object(lambda: rehearse(engine, job))
            heldout = HeldOut(job, host.group)
            if not found and not heldout.is_empty:
                measure_before(engine, job, heldout, recorder)
            callbacks.on_start()
            attempt = Attempt(engine, job, host, recorder, heldout, guard, manager, callbacks)
            run_updates(attempt, batches)
            callbacks.on_end()
            trained = found is None or found.facts.update < job.plan.updates
            if trained or not broadcast_object(job.export.is_complete):
                export(engine, job, recorder)
            is_finished = True
        finally:
            recorder.close(is_finished=is_finished)


def training_of(engine: Engine, job: Job, host: Host, recorder: Recorder) -> Training:
    """The run as this worker's callbacks see it."""
    return Training(
        model=engine.model,
        rank=host.rank,
        world_size=host.world_size,
        first_update=engine.update_count,
        updates=job.plan.updates,
        log=recorder.note,
    )


def build_engine(
    job: Job,
    model_dir: Path,
    attention: str,
    group: SequenceGroup | None = None,
    kernels: Kernels | None = None,
) -> Engine:
    """The model with its new positions, verified, under DeepSpeed and verified again.

    Args:
        job: the run.
        model_dir: local folder of the base model.
        attention: an implementation by name.
        group: the ranks that share rows with this one; None: rows are not shared.
        kernels: for RoPE, RMSNorm and SwiGLU; None: the model's own modules.

    Raises:
        UserError: attention or a kernel computes something else, or cannot be used in this model.
    """
    plan, config = job.plan, engine_config(job)
    with loading(config):
        model = load_model(
            model_dir,
            plan.positions,
            plan.window,
            config.dtype,
            attention,
            plan.activation_checkpointing and not plan.savers.offload_activations,
        )
    shared = (group is not None and group.degree > 1) or config.headwise_attention
    if shared:
        install(attention)
    if kernels:
        install_kernels(model, kernels)
    if plan.savers.offload_activations:
        offload_activations(model)
    if plan.savers.tiled_mlp:
        tile_mlps(model, plan.mlp_tile)
        tile_norms(model, plan.mlp_tile)
    model.train()
    engine = Engine(CausalLMLoss(model, plan.loss_chunk), config, group)
    verify(engine.model, plan.positions)
    # Rows that are shared, or whose heads take turns, are computed by document under SDPA.
    computed = SDPA_BY_DOCUMENT if shared and attention == "sdpa" else attention
    require_like_sdpa(computed, model.config, engine.device, config.dtype)
    if kernels:
        require_like_eager(kernels, model, engine.device, config.dtype)
    engine.require_own_losses(job.recipe.packing.document_mask)
    return engine


def conditions(job: Job) -> Conditions:
    """Return what decides on the attention implementation, on this process's device."""
    plan = job.plan
    return Conditions.of_process(plan.precision, max(stage.length for stage in plan.stages))


def engine_config(job: Job) -> EngineConfig:
    """The engine's view of a job."""
    plan, optimizer = job.plan, job.recipe.optimizer
    return EngineConfig(
        schedule=CosineSchedule(
            plan.learning_rate, plan.final_learning_rate, plan.warmup_updates, plan.updates
        ),
        zero_stage=plan.zero_stage,
        precision=plan.precision,
        communication_data_type=plan.communication_data_type,
        betas=optimizer.betas,
        eps=optimizer.eps,
        weight_decay=optimizer.weight_decay,
        gradient_clipping=optimizer.gradient_clipping,
        num_sources=len(job.data.manifests),
        micro_batch=plan.micro_batch,
        seed=job.recipe.training.seed,
        offload_optimizer=plan.savers.offload_optimizer,
        offload_parameters=plan.savers.offload_parameters,
        headwise_attention=plan.savers.headwise_attention,
    )


def measure_before(engine: Engine, job: Job, heldout: HeldOut, recorder: Recorder) -> None:
    """Held-out loss of the model as it came, and after its positions were changed."""
    if job.recipe.heldout.original_model and job.plan.positions.encoding != "none":
        with using_positions(engine.model, job.plan.original):
            recorder.heldout(heldout.measure(engine), "original", 0)
    recorder.heldout(heldout.measure(engine), "start", 0)


def batches_left(job: Job, host: Host, done: int) -> Iterator[Batch]:
    """This rank's rows of the updates that are left; there may be none."""
    return host.batches(done) if done < job.plan.updates else iter(())


@dataclass(frozen=True)
class Attempt:
    """One start of the workers, as one of them sees it."""

    engine: Engine
    job: Job
    host: Host
    recorder: Recorder
    heldout: HeldOut
    guard: LossSpikeGuard
    manager: CheckpointManager
    callbacks: Callbacks


def run_updates(attempt: Attempt, batches: Iterator[Batch]) -> None:
    """Every update that is left, with held-out losses and checkpoints when they are due.

    Raises:
        Restart: the group is to start again, with other workers or at an earlier checkpoint.
    """
    engine, job, recorder, manager = attempt.engine, attempt.job, attempt.recorder, attempt.manager
    heldout, guard = attempt.heldout, attempt.guard
    excluded_updates = guard.excluded_updates()
    began = time.perf_counter()
    for batch in batches:
        waited = time.perf_counter() - began
        if batch.update in excluded_updates:
            engine.exclude_update(batch)
            recorder.event("batch_excluded", engine.update_count)
        else:
            stats = engine.update(batch, guard.accepts)
            seconds = time.perf_counter() - began
            metrics = attempt.callbacks.on_update(Update(stats.update + 1, stats, batch))
            recorder.update(stats, batch.length, seconds=seconds, waited=waited, metrics=metrics)
            guard.observe(stats, manager.wait)
        manager.on_update_end(batch)
        done = engine.update_count
        last = done == job.plan.updates
        if not heldout.is_empty and (last or done % job.plan.heldout_every == 0):
            recorder.heldout(heldout.measure(engine), "end" if last else "during", done)
        due = done % job.plan.checkpoint_every == 0 and not guard.has_recent_skips
        if last or due:
            manager.save()
        if not last and (notice := attempt.host.notice()):
            manager.save_now(notice)
        began = time.perf_counter()
    assert engine.update_count == job.plan.updates, (
        f"the rows ended after update {engine.update_count} of {job.plan.updates}"
    )
    manager.finish()


def history_facts(engine: Engine, job: Job, host: Host) -> Facts:
    """What this rank's record of rows says of itself; all ranks call it."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    start = broadcast_object(lambda: f"{now}-update-{engine.update_count:07d}")
    return Facts(
        start,
        engine.update_count,
        host.rank,
        host.world_size,
        job.data.fingerprint,
        job.recipe.packing.method,
        job.data.source_names,
    )


def rehearse(engine: Engine, job: Job) -> None:
    """On rank 0, before the first update: find what would make the export fail after the last one.

    What it writes is stored: any checkpoint of the run can be exported with it.

    Raises:
        UserError: something would.
    """
    model = engine.model.model
    with tempfile.TemporaryDirectory(prefix="longspan-export-") as temporary:
        folder = Path(temporary)
        write_model_files(model, job.tokenizer_folder(), export_spec(engine, job), folder)
        if model.config.model_type not in EXACT_FAMILIES:  # A test does it for these.
            require_round_trip(model.config.to_dict())
        save_buffers(model, folder)
        write_run_record(job.store, job.layout.run_path, record_of(job), folder)


def export_spec(engine: Engine, job: Job) -> ExportSpec:
    """How the run's model is written."""
    model = engine.model.model
    generation_config = model.generation_config
    if any(source.chat for source in job.data.sources):
        tokenizer = load_tokenizer(job.tokenizer_folder())
        template = Template(ChatTokenizer(tokenizer), job.recipe.end_of_turn)
        generation_config = ending_turns(generation_config, template)
    plan = job.plan
    return ExportSpec(
        model.config, plan.positions, plan.window, engine.config.dtype, generation_config
    )


def export(engine: Engine, job: Job, recorder: Recorder) -> None:
    """Rank 0 writes the Hugging Face folder and puts it into the store; all ranks gather the weights."""
    weights = engine.state_dict()
    if weights is not None:
        with tempfile.TemporaryDirectory(prefix="longspan-export-") as temporary:
            folder = Path(temporary) / "model"
            export_model(weights, job.tokenizer_folder(), export_spec(engine, job), folder)
            job.export.begin()
            job.store.upload(folder, job.layout.model_path)
        job.export.end()
        recorder.event("exported", engine.update_count, model=job.store.uri(job.layout.model_path))
    dist.barrier()


def ending_turns(config: Any, template: Template) -> Any:
    """A generation config that also stops at what ends a turn of the chat template: a base model's may not."""
    end = template.end_of_turn
    if end is None:
        return config
    config = copy.deepcopy(config)
    if end.token is None:
        config.stop_strings = [*(config.stop_strings or []), end.text]
        return config
    known = config.eos_token_id
    ids = known if isinstance(known, list) else [] if known is None else [known]
    config.eos_token_id = ids if end.token in ids else [*ids, end.token]
    return config
