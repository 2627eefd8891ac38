"""A model of lm-evaluation-harness over the cluster's scoring and generation.

Unlike the models that come with the harness it shortens no prompt that a task does not say may be shortened, and no
result of another model is ever taken for its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from longspan.errors import UserError
from longspan.evaluate.scoring.requests import ChoiceRequest, LossRequest, Score, Texts
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.prompts import PromptEncoder
from longspan.evaluate.suites.replies import replies
from longspan.evaluate.suites.schema import PromptCut
from longspan.generate.progress import Log
from longspan.generate.requests import Request, Row, Sampling, over_length
from longspan.hashing import content_id, sampling_seed
from longspan.storage import Store

UNSCORED = (0.0, False)
"""Stands for a likelihood that there is none of; results of its document are dropped."""
KNOWN_SAMPLING = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_p"})


@dataclass
class Tally:
    """Counts of one task's requests.

    Attributes:
        truncated: documents with a prompt that was shortened.
        cut_off: documents with a reply that ended at its most tokens.
        problems: why there is no result, by number of the document.
    """

    truncated: set[int] = field(default_factory=set)
    cut_off: set[int] = field(default_factory=set)
    problems: dict[int, str] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        """Documents whose problem is of a kind, such as "over_length"."""
        return sum(problem.startswith(f"{kind}:") for problem in self.problems.values())


@dataclass(frozen=True)
class Pair:
    """A continuation of a context, whose likelihood is asked for."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


class LanguageModel(LM):
    """Answers the requests of one task, or of a group of tasks.

    Attributes:
        tallies: by task.
    """

    def __init__(
        self,
        model: SuiteModel,
        store: Store,
        name: str,
        log: Log,
        cuts: Mapping[str, PromptCut] | None = None,
    ) -> None:
        """Ask a model.

        Args:
            model: what answers.
            store: where replies are committed.
            name: of the work, in lines and on dashboards.
            log: takes lines on the progress.
            cuts: how prompts may be shortened, by task; those of other tasks never are.
        """
        super().__init__()
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self._model, self._store, self._name, self._log = model, store, name, log
        self._cuts = cuts or {}
        self._encoder = PromptEncoder(model.tokenizer)

    @property
    def tokenizer_name(self) -> str:
        """Identity of the tokenizer, for caches of prompts, which are not in use."""
        return content_id(self._model.identity)

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """See `PromptEncoder.render`."""
        return self._encoder.render(chat_history, add_generation_prompt)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-likelihood in nats of each continuation given its context, and whether it is the likeliest one."""
        pairs = [self._pair(request) for request in requests]
        grouped: dict[tuple[int, ...], dict[tuple[int, ...], None]] = defaultdict(dict)
        for pair in filter(None, pairs):
            grouped[pair.context][pair.continuation] = None
        asked = {context: ChoiceRequest(context, tuple(each)) for context, each in grouped.items()}
        scores = self._scores(list(asked.values()), Texts())
        results = []
        for request, pair in zip(requests, pairs, strict=True):
            if pair is None:
                results.append(UNSCORED)
                continue
            choice = asked[pair.context]
            score = scores[choice.id]
            if score.problem:
                self._refuse(request, score.problem)
                results.append(UNSCORED)
                continue
            place = choice.continuations.index(pair.continuation)
            results.append((score.loglikelihoods[place], score.is_greedy[place]))
        return results

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-likelihood in nats of each whole text, in parts as long as the window; each token is scored once."""
        texts = Texts()
        parts = [self._rolling(request, texts) for request in requests]
        scores = self._scores([each for own in parts for each in own], texts)
        return [
            sum(self._rolling_score(request, scores[each.id]) for each in own)
            for request, own in zip(requests, parts, strict=True)
        ]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Reply to each prompt, without the string that ended it."""
        repeats: Counter[str] = Counter()
        asked = [self._request(request, repeats) for request in requests]
        distinct = {each.id: (each, doc.doc) for each, doc in zip(asked, requests, strict=True)}
        sendable = [pair for pair in distinct.values() if not over_length(pair[0], self._window)]
        answers = self._replies(_by_document(sendable))
        return [
            self._reply(instance, request, answers.get(request.id))
            for instance, request in zip(requests, asked, strict=True)
        ]

    @property
    def _window(self) -> int:
        return self._model.window

    def _pair(self, request: Instance) -> Pair | None:
        """Context and continuation as tokens; None if they do not fit into the window."""
        context, continuation = self._encoder.pair(*request.args)
        if not continuation:
            raise UserError(
                f"suites: task {request.task_name!r}, document {request.doc_id}: an answer has no tokens of its own"
            )
        if cut := self._cuts.get(request.task_name or ""):
            context = self._cut(request, request.args[0], context, cut)
        tokens = len(context) + len(continuation)
        if tokens > self._window:
            self._refuse(
                request, f"over_length: {tokens:,} tokens, window of {self._window:,} tokens"
            )
            return None
        return Pair(tuple(context), tuple(continuation))

    def _rolling(self, request: Instance, texts: Texts) -> list[LossRequest]:
        windows = get_rolling_token_windows(
            token_list=self._encoder.encode(request.args[0]),
            prefix_token=self._encoder.prefix_id,
            max_seq_len=self._window - 1,
            context_len=1,
        )
        parts = map(make_disjoint_window, windows)
        return [
            LossRequest((texts.span([*context, *targets]),), len(context))
            for context, targets in parts
        ]

    def _rolling_score(self, request: Instance, score: Score) -> float:
        if score.problem:
            self._refuse(request, score.problem)
        return -float(score.losses.sum(dtype="float64"))

    def _request(self, instance: Instance, repeats: Counter[str]) -> Request:
        text, options = instance.args
        sampling = sampling_of(options, instance.task_name or "")
        ids = self._encoder.encode(text)
        if cut := self._cuts.get(instance.task_name or ""):
            ids = self._cut(instance, text, ids, cut)
        id = content_id("suite", ids, vars(sampling))
        if sampling.temperature:
            # Repeated draws from the same distribution are different requests.
            repeats[id] += 1
            id = content_id(id, repeats[id])
        return Request(id, sampling, sampling_seed(id), prompt_ids=ids)

    def _cut(self, instance: Instance, text: str, ids: list[int], cut: PromptCut) -> list[int]:
        if len(ids) <= cut.tokens:
            return ids
        assert instance.doc_id is not None
        self.tallies[instance.task_name or ""].truncated.add(instance.doc_id)
        if cut.side == "left":
            return self._encoder.cut_left(ids, cut.tokens)
        return self._encoder.cut_document(text, instance.doc, cut.tokens)

    def _scores(
        self, requests: Sequence[ChoiceRequest | LossRequest], texts: Texts
    ) -> Mapping[str, Score]:
        if self._model.scoring is None:
            raise UserError(
                f"suites: {self._name} compares likelihoods of given answers, which an endpoint does not tell; "
                "evaluate the model itself, or leave the task out"
            )
        return self._model.scoring.score(requests, texts, self._name) if requests else {}

    def _replies(self, requests: Sequence[Request]) -> Mapping[str, Row]:
        if self._model.generator is None:
            raise UserError(f"suites: {self._name} needs a generator, which is not configured")
        return replies(self._model, requests, self._store, self._name, self._log)

    def _reply(self, instance: Instance, request: Request, row: Row | None) -> str:
        if failure := over_length(request, self._window):
            self._refuse(instance, f"{failure.kind}: {failure.message}")
            return ""
        assert row is not None, f"request {request.id} has no outcome"
        if row["problem"]:
            self._refuse(instance, row["problem"])
        if row["is_cut_off"]:
            assert instance.doc_id is not None
            self.tallies[instance.task_name or ""].cut_off.add(instance.doc_id)
        return postprocess_generated_text(row["text"], list(request.sampling.stop), None)

    def _refuse(self, instance: Instance, problem: str) -> None:
        assert instance.doc_id is not None
        self.tallies[instance.task_name or ""].problems[instance.doc_id] = problem


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


def _by_document(requests: Iterable[tuple[Request, Any]]) -> list[Request]:
    """Requests about one document follow each other, so that its prefix is computed once; the longest come first."""
    clusters: dict[str, list[Request]] = defaultdict(list)
    for request, doc in requests:
        cluster = doc.get("cluster") if isinstance(doc, Mapping) else None
        clusters[f"document {cluster}" if cluster else f"request {request.id}"].append(request)
    for own in clusters.values():
        own.sort(key=lambda request: -len(request.prompt_ids))
    ordered = sorted(clusters.values(), key=lambda own: -len(own[0].prompt_ids))
    return [request for own in ordered for request in own]
