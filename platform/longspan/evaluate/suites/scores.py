"""Results of the harness as results of an evaluation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longspan.evaluate.results import SuiteResult
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


def results_of(
    group: str,
    found: Mapping[str, Any],
    tallies: Mapping[str, Tally],
    samples: Sequence[SuiteSample],
    metrics: frozenset[str],
) -> list[SuiteResult]:
    """Return the results of a task, or of a group of tasks and its subgroups.

    A value is None if any question of it has no reply.
    """
    of: dict[tuple[str, str], list[SuiteSample]] = defaultdict(list)
    for sample in samples:
        of[sample.task, sample.metric].append(sample)
    results = []
    reported = found.get("groups") or found["results"]
    for name, values in reported.items():
        leaves = _leaves(found, name)
        for key, value in values.items():
            metric, comma, filter = key.partition(",")
            full = _name(metric, filter)
            if not comma or metric.endswith("_stderr") or not _is_wanted(full, metrics):
                continue
            own = [sample for leaf in leaves for sample in of[leaf, full]]
            counts = _counts(leaves, tallies)
            is_valid = not any(tallies[leaf].problems for leaf in leaves if leaf in tallies)
            results.append(
                SuiteResult(
                    task=name,
                    metric=full,
                    value=float(value) if is_valid else None,
                    stderr=clustered_stderr(own, float(value)) if is_valid else None,
                    n=len(own),
                    shots=found["n-shot"].get(name),
                    version=str(found["versions"].get(name)),
                    higher_is_better=_higher_is_better(found, leaves, metric),
                    group=group,
                    **counts,
                )
            )
    return results


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
