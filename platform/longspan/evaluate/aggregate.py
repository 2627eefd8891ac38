"""Results of a task from the records of its samples, and differences between two models on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import TypeVar

from longspan.evaluate.effective_length import (
    RULER_THRESHOLD,
    effective_length,
    own_base_threshold,
)
from longspan.evaluate.intervals import estimate, paired
from longspan.evaluate.problems import PROBLEMS
from longspan.evaluate.results import (
    Cell,
    Estimate,
    PairedDifference,
    SampleRecord,
    TaskResult,
)
from longspan.evaluate.samples import Family, Scoring
from longspan.hashing import sampling_seed

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)

OWN_BASE: tuple[Family, ...] = ("association", "reasoning")
"""Families whose scores are compared with the model's own at the shortest length."""


@dataclass(frozen=True)
class TaskInfo:
    """Description of a task in its results.

    Attributes:
        name: of the task.
        version: of its prompts and scoring.
        family: what it measures.
        scoring: how replies were scored.
        threshold: of its effective length. None: for tasks of association and reasoning NoLiMa's share of the score
            at the shortest length, for others RULER's threshold.
    """

    name: str
    version: int
    family: Family
    scoring: Scoring
    threshold: float | None = None


def task_result(info: TaskInfo, records: Sequence[SampleRecord], seed: int) -> TaskResult:
    """Return the scores of a task by length, and by length and depth.

    Samples without a reply have no score; each cell counts them by what is the matter. Length 0, of prompts with
    nothing around the evidence, is a base to compare with and no effective length.

    Args:
        info: description of the task.
        records: of its samples, in any order.
        seed: of the bootstraps.
    """
    assert {record.task for record in records} <= {info.name}, (
        f"records of another task than {info.name}"
    )
    lengths = grouped(records, lambda record: record.length)
    overall = [_cell(each, None, seed) for _, each in sorted(lengths.items())]
    scores = {cell.length: cell.score for cell in overall}
    threshold = _threshold(info, scores)
    longer = {length: score for length, score in scores.items() if length > 0}
    return TaskResult(
        task=info.name,
        version=info.version,
        family=info.family,
        scoring=info.scoring,
        cells=overall + _depth_cells(records, seed),
        effective_length=effective_length(longer, threshold),
        effective_length_conservative=effective_length(longer, threshold, conservative=True),
        threshold=threshold,
    )


def _threshold(info: TaskInfo, scores: Mapping[int, Estimate | None]) -> float:
    if info.threshold is not None:
        return info.threshold
    if info.family in OWN_BASE and scores and scores[min(scores)] is not None:
        return own_base_threshold(scores)
    return RULER_THRESHOLD


def _depth_cells(records: Sequence[SampleRecord], seed: int) -> list[Cell]:
    placed = [
        (record.length, record.depth, record) for record in records if record.depth is not None
    ]
    places = grouped(placed, lambda each: (each[0], each[1]))
    return [
        _cell([each[2] for each in group], depth, seed)
        for (_, depth), group in sorted(places.items())
    ]


def _cell(records: Sequence[SampleRecord], depth: float | None, seed: int) -> Cell:
    length = records[0].length
    answered = [record for record in records if record.score is not None]
    problems = [_problem(record) for record in records]
    made = [
        record.prompt_tokens
        for record, problem in zip(records, problems, strict=True)
        if problem != "unmeasurable"
    ]
    tokens = sorted(made or [0])
    return Cell(
        length=length,
        depth=depth,
        score=_score(answered, sampling_seed("cell", seed, records[0].task, length, depth)),
        truncated=sum(record.truncated for record in answered),
        refused=problems.count("refused"),
        over_length=problems.count("over_length"),
        unanswered=problems.count("unanswered"),
        unmeasurable=problems.count("unmeasurable"),
        prompt_tokens=(tokens[0], median_low(tokens), tokens[-1]),
    )


def _score(answered: Sequence[SampleRecord], seed: int) -> Estimate | None:
    scores = [record.score for record in answered if record.score is not None]
    return estimate(scores, [record.cluster for record in answered], seed) if scores else None


def _problem(record: SampleRecord) -> str:
    """Kind of problem of a record: the part before the colon; "" if it has a score.

    Raises:
        ValueError: there is neither a score nor a known problem, or there are both.
    """
    kind = record.problem.partition(":")[0]
    if (record.score is None) != (kind in PROBLEMS):
        raise ValueError(
            f"sample {record.id}: score {record.score} with problem {record.problem!r}"
        )
    return kind


def compare(
    records: Sequence[SampleRecord], reference: Sequence[SampleRecord], seed: int
) -> list[PairedDifference]:
    """Return differences to a reference on the same samples: by task and length, then by task over all lengths.

    A sample that one of the two has no score for is left out and counted (`left_out`), as are those that only one was
    asked. A task and length of which no sample is left has no entry of its own; it counts in that of its task.

    Args:
        records: of the model, of any tasks.
        reference: of the other model.
        seed: of the bootstraps.
    """
    own, other = ({record.id: record for record in each} for each in (records, reference))
    pairs = [_Pair(own.get(each), other.get(each)) for each in sorted(own.keys() | other.keys())]
    found = []
    for task, of_task in sorted(grouped(pairs, lambda pair: pair.sample.task).items()):
        lengths = grouped(of_task, lambda pair: pair.sample.length)
        groups = [*sorted(lengths.items()), (None, of_task)]
        found += [_difference(task, length, group, seed) for length, group in groups]
    return [each for each in found if each is not None]


@dataclass(frozen=True)
class _Pair:
    """Records of one sample; None where a model was not asked it."""

    own: SampleRecord | None
    reference: SampleRecord | None

    @property
    def sample(self) -> SampleRecord:
        """One of the records."""
        record = self.own or self.reference
        assert record is not None, "one of the two models was asked"
        return record

    @property
    def scores(self) -> tuple[float, float] | None:
        """Both scores; None unless there are both."""
        if self.own is None or self.reference is None:
            return None
        a, b = self.own.score, self.reference.score
        return None if a is None or b is None else (a, b)


def _difference(
    task: str, length: int | None, pairs: Sequence[_Pair], seed: int
) -> PairedDifference | None:
    both = [(pair.scores, pair.sample.cluster) for pair in pairs if pair.scores is not None]
    if not both:
        return None
    scores, clusters = zip(*both, strict=True)
    found = paired(task, length, scores, clusters, sampling_seed("difference", seed, task, length))
    return found.model_copy(update={"left_out": len(pairs) - len(both)})


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Return items by key, in their order."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
