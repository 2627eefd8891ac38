"""A model of lm-evaluation-harness over the cluster's scoring and generation.

Unlike the models that come with the harness it shortens no prompt that a task does not say may be shortened, and no
result of another model is ever taken for its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from longspan.errors import UserError
from longspan.evaluate.scoring.requests import LossRequest
from longspan.evaluate.suites.answers import Answers, Pair
from longspan.evaluate.suites.prompts import PromptEncoder
from longspan.evaluate.suites.replies import Prompt
from longspan.evaluate.suites.schema import PromptCut
from longspan.generate.requests import Sampling, over_length
from longspan.hashing import content_id

UNSCORED = (0.0, False)
"""Stands for a likelihood that there is none of; results of its document are dropped."""
KNOWN_SAMPLING = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_p"})


@dataclass
class Tally:
    """Counts of one task's documents.

    Attributes:
        truncated: those with a prompt that was shortened.
        cut_off: those with a reply that ended at its most tokens.
        problems: why there is no result, by number of the document.
    """

    truncated: set[int] = field(default_factory=set)
    cut_off: set[int] = field(default_factory=set)
    problems: dict[int, str] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        """Documents whose problem is of a kind, such as "over_length"."""
        return sum(problem.startswith(f"{kind}:") for problem in self.problems.values())


@dataclass(frozen=True)
class Sent:
    """Prompt as it was sent, without its tokens.

    Attributes:
        id: of the prompt.
        stop: strings that end its reply.
        is_cut: whether it was shortened.
        problem: why it was not sent; "" if it was.
    """

    id: str
    stop: tuple[str, ...]
    is_cut: bool
    problem: str


class LanguageModel(LM):
    """Answers the requests of one task, or of a group of tasks: first `gather` them, then ask, then evaluate.

    Attributes:
        tallies: by task; complete after the evaluation.
    """

    def __init__(
        self, answers: Answers, encoder: PromptEncoder, cuts: Mapping[str, PromptCut]
    ) -> None:
        """Answer with what a model says.

        Args:
            answers: takes requests, and has their answers later.
            encoder: of the model's tokenizer.
            cuts: how prompts may be shortened, by task; those of other tasks never are.
        """
        super().__init__()
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self._answers, self._encoder, self._cuts = answers, encoder, cuts
        self._window = answers.model.window
        self._sent: dict[str, Sent] = {}

    @property
    def tokenizer_name(self) -> str:
        """Identity of the tokenizer, for caches of prompts, which are not in use."""
        return content_id(self._answers.model.identity)

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """See `PromptEncoder.render`."""
        return self._encoder.render(chat_history, add_generation_prompt)

    def gather(self, requests: Sequence[Instance]) -> None:
        """Ask for all that is needed to answer some requests.

        Raises:
            UserError: a request cannot be made of a task's settings.
        """
        draws: Counter[str] = Counter()
        for request in requests:
            match request.request_type:
                case "generate_until":
                    for _ in range(request.repeats or 1):
                        self._send(request, draws, self._answers.want_reply)
                case "loglikelihood_rolling":
                    self._answers.want_losses(self._parts(request))
                case _:
                    pair, _ = self._pair(request)
                    if not self._too_long(pair):
                        self._answers.want_likelihood(pair)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-likelihood in nats of each continuation given its context, and whether it is the likeliest one."""
        return [self._likelihood(request) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-likelihood in nats of each whole text, in parts as long as the window; each token is scored once."""
        found = []
        for request in requests:
            scores = [self._answers.losses(part) for part in self._parts(request)]
            for problem in filter(None, (score.problem for score in scores)):
                self._refuse(request, problem)
            found.append(-sum(float(score.losses.sum(dtype=np.float64)) for score in scores))
        return found

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Reply to each prompt, without the string that ended it."""
        draws: Counter[str] = Counter()
        return [self._reply(request, self._send(request, draws)) for request in requests]

    def _likelihood(self, request: Instance) -> tuple[float, bool]:
        pair, is_cut = self._pair(request)
        if is_cut:
            self._tally(request).truncated.add(_number(request))
        found = None
        problem = self._too_long(pair)
        if not problem:
            found = self._answers.likelihood(pair)
            problem = found.problem
        if problem or found is None:
            self._refuse(request, problem)
            return UNSCORED
        return found.value, found.is_greedy

    def _pair(self, request: Instance) -> tuple[Pair, bool]:
        """Context and continuation as tokens, and whether the context was shortened."""
        context, continuation = self._encoder.pair(*request.args)
        if not continuation:
            raise UserError(
                f"suites: task {request.task_name!r}, document {request.doc_id}: an answer has no tokens of its own"
            )
        kept = self._cut(request, request.args[0], context)
        return Pair(tuple(kept), tuple(continuation)), len(kept) < len(context)

    def _too_long(self, pair: Pair) -> str:
        tokens = len(pair.context) + len(pair.continuation)
        if tokens <= self._window:
            return ""
        return f"over_length: {tokens:,} tokens, window of {self._window:,} tokens"

    def _parts(self, request: Instance) -> list[LossRequest]:
        """Parts of a text, each with as much context as fits into the window."""
        windows = get_rolling_token_windows(
            token_list=self._encoder.encode(request.args[0]),
            prefix_token=self._encoder.prefix_id,
            max_seq_len=self._window - 1,
            context_len=1,
        )
        return [
            LossRequest((self._answers.texts.span([*context, *targets]),), len(context))
            for context, targets in map(make_disjoint_window, windows)
        ]

    def _send(
        self,
        request: Instance,
        draws: Counter[str],
        send: Callable[[Prompt], None] | None = None,
    ) -> Sent:
        """Return a prompt as it is sent; its tokens are made once.

        Args:
            request: of the harness.
            draws: how often each prompt has been there; this call counts.
            send: takes a prompt that was not there before.
        """
        key = content_id(request.task_name, *request.args)
        draws[key] += 1
        draw = content_id(key, draws[key])
        if draw not in self._sent:
            prompt, is_cut = self._prompt(request, draws[key])
            failure = over_length(prompt.request(), self._window)
            problem = f"{failure.kind}: {failure.message}" if failure else ""
            self._sent[draw] = Sent(prompt.id, prompt.sampling.stop, is_cut, problem)
            if send and not problem:
                send(prompt)
        return self._sent[draw]

    def _prompt(self, request: Instance, draw: int) -> tuple[Prompt, bool]:
        """Prompt of a request, and whether it was shortened; draws of one that is sampled are different prompts."""
        text, options = request.args
        sampling = sampling_of(options, request.task_name or "")
        whole = self._encoder.encode(text)
        ids = self._cut(request, text, whole)
        id = content_id("suite", ids, vars(sampling), draw if sampling.temperature else 0)
        cluster = request.doc.get("cluster") if isinstance(request.doc, Mapping) else None
        prompt = Prompt(id, np.asarray(ids, np.int32), sampling, str(cluster or id))
        return prompt, len(ids) < len(whole)

    def _cut(self, request: Instance, text: str, ids: list[int]) -> list[int]:
        cut = self._cuts.get(request.task_name or "")
        if cut is None or len(ids) <= cut.tokens:
            return ids
        if cut.side == "left":
            return self._encoder.cut_left(ids, cut.tokens)
        return self._encoder.cut_document(text, request.doc, cut.tokens)

    def _reply(self, request: Instance, sent: Sent) -> str:
        if sent.is_cut:
            self._tally(request).truncated.add(_number(request))
        if sent.problem:
            self._refuse(request, sent.problem)
            return ""
        row = self._answers.reply(sent.id)
        if row["problem"]:
            self._refuse(request, row["problem"])
        if row["is_cut_off"]:
            self._tally(request).cut_off.add(_number(request))
        return postprocess_generated_text(row["text"], list(sent.stop), None)

    def _refuse(self, request: Instance, problem: str) -> None:
        self._tally(request).problems[_number(request)] = problem

    def _tally(self, request: Instance) -> Tally:
        return self.tallies[request.task_name or ""]


def sampling_of(options: Mapping[str, Any], task: str) -> Sampling:
    """Return the sampling that a task's `generation_kwargs` ask for.

    Raises:
        UserError: they have keys that are not known here, which would change the replies if they were ignored.
    """
    known: Mapping[str, Any] = normalize_gen_kwargs(dict(options))
    if unknown := sorted(known.keys() - KNOWN_SAMPLING):
        raise UserError(
            f"suites: task {task!r}: generation_kwargs.{unknown[0]} is not supported; "
            f"supported are {', '.join(sorted(KNOWN_SAMPLING))}"
        )
    return Sampling(
        max_tokens=known["max_gen_toks"],
        temperature=float(known.get("temperature", 0.0)) if known["do_sample"] else 0.0,
        top_p=float(known.get("top_p", 1.0)),
        stop=tuple(known["until"]),
    )


def _number(request: Instance) -> int:
    """Number of a request's document in its task."""
    assert request.doc_id is not None
    return request.doc_id
