"""Samples that a model is asked for, and the identities under which they are recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from longspan.evaluate.samples import ProbeSource, Task
from longspan.generate.order import grouped_longest_first
from longspan.hashing import content_id

Form = Literal["token_ids", "chat"]
"""How prompts are sent: as token ids, template included; or as a user's turn, which an endpoint renders itself."""


@dataclass(frozen=True)
class SampleKey:
    """One sample of a grid."""

    task: str
    length: int
    index: int


@dataclass(frozen=True)
class SampleGrid:
    """Samples to ask a model for: so many of each task at each length.

    Attributes:
        tasks: of unique names.
        lengths: tokens of prompt and answer.
        samples: number of samples of each task at each length.
        source: what samples are made from.
        model: identity of the model; changes with its weights and with how it is run.
        window: tokens of prompt and answer that the engine takes; None: unknown.
        temperature: of sampling; 0 takes the likeliest token each time.
        form: how prompts are sent.
    """

    tasks: tuple[Task, ...]
    lengths: tuple[int, ...]
    samples: int
    source: ProbeSource
    model: str
    window: int | None = None
    temperature: float = 0.0
    form: Form = "token_ids"

    def problems(self, recorded: Set[str] = frozenset()) -> dict[tuple[str, int], str]:
        """Return why there are no samples of some tasks at some lengths, by name and length.

        A task may make samples to find out, which takes seconds at great lengths: it is not asked about a length at
        which its first sample is recorded.

        Args:
            recorded: identities of requests.
        """
        found = {}
        for task in self.tasks:
            for length in self.lengths:
                first = SampleKey(task.name, length, 0)
                if not recorded.isdisjoint(self.recorded_as([first])[first]):
                    continue
                if problem := task.problem(self.source, length):
                    found[task.name, length] = problem
        return found

    def sample_keys(self, without: Collection[tuple[str, int]] = ()) -> list[SampleKey]:
        """Return all samples, by length, the longest first, then by task and index.

        Args:
            without: names of tasks and lengths at which there are none.
        """
        return [
            SampleKey(task.name, length, index)
            for length in sorted(set(self.lengths), reverse=True)
            for task in self.tasks
            if (task.name, length) not in without
            for index in range(self.samples)
        ]

    def recorded_as(self, keys: Iterable[SampleKey]) -> dict[SampleKey, tuple[str, str]]:
        """Return the identities under which samples may be recorded: answered, and rejected."""
        tasks = {task.name: task for task in self.tasks}
        found = {}
        for key in keys:
            request = self.identities.of(
                tasks[key.task].sample_id(self.source, key.length, key.index)
            )
            found[key] = (request, self.identities.rejected(request))
        return found

    @property
    def identities(self) -> RequestIdentities:
        """Identities of its requests."""
        return RequestIdentities(self.model, self.window, self.temperature, self.form)


@dataclass(frozen=True)
class RequestIdentities:
    """Identities of requests: one that is recorded is never made again. Attributes are those of `SampleGrid`."""

    model: str
    window: int | None
    temperature: float
    form: Form

    def of(self, sample: str) -> str:
        """Return the identity of the request for a sample, whose text and sampling follow from it."""
        return content_id("request", self.model, sample, self.temperature, self.form)

    def rejected(self, request: str) -> str:
        """Return the identity of a request that is over length or was refused: with another window it may not be."""
        return content_id("rejected", request, self.window)


def pending(grid: SampleGrid, keys: Sequence[SampleKey], done: Set[str]) -> list[SampleKey]:
    """Return the samples that are to be asked for, in the order of their requests (`request_order`).

    Args:
        grid: of the samples.
        keys: all of them.
        done: identities of requests that are recorded.
    """
    names = grid.recorded_as(keys)
    return request_order(grid, [key for key in keys if done.isdisjoint(names[key])])


def request_order(grid: SampleGrid, keys: Collection[SampleKey]) -> list[SampleKey]:
    """Return samples in the order in which they are asked for: by document, then the longest first.

    The prompts of one sample at several lengths follow one another within their document. A sample whose context
    depends on the length is by itself, as if it were on a document of its own.
    """
    tasks = {task.name: task for task in grid.tasks}
    contexts = {
        (key.task, key.index): tasks[key.task].context_id(grid.source, key.index) for key in keys
    }

    def groups(key: SampleKey) -> tuple[str, ...]:
        own = f"{key.task} {key.index:09} {key.length:09}"
        context = contexts[key.task, key.index]
        return (context, f"{key.task} {key.index:09}", own) if context else (own,)

    return grouped_longest_first(keys, lambda key: key.length, groups)
