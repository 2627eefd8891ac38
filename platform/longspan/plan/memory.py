"""Memory of one training worker: model states under ZeRO, activations, logits.

An estimate to choose a ZeRO stage by, in bytes. It assumes AdamW under DeepSpeed and a fused
attention kernel (FlashAttention, or SDPA without a mask), whose attention matrix never exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from longspan.plan.layer_memory import final_norm_bytes, layer_bytes
from longspan.plan.savers import NO_SAVERS, NOTHING_ON_HOST, HostBytes, Savers, with_offloads

if TYPE_CHECKING:
    from longspan.model.facts import ModelFacts

# DeepSpeed's defaults, in elements: parameters that ZeRO-3 keeps gathered at one time
# (stage3_max_live_parameters), and the bucket in which gradients are reduced (reduce_bucket_size).
_LIVE_PARAMETERS = 10**9
_REDUCE_BUCKET = 5 * 10**8
# Elements of a rank's partition that ZeRO-3 steps at one time (sub_group_size).
_SUB_GROUP = 10**9

USABLE = 0.9
"""Share of a device's memory that is planned with; the driver, communication and fragmentation take the rest."""

_GIBI = 2**30

ZERO_STAGES: dict[str, tuple[Literal[1, 2, 3], ...]] = {"bf16": (2, 3), "fp32": (1, 2, 3)}
"""ZeRO stages that can be trained, by precision.

For bf16 parameters and fp32 gradients at stage 1 DeepSpeed takes another optimizer, BF16_Optimizer
(0.19.8, ``DeepSpeedEngine._do_optimizer_sanity_check``), whose state has no fragments to write to a
checkpoint.
"""


@dataclass(frozen=True)
class Workload:
    """What one worker computes at a time."""

    length: int
    """Tokens per row; the longest of the run."""
    micro_batch: int = 1
    """Rows per forward pass."""
    loss_chunk: int | None = None
    """Tokens whose logits exist at one time; None: all of them."""
    sequence_parallel: int = 1
    """Workers that share a row."""
    savers: Savers = NO_SAVERS
    mlp_tile: int | None = None
    """Tokens of a tile of a tiled MLP; None: the model's hidden size."""
    communication: str = "fp32"
    """Data type in which workers sum gradients: "bf16" or "fp32"."""

    @property
    def tokens(self) -> int:
        """Tokens of a forward pass on one worker."""
        return -(-self.length * self.micro_batch // self.sequence_parallel)


@dataclass(frozen=True)
class StateBytes:
    """Model states of one worker, in bytes."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """All three."""
        return self.weights + self.gradients + self.optimizer


@dataclass(frozen=True)
class WorkerMemory:
    """Everything one worker holds at its fullest moment, in bytes."""

    states: StateBytes
    buffers: int
    """Gathered weights (ZeRO-3) and the buckets for reducing gradients."""
    activations: int
    """Tensors of all layers that are kept from the forward to the backward pass."""
    layer: int
    """Tensors of one layer besides, while its gradients are computed."""
    loss: int
    """The last norm, logits, and where these are computed in chunks the output head's gradients."""
    update: int
    """Copies of gradients while the optimizer steps, when there are no activations."""
    exchange: int = 0
    """Part of `layer`: copies that workers which share a row send each other for attention."""
    host: HostBytes = NOTHING_ON_HOST
    """Not part of `total`."""

    @property
    def total(self) -> int:
        """The peak: a layer, the loss and the optimizer's step take turns."""
        at_work = self.activations + max(self.layer, self.loss)
        return self.states.total + self.buffers + max(at_work, self.update)


@dataclass(frozen=True)
class ZeroChoice:
    """A ZeRO stage, and why."""

    stage: int
    fits: bool
    memory: WorkerMemory
    reason: str


def state_bytes(parameters: int, stage: int, workers: int, precision: str) -> StateBytes:
    """Weights, gradients and AdamW's states of one of ``workers`` (ZeRO, arXiv 1910.02054, 3.1).

    In bf16 18 bytes a parameter in all: 2 for the weight, 4 for its gradient, 12 for the fp32 master
    and two moments; in fp32 16: 4, 4 and 8. The paper has 2 bytes for a gradient; here gradients
    accumulate in fp32 (DeepSpeed's ``grad_accum_dtype``). Stage 1 divides the optimizer's states among
    the workers, stage 2 the gradients too, stage 3 the weights too.
    """
    assert stage in (0, 1, 2, 3), f"no such ZeRO stage: {stage=}"
    assert workers > 0, f"{workers=}"
    weight, gradient, optimizer = _bytes_per_parameter(precision)
    return StateBytes(
        weights=weight * _share(parameters, workers, stage >= 3),
        gradients=gradient * _share(parameters, workers, stage >= 2),
        optimizer=optimizer * _share(parameters, workers, stage >= 1),
    )


def activation_bytes(facts: ModelFacts, tokens: int, precision: str) -> int:
    """Tensors kept for backward, without the logits, for ``tokens`` tokens that are neither checkpointed nor shared."""
    workload, element = Workload(tokens), _element(precision)
    final_norm = final_norm_bytes(facts, workload, element) - tokens * facts.hidden * element
    return layer_bytes(facts, workload, element).kept + final_norm


def logits_bytes(facts: ModelFacts, tokens: int, chunk: int | None) -> int:
    """Logits of ``chunk`` tokens (None: all) while their loss is computed.

    12 bytes each: in fp32 the logits, their log-softmax and its gradient; in bf16 the last two in
    fp32, and the logits and their gradient in bf16.
    """
    return 12 * facts.vocab * (tokens if chunk is None else min(chunk, tokens))


def head_gradient_bytes(facts: ModelFacts, tokens: int, chunk: int | None, precision: str) -> int:
    """Gradients of the output head beside its own: the fp32 sum over chunks, and one chunk's.

    See :mod:`longspan.model.loss_chunks`; a single chunk has neither.
    """
    if chunk is None or tokens <= chunk:
        return 0
    return (4 + _element(precision)) * facts.vocab * facts.hidden


def reduction_bytes(parameters: int, stage: int, precision: str, communication: str) -> int:
    """Buckets through which gradients pass on their way to their sum over the workers.

    Per element of a bucket, in DeepSpeed 0.19.8:

    - fp32 below stage 3: one bucket of gradients (``setup_buckets`` in stage_1_and_2.py);
    - bf16 at stage 2: two buckets of bf16 gradients that take turns (``overlap_comm``), and where
      ``communication`` is fp32 a copy of one of them (``gradient_reduction_w_predivide``);
    - stage 3: one bucket in the type of communication (``DeepSpeedZeroOptimizer_Stage3.__init__``)
      and its copy in the order of the workers (``reduce_scatter_coalesced``).
    """
    bucket = min(parameters, _REDUCE_BUCKET) if stage else 0
    element, sent = _element(precision), _element(communication)
    if stage == 3:
        return bucket * 2 * sent
    if precision == "fp32":
        return bucket * element
    return bucket * (2 * element + (sent if sent != element else 0))


def worker_memory(
    facts: ModelFacts,
    workload: Workload,
    stage: int,
    workers: int,
    precision: str,
) -> WorkerMemory:
    """Memory of one of ``workers`` that trains ``facts``'s model on ``workload``."""
    weight, _, _ = _bytes_per_parameter(precision)
    element, tokens, chunk = _element(precision), workload.tokens, workload.loss_chunk
    is_gathered = stage == 3 and (workers > 1 or workload.savers.offload_parameters)
    assert stage == 3 or not workload.savers.offload_parameters, f"parameter offload at {stage=}"
    gathered = min(facts.parameters, _LIVE_PARAMETERS) if is_gathered else 0
    share = _share(facts.parameters, workers, stage >= 1)
    layers = layer_bytes(facts, workload, element)
    memory = WorkerMemory(
        states=state_bytes(facts.parameters, stage, workers, precision),
        buffers=weight * gathered
        + reduction_bytes(facts.parameters, stage, precision, workload.communication),
        activations=layers.kept,
        layer=layers.work,
        loss=final_norm_bytes(facts, workload, element)
        + logits_bytes(facts, tokens, chunk)
        + head_gradient_bytes(facts, tokens, chunk, precision),
        # Stage 2 under bf16 steps with the accumulated gradients themselves, stage 3 with a copy of one
        # sub-group at a time (_prepare_fp32_grad_for_sub_group).
        update=4 * min(share, _SUB_GROUP) if stage == 3 else 0,
        exchange=layers.exchange,
    )
    return with_offloads(memory, facts, workload, stage, share, element)


def choose_zero_stage(
    facts: ModelFacts,
    workload: Workload,
    workers: int,
    precision: str,
    device_memory: int,
) -> ZeroChoice:
    """Smallest ZeRO stage of ``precision`` that fits into nine tenths of ``device_memory`` (bytes).

    The rest is left to the driver, communication and fragmentation. Where none fits, the choice is
    the one that needs least, with ``fits`` False and a reason that says what would help.
    """
    room = USABLE * device_memory
    needs: dict[int, WorkerMemory] = {
        stage: worker_memory(facts, workload, stage, workers, precision)
        for stage in ZERO_STAGES[precision]
        if stage == 3 or not workload.savers.offload_parameters
    }
    for stage in sorted(needs):
        if needs[stage].total <= room:
            reason = _reason(stage, needs, workers, device_memory)
            return ZeroChoice(stage, True, needs[stage], reason)
    least = min(needs, key=lambda stage: (needs[stage].total, stage))
    reason = _why_none_fits(needs[least], workload, workers, device_memory)
    return ZeroChoice(least, False, needs[least], reason)


def _reason(stage: int, needs: dict[int, WorkerMemory], workers: int, device_memory: int) -> str:
    fits = (
        f"{_describe(needs[stage], workers)}, within {USABLE:.0%} of the device's "
        f"{_gib(device_memory)}"
    )
    smaller = [other for other in needs if other < stage]
    if not smaller:
        return fits
    before = max(smaller)
    return f"{fits}; stage {before} would take {_gib(needs[before].total)}"


def _why_none_fits(need: WorkerMemory, workload: Workload, workers: int, device_memory: int) -> str:
    if need.activations + max(need.layer, need.loss) < need.states.total:
        help_ = "more workers, or devices with more memory"
    elif not workload.savers.activation_checkpointing:
        help_ = "activation checkpointing"
    elif workload.loss_chunk is None:
        help_ = "a loss chunk"
    elif workload.micro_batch > 1:
        help_ = "a smaller micro-batch"
    else:
        help_ = "sequence parallelism, shorter rows, or devices with more memory"
    return (
        f"nothing fits: {_describe(need, workers)}, more than {USABLE:.0%} of the device's "
        f"{_gib(device_memory)}; what would help: {help_}"
    )


def _describe(need: WorkerMemory, workers: int) -> str:
    among = "one worker" if workers == 1 else f"each of {workers} workers"
    host = f"; host memory {_gib(need.host.total)}" if need.host.total else ""
    return (
        f"{among} takes {_gib(need.total)} (model states {_gib(need.states.total)}, activations "
        f"and logits {_gib(need.activations + max(need.layer, need.loss))}, buffers {_gib(need.buffers)}{host})"
    )


def _bytes_per_parameter(precision: str) -> tuple[int, int, int]:
    """Bytes of a weight, of its gradient, and of its optimizer states: the fp32 master and moments."""
    return _element(precision), 4, 12 if precision == "bf16" else 8


def _element(precision: str) -> int:
    assert precision in ("bf16", "fp32"), f"no memory estimate for {precision=}"
    return 2 if precision == "bf16" else 4


def _share(parameters: int, workers: int, divided: bool) -> int:
    return -(-parameters // workers) if divided else parameters


def _gib(count: float) -> str:
    return f"{count / _GIBI:.1f} GiB"
