"""Results of the harness as results of an evaluation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from longspan.evaluate.results import SuiteResult
from longspan.evaluate.suites.schema import PromptCut
from longspan.hashing import content_id

if TYPE_CHECKING:
    from longspan.evaluate.suites.language_model import Tally

NO_FILTER = "none"


@dataclass(frozen=True)
class SuiteSample:
    """Score of one question by one metric.

    Attributes:
        id: identity of question, task and number of examples: the same for every model.
        task: name of the task.
        metric: as in its result.
        cluster: identity of the document that the question is on; questions on one document are not independent.
        score: None if there is no reply, or the metric is no mean of single scores.
        reply: after the task's filter; "" for likelihoods of given answers.
        problem: why there is no reply; "" if there is one.
        is_prompt_truncated: whether its prompt was shortened.
        is_cut_off: whether its reply ended at its most tokens.
    """

    id: str
    task: str
    metric: str
    cluster: str
    score: float | None
    reply: str
    problem: str
    is_prompt_truncated: bool
    is_cut_off: bool


def samples_of(
    leaf: str, found: Mapping[str, Any], tally: Tally, metrics: frozenset[str]
) -> Iterator[SuiteSample]:
    """Yield the samples of one task.

    Args:
        leaf: name of the task.
        found: what the harness returned.
        tally: of the task's requests.
        metrics: that are wanted; empty: all.
    """
    shots = found["n-shot"].get(leaf)
    for logged in found["samples"][leaf]:
        number, doc = logged["doc_id"], logged["doc"]
        id = content_id("suite", leaf, shots, number, logged["doc_hash"])
        cluster = doc.get("cluster") if isinstance(doc, Mapping) else None
        problem = tally.problems.get(number, "")
        for metric in logged["metrics"]:
            name = _name(metric, logged["filter"])
            if not _is_wanted(name, metrics):
                continue
            yield SuiteSample(
                id,
                leaf,
                name,
                str(cluster or id),
                None if problem else _number(logged[metric]),
                _reply(logged),
                problem,
                number in tally.truncated,
                number in tally.cut_off,
            )


@dataclass(frozen=True)
class Reported:
    """A task, or a group of tasks, that is reported with one value for each metric.

    Attributes:
        name: of the task or group.
        leaves: tasks of the group, of all levels; the task itself.
        part_of: name of a larger group that is reported too; "" if there is none.
    """

    name: str
    leaves: tuple[str, ...]
    part_of: str = ""


def reported(found: Mapping[str, Any]) -> list[Reported]:
    """Return the groups that aggregate their tasks, the largest first, and the tasks that are in none of them."""
    groups = [
        Reported(name, tuple(_leaves(found, name))) for name in found.get("groups") or () if name
    ]
    groups.sort(key=lambda group: -len(group.leaves))
    covered = {leaf for group in groups for leaf in group.leaves}
    tasks = [Reported(leaf, (leaf,)) for leaf in found["samples"] if leaf not in covered]
    placed: list[Reported] = []
    for each in groups:
        larger = next((one for one in placed if set(each.leaves) < set(one.leaves)), None)
        placed.append(replace(each, part_of=larger.name if larger else ""))
    return [*placed, *tasks]


def renamed(samples: Sequence[SuiteSample], of: Sequence[Reported]) -> list[SuiteSample]:
    """Return the samples of what is reported: those of a group's tasks under the group's name."""
    return [
        replace(sample, task=each.name)
        for each in of
        for sample in samples
        if sample.task in each.leaves
    ]


@dataclass(frozen=True)
class Settings:
    """Settings of one task, or of all tasks of a group.

    Attributes:
        suite: name of the suite.
        limit: first questions of each task that are asked; None: all.
        cuts: how prompts may be shortened, by task; those of other tasks never are.
    """

    suite: str
    limit: int | None = None
    cuts: Mapping[str, PromptCut] = field(default_factory=dict)

    def limit_of(self, found: Mapping[str, Any], leaves: Sequence[str]) -> int | None:
        """Return the limit if it left out questions of some tasks."""
        counts = [found["n-samples"][leaf] for leaf in leaves if leaf in found["n-samples"]]
        return self.limit if any(c["effective"] < c["original"] for c in counts) else None

    def cut_of(self, leaves: Sequence[str]) -> PromptCut | None:
        """Return how prompts of some tasks are shortened; None: never, or not all in the same way."""
        first, *others = [self.cuts.get(leaf) for leaf in leaves]
        return first if all(other == first for other in others) else None


def results_of(
    settings: Settings,
    found: Mapping[str, Any],
    tallies: Mapping[str, Tally],
    samples: Sequence[SuiteSample],
) -> list[SuiteResult]:
    """Return the results of what is `reported`.

    A value is None if any question of it has no reply. The group of parts of another result is "<suite>, parts of
    <it>": they are no results of their own.

    Args:
        settings: of the tasks.
        found: what the harness returned.
        tallies: of requests, by task.
        samples: of what is reported, by its metrics.
    """
    of: dict[tuple[str, str], list[SuiteSample]] = defaultdict(list)
    for sample in samples:
        of[sample.task, sample.metric].append(sample)
    results = []
    for each in reported(found):
        counts = _counts(each.leaves, tallies)
        is_valid = not any(tallies[leaf].problems for leaf in each.leaves if leaf in tallies)
        for key, value in found["results"][each.name].items():
            metric, comma, filter = key.partition(",")
            own = of[each.name, _name(metric, filter)] if comma else []
            if not own:  # A standard error, or a metric that is not wanted.
                continue
            results.append(
                SuiteResult(
                    task=each.name,
                    metric=_name(metric, filter),
                    value=float(value) if is_valid else None,
                    stderr=clustered_stderr(own, float(value)) if is_valid else None,
                    n=len(own),
                    shots=found["n-shot"].get(each.name),
                    version=str(found["versions"].get(each.name)),
                    higher_is_better=_higher_is_better(found, each.leaves, metric),
                    group=_group(settings.suite, each.part_of),
                    limit=settings.limit_of(found, each.leaves),
                    prompt_cut=settings.cut_of(each.leaves),
                    **counts,
                )
            )
    return results


def _group(suite: str, part_of: str) -> str:
    return f"{suite}, parts of {part_of}" if part_of else suite


def clustered_stderr(samples: Sequence[SuiteSample], value: float) -> float | None:
    """Standard error of the mean of samples, robust to dependence within clusters.

    Square root of the sum over clusters of squared sums of residuals, over n (Miller, arXiv 2411.00640, section 2.2),
    times sqrt(G / (G - 1)) for G clusters.

    Args:
        samples: of one metric.
        value: that the error is of; None is returned if it is not the samples' mean.
    """
    scores = [sample.score for sample in samples if sample.score is not None]
    if len(scores) < len(samples) or not scores:
        return None
    if not math.isclose(math.fsum(scores) / len(scores), value, rel_tol=1e-9, abs_tol=1e-12):
        return None
    residuals: dict[str, float] = defaultdict(float)
    for sample, score in zip(samples, scores, strict=True):
        residuals[sample.cluster] += score - value
    clusters = len(residuals)
    if clusters < 2:
        return None
    squares = math.fsum(residual**2 for residual in residuals.values())
    return math.sqrt(squares * clusters / (clusters - 1)) / len(scores)


def _counts(leaves: Sequence[str], tallies: Mapping[str, Tally]) -> dict[str, int]:
    own = [tallies[leaf] for leaf in leaves if leaf in tallies]
    kinds = ("over_length", "refused", "unanswered")
    counts = {kind: sum(tally.count(kind) for tally in own) for kind in kinds}
    counts["refused"] += sum(tally.count("denied") for tally in own)
    return counts | {"truncated": sum(len(tally.truncated) for tally in own)}


def _leaves(found: Mapping[str, Any], name: str) -> list[str]:
    """Tasks of a group, of all levels; the task itself if it is none."""
    members = found["group_subtasks"].get(name)
    if members is None:
        return [name]
    return [leaf for member in members for leaf in _leaves(found, member)]


def _higher_is_better(found: Mapping[str, Any], leaves: Sequence[str], metric: str) -> bool:
    known = (found["higher_is_better"].get(leaf, {}).get(metric) for leaf in leaves)
    return next((bool(each) for each in known if each is not None), True)


def _name(metric: str, filter: str) -> str:
    return metric if filter == NO_FILTER else f"{metric},{filter}"


def _is_wanted(name: str, metrics: frozenset[str]) -> bool:
    return not metrics or name in metrics or name.partition(",")[0] in metrics


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _reply(logged: Mapping[str, Any]) -> str:
    first = logged["filtered_resps"][0] if logged["filtered_resps"] else ""
    return first if isinstance(first, str) else ""
