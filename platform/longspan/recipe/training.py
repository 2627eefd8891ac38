"""Training sections of a recipe: optimizer, workers and engine settings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from longspan.config.section import Section

Attention = Literal[
    "auto",
    "flash_attention_3",
    "flash_attention_2",
    "torch_varlen",
    "sdpa_by_document",
    "sdpa",
    "eager",
]
KernelSetting = Literal["auto", "none", "liger"]
Precision = Literal["auto", "bf16", "fp32"]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Section):
    """AdamW and its schedule.

    Defaults that the paper leaves out are Llama 2's (section 2.2), except eps: 1e-8 is AdamW's
    usual one, Llama 2's is 1e-5.
    """

    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate. Unset: 2e-5 up to 20 billion parameters, 1e-5 above."""
    final_learning_rate_fraction: float = Field(0.1, ge=0, le=1)
    """Learning rate at the end of the cosine, as a fraction of the peak."""
    warmup_updates: int | None = Field(None, ge=0)
    """Updates of linear warm-up. Unset: 2,000, at most a tenth of the run."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """AdamW's decay rates of the first and second moment."""
    eps: float = Field(1e-8, gt=0)
    """AdamW's epsilon."""
    weight_decay: float = Field(0.1, ge=0)
    """AdamW's decoupled weight decay."""
    gradient_clipping: float = Field(1.0, gt=0)
    """Largest norm of the gradient of all parameters."""


class Workers(Section):
    """The training workers on the Ray cluster: one number, or as many as fit."""

    renamed: ClassVar = {
        "grow_after": "grow_after_s",
        "yield_after": "yield_after_s",
        "hang_after": "hang_timeout_s",
        "on_demand_after": "on_demand_after_s",
    }

    min: int = Field(1, ge=1)
    """Fewest workers that the run trains with. `workers: 8` sets min and max."""
    max: int = Field(1, ge=1)
    """Most workers."""
    grow_after_s: float = Field(60.0, ge=0)
    """Seconds for which a group is left alone before more workers are taken in."""
    yield_after_s: float | None = Field(30.0, ge=0)
    """Seconds for which the chat service waits for room before workers are given up for it, none of `min`; null:
    never."""
    hang_timeout_s: float = Field(60.0, ge=5)
    """Seconds after which a worker that does not answer is given up."""
    max_failures: int = Field(5, ge=0)
    """Failures in a row without a new checkpoint; one more ends the run."""
    gpus_per_worker: float | None = Field(None, ge=0)
    """GPUs of a worker; 0 trains on processors. Unset: 1 where the cluster has GPUs, else 0."""
    cpus_per_worker: float | None = Field(None, gt=0)
    """Logical CPUs that Ray reserves for a worker. Unset: 1."""
    pool: str | None = Field(None, min_length=1)
    """Only nodes whose label `longspan.io/pool` has this value. Unset: any node."""
    on_demand_after_s: float | None = Field(300.0, ge=0)
    """Seconds for which workers may be missing whose machines the cloud refuses to start, before the pool is asked
    for machines on demand as well; null: never."""
    sequence_parallel: int = Field(1, ge=1)
    """Workers that share every row, each with an equal part of its tokens (Ulysses). It divides the number of
    attention heads, the row lengths, `min` and `max`, and may be changed when a run is resumed."""

    @model_validator(mode="before")
    @classmethod
    def _a_number_means_exactly_that_many(cls, value: object) -> object:
        return {"min": value, "max": value} if isinstance(value, int) else value

    @property
    def falls_back_after(self) -> float | None:
        """The same; None where there is no pool either, for any other machine would do then."""
        return self.on_demand_after_s if self.pool else None


class Training(Section):
    """Settings of the engine; those that are unset are derived."""

    renamed: ClassVar = {"give_up_after": "give_up_timeout_s"}
    largest_update: ClassVar[int] = 2**22
    """Tokens of an update of a long run where `tokens_per_update` is unset (the paper: 4M)."""

    tokens: int | None = Field(None, gt=0)
    """Tokens of the whole run, rounded up to whole updates. Unset: 1,000 updates, refused where a source would be
    read more than 100 times."""
    tokens_per_update: int | None = Field(None, gt=0)
    """Tokens of one optimizer update, at every row length. Unset: 4,194,304, or a hundredth of a shorter run."""
    micro_batch: int | None = Field(None, ge=1)
    """Rows per forward pass and worker. Unset: rows of about 16,384 tokens on a GPU, 2,048 on a CPU."""
    zero_stage: Literal[1, 2, 3] | None = None
    """DeepSpeed ZeRO stage; with bf16 2 or 3, at which gradients accumulate in fp32. Unset: the lowest whose states
    fit into the device's memory."""
    precision: Precision = "auto"
    """Precision of the forward and backward pass; `auto`: bf16 where the device computes it natively. Master
    weights, moments and accumulated gradients are fp32."""
    communication_data_type: Literal["bf16", "fp32"] | None = None
    """Data type in which workers sum their gradients; bf16 halves the traffic and rounds every sum. Unset: fp32."""
    attention: Attention = "auto"
    """Attention implementation. `auto`: the first available of FlashAttention 3 and 2 (packages) and torch's own
    variable-length kernel (`torch_varlen`), all on GPUs in bf16; else SDPA, called once for each document
    (`sdpa_by_document`) where rows are longer than 8,192 tokens."""
    kernels: KernelSetting = "auto"
    """Fused kernels for RoPE, RMSNorm and SwiGLU. `auto`: Liger Kernel's (`liger`) in models of type llama, mistral,
    qwen2 and qwen3, if the package liger-kernel is installed and the device is a GPU; else `none`."""
    activation_checkpointing: bool | None = None
    """Recompute each layer in the backward pass, from its input. Unset: only where a worker's memory does not suffice
    without it."""
    headwise_attention: bool | None = None
    """Compute attention for one query head of each worker at a time. Unset: only where a worker's memory does not
    suffice without it."""
    tiled_mlp: bool | None = None
    """Compute each layer's MLP and norms over tiles of the sequence, recomputed in the backward pass. Unset: only
    where a worker's memory does not suffice without it."""
    mlp_tile: int | None = Field(None, ge=1)
    """Tokens of a tile of the MLP and of norms. Unset: the model's hidden size (ALST's rule)."""
    offload_activations: bool | None = None
    """Keep the inputs of checkpointed layers in host memory; needs `activation_checkpointing` and a GPU. Unset: only
    where a worker's memory does not suffice without it."""
    offload_optimizer: bool | None = None
    """Keep the optimizer's state in host memory and step there. Unset: only where a worker's memory does not suffice
    without it."""
    offload_parameters: bool | None = None
    """Keep the sharded weights in host memory; needs `zero_stage` 3. Unset: only where a worker's memory does not
    suffice without it."""
    loss_chunk: int | None = Field(None, ge=1)
    """Tokens whose logits exist at one time. Unset: as many as fit into 1 GiB in fp32, at least 256."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Updates between checkpoints. Unset: a tenth of the run, at most 100."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the newest stay."""
    max_skipped: int = Field(3, ge=1)
    """Updates in a row that are skipped, for want of a finite gradient say; then the run goes back."""
    max_loss_rise: float | None = Field(None, gt=0)
    """Nats per token above the median of the last 32 updates; an update with a higher loss is skipped. Unset: no
    update is skipped for its loss."""
    keep_every: int | None = Field(None, ge=1)
    """Checkpoints after a multiple of so many updates stay as well. Unset: none but the newest."""
    give_up_timeout_s: float = Field(600.0, ge=0)
    """Seconds for which checkpoints may go on failing; then three in a row end the run."""
    loss: Literal["per_token", "per_sequence"] = "per_token"
    """Every token counts the same, or every document (LongAlign): a long answer no more than a short one."""
    seed: int = Field(0, ge=0)
    """Seed of the order of the data."""
