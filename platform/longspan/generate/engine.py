"""vLLM engines on Ray Data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from longspan._compat.ray_data_llm import (
    ERROR_COLUMN,
    replace_engine_stage,
    set_engine_actor_options,
)
from longspan.config.engine_options import ALWAYS
from longspan.generate.engine_report import MISMATCH, REPORT, ExpectedModel
from longspan.generate.requests import (
    Failure,
    FailureKind,
    FinishReason,
    Reply,
    Request,
    Row,
    Sampling,
    not_sent,
)
from longspan.model.hub import HubModel
from longspan.runtime.pool import selector

CPU_CACHE_GIBIBYTES = 1
"""On a CPU vLLM would take nearly all memory for its cache."""
CPU_STEP_TOKENS = 4096
ROWS_AT_ONCE = 512
"""Requests that an engine has been given: more than any engine works on at a time."""
TOKENS_AT_ONCE = 2**23
"""Tokens of their prompts, at most, since an engine's actor holds them as Python integers; long prompts are few at a
time anyway."""
TASK_CPUS = 0.5
MAX_RESTARTS = 3
"""Times that Ray starts a dead engine anew; without a limit a request that kills engines goes on for ever."""
WITHOUT_TRACKING = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
INPUT_ERRORS = ("ValueError", "TypeError", "VLLMValidationError", "VLLMUnprocessableEntityError")
"""Errors that vLLM raises when it checks a request; any other one may not come again."""

UNSENT = [0]
"""Token ids of a request that passes the engine by: a column of lists needs numbers in each."""

Render = Callable[[str], Sequence[int]]
"""Token ids of the prompt for a user's turn."""


@dataclass(frozen=True)
class Engine:
    """Engines of one model.

    Attributes:
        model: folder on every node, or hub name, with its commit.
        window: tokens of a prompt and its reply.
        gpu: whether each takes GPUs, else the CPUs of a node.
        engines: how many at most.
        batch: requests given and taken back together.
        arguments: more of vLLM's engine arguments.
        prefix_caching: keep what was computed of a prompt's beginning for others that share it.
        cpus: CPUs of the cluster, or of the pool.
        pool: on whose nodes they are; any node's where there is none.
        end_tokens: token ids that end a reply. They tell a reply of exactly `max_tokens` that ended by itself from
            one that was cut off; without them both count as cut off.
        model_window: the model's own window. Where `window` is longer, positions go on beyond it, with the same RoPE.
        expected: facts of the model that each engine must agree with before it answers; None: not checked.
    """

    model: str
    window: int
    gpu: bool
    engines: int = 1
    batch: int = 16
    arguments: dict[str, Any] = field(default_factory=dict)
    prefix_caching: bool = True
    cpus: int = 2
    pool: str | None = None
    end_tokens: tuple[int, ...] = ()
    model_window: int | None = None
    expected: ExpectedModel | None = None

    def engine_kwargs(self) -> dict[str, Any]:
        """All of vLLM's engine arguments but the model."""
        kwargs: dict[str, Any] = {
            "max_model_len": self.window,
            "enable_prefix_caching": self.prefix_caching,
            **ALWAYS,
            # Left to itself a weak model fills the reply with the blanks that JSON allows. The engine
            # heeds this for all requests or none, whatever a request says.
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        }
        if hub := self._hub_model():
            # vLLM fetches it by itself, and would take other revisions, and pickles, as well.
            kwargs |= {
                "revision": hub.revision,
                "tokenizer_revision": hub.revision,
                "load_format": "safetensors",
            }
        if self.model_window is not None and self.window > self.model_window:
            # vLLM refuses a longer window, and has no angles for its positions, unless the config states it.
            kwargs["hf_overrides"] = {"max_position_embeddings": self.window}
        if not self.gpu:
            kwargs |= {
                "distributed_executor_backend": "mp",
                "enforce_eager": True,
                # vLLM's CPU worker dies of a prompt computed in parts whose request has a seed.
                "enable_chunked_prefill": False,
                "max_num_batched_tokens": max(self.window, CPU_STEP_TOKENS),
            }
        elif self.pool and self._is_divided():
            # Left to itself Ray Data makes a placement group for it, which knows no pool.
            kwargs |= {"distributed_executor_backend": "mp"}
        return kwargs | self.arguments

    def batches_at_once(self) -> int:
        """Return the batches that an engine has been given and not answered yet, at most."""
        rows = min(ROWS_AT_ONCE, TOKENS_AT_ONCE // self.window)
        return max(2, -(-rows // self.batch))

    def environment(self) -> dict[str, str]:
        """Variables of the engines' processes."""
        variables = dict(WITHOUT_TRACKING)
        if not self.gpu:
            variables["VLLM_CPU_KVCACHE_SPACE"] = str(CPU_CACHE_GIBIBYTES)
        return variables

    def replies(self, dataset: Any, render: Render | None = None) -> Any:
        """Turn a dataset of requests (`Request.row`) into one of replies (`Reply.row`).

        Args:
            dataset: rows of requests.
            render: for requests without token ids.
        """
        bundle = {"CPU": 1.0 if self.cpus > 1 else TASK_CPUS}
        if self.gpu:
            bundle |= {"GPU": 1.0}
        tasks = {"num_cpus": TASK_CPUS}
        with _quiet():
            from ray.data.llm import build_processor, vLLMEngineProcessorConfig

            from longspan.generate.reporting_engine import reporting

            config = vLLMEngineProcessorConfig(
                model_source=hub.name if (hub := self._hub_model()) else self.model,
                engine_kwargs=self.engine_kwargs(),
                batch_size=self.batch,
                concurrency=(1, self.engines),
                max_concurrent_batches=self.batches_at_once(),
                # What one row does wrong is told of that row. A dead engine is none of them: Ray starts
                # another one, which is given the rows that were not finished.
                should_continue_on_error=True,
                # The ids are known already, and the engine gives text.
                chat_template_stage=False,
                tokenize_stage=False,
                detokenize_stage=False,
                placement_group_config={"bundle_per_worker": bundle},
                runtime_env={"env_vars": self.environment()},
            )
            processor = build_processor(
                config,
                preprocess=_Prepare(self.window, render),
                preprocess_map_kwargs=tasks,
                postprocess_map_kwargs=tasks,
            )
        set_engine_actor_options(
            processor, max_restarts=MAX_RESTARTS, label_selector=selector(self.pool)
        )
        replace_engine_stage(processor, lambda stage: reporting(stage, self.expected, self.window))
        return processor(dataset).map(_Reply(frozenset(self.end_tokens)), **tasks)

    def _hub_model(self) -> HubModel | None:
        return None if self.model.startswith("/") else HubModel.parse(self.model)

    def _is_divided(self) -> bool:
        parts = ("tensor_parallel_size", "pipeline_parallel_size")
        return any(self.arguments.get(part, 1) > 1 for part in parts)


@contextmanager
def _quiet() -> Iterator[None]:
    """While a processor is built, libraries log what concerns nobody."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def sampling_parameters(sampling: Sampling) -> dict[str, Any]:
    """Return vLLM's sampling parameters, without the seed."""
    parameters: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.stop:
        # A reply that ends with one was not cut off; `_Reply` takes it away again.
        parameters |= {"stop": list(sampling.stop), "include_stop_str_in_output": True}
    if sampling.schema:
        parameters["structured_outputs"] = {"json": sampling.schema}
    return parameters


class _FinalOnly:
    """Stand-in for vLLM's `RequestOutputKind.FINAL_ONLY`, which it becomes in the process that takes it out of a row.

    Processes that only prepare rows do without vLLM, whose import takes seconds.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _final_only, ()


def _final_only() -> Any:
    from vllm.sampling_params import RequestOutputKind

    return RequestOutputKind.FINAL_ONLY


@dataclass(frozen=True)
class _Prepare:
    """Adds what the engine needs to the row of a request."""

    window: int
    render: Render | None

    def __call__(self, row: Row) -> Row:
        request = Request.from_row(row)
        failure = not_sent(request, self.window)
        # Left to itself the engine would hand over each reply anew at every token.
        whole = {"seed": request.seed, "output_kind": _FinalOnly()}
        return {
            "tokenized_prompt": UNSENT if failure else self._tokens(request),
            "sampling_params": sampling_parameters(request.sampling) | whole,
            "known_tokens": len(request.prompt_ids),
            "failure": failure.kind if failure else "",
            ERROR_COLUMN: failure.message if failure else "",
            REPORT: "",
            # They would travel with the reply.
            "content": "",
            "prompt_ids": [],
        }

    def _tokens(self, request: Request) -> list[int]:
        if request.prompt_ids:
            return request.prompt_ids
        assert self.render is not None, (
            f"request {request.id} has no token ids, and nothing renders it"
        )
        return list(self.render(request.content))


def _failure(error: str) -> Failure:
    """Return what an error of the engine, as "Type: message", means for the request."""
    kind, _, detail = error.partition(":")
    if kind == MISMATCH:
        return Failure("denied", detail.strip())
    message = " ".join(error.split())[:200]
    if kind in INPUT_ERRORS:
        return Failure("refused", f"refused by the engine: {message}")
    return Failure("engine_error", f"failed in the engine: {message}")


@dataclass(frozen=True)
class _Reply:
    """Makes the row of a reply of what the engine has added to that of a request."""

    end_tokens: frozenset[int]

    def __call__(self, row: Row) -> Row:
        request = Request.from_row(row)
        if error := row.get(ERROR_COLUMN) or "":
            kind: FailureKind | None = row["failure"] or None
            failure = Failure(kind, error) if kind else _failure(error)
            return Reply.failed(request, failure.kind, failure.message).row() | {
                "prompt_tokens": row["known_tokens"]
            }
        text, reason = self._ended(request.sampling, row)
        reply = Reply(
            *(request.id, request.carry, text, reason),
            prompt_tokens=row.get("num_input_tokens") or 0,
            reply_tokens=row.get("num_generated_tokens") or 0,
            seconds=float(row.get("time_taken_llm") or 0.0),
            engine=row.get(REPORT) or "",
        )
        return reply.row()

    def _ended(self, sampling: Sampling, row: Row) -> tuple[str, FinishReason]:
        """Return the text, and why it ended: Ray's processor does not hand on the engine's own reason."""
        text, tokens = row.get("generated_text") or "", row.get("generated_tokens")
        tokens = [] if tokens is None else list(tokens)
        for stop in sampling.stop:
            if text.endswith(stop):
                return text if sampling.include_stop else text.removesuffix(stop), "stop"
        is_cut_off = len(tokens) >= sampling.max_tokens and not self.end_tokens.intersection(
            tokens[-1:]
        )
        return text, "length" if is_cut_off else "stop"
