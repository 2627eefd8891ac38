"""Generators: engines or an endpoint on Ray Data, or a responder in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from longspan.generate.endpoint import BATCHES, EndpointAccess, EndpointBatches
from longspan.generate.engine import TASK_CPUS, Engine, Render
from longspan.generate.requests import Reply, RequestSource, Responder, Row, not_sent

T = TypeVar("T")


class TextGenerator(Protocol):
    """Answers the requests of a source."""

    @property
    def setting(self) -> str:
        """The recipe's key that names it, for messages."""
        ...

    def share(self, value: T) -> Callable[[], T]:
        """Return a small function that gives a large value, such as documents, in any process that makes requests."""
        ...

    def records(
        self, items: Sequence[Row], source: RequestSource, name: str
    ) -> Iterable[list[Row]]:
        """Yield the records of the requests about some items, in groups, as they come.

        Each record has four more columns: `failure` (a `FailureKind`, or ""), its `message`, `seconds`, since the
        request was handed over, and `engine` (`Reply.engine`).

        Args:
            items: what to make requests of (`RequestSource.requests`), in this order.
            source: makes requests and records.
            name: of the stage, for dashboards.
        """
        ...


@dataclass(frozen=True)
class EngineGenerator:
    """vLLM engines on the cluster that is connected.

    Attributes:
        engine: all of them.
        setting: the recipe's key that names the model, for messages.
        render: token ids of a user's turn, for requests that have no ids.
        on_report: takes the report of each engine (`LoadedModel.report`) before the first of its replies is handed on,
            once for each different report.
    """

    engine: Engine
    setting: str
    render: Render | None = None
    on_report: Callable[[str], None] | None = None

    def share(self, value: T) -> Callable[[], T]:
        """See `TextGenerator.share`."""
        return _Shared.put(value)

    def records(
        self, items: Sequence[Row], source: RequestSource, name: str
    ) -> Iterable[list[Row]]:
        """See `TextGenerator.records`."""
        dataset = _requests(items, source)
        # Ray would ask its autoscaler for the engine's GPUs in the pool of the data.
        dataset.context.execution_options.label_selector = None
        # A block is given back as a whole: small ones lose little when the job is killed.
        dataset = dataset.repartition(target_num_rows_per_block=self.engine.batch)
        reported: set[str] = set()
        for rows in _records(self.engine.replies(dataset, self.render), source, name):
            for report in {row["engine"] for row in rows if row["engine"]} - reported:
                reported.add(report)
                if self.on_report:
                    self.on_report(report)
            yield rows


@dataclass(frozen=True)
class EndpointGenerator:
    """A server; requests go out from one actor of the cluster that is connected."""

    access: EndpointAccess

    @property
    def setting(self) -> str:
        """See `TextGenerator.setting`."""
        return f"{self.access.setting}.url"

    def share(self, value: T) -> Callable[[], T]:
        """See `TextGenerator.share`."""
        return _Shared.put(value)

    def records(
        self, items: Sequence[Row], source: RequestSource, name: str
    ) -> Iterable[list[Row]]:
        """See `TextGenerator.records`."""
        import ray.data

        rows = BATCHES * self.access.endpoint.requests
        batches: Any = EndpointBatches  # Ray Data makes one per actor and calls it.
        dataset = (
            _requests(items, source)
            .repartition(target_num_rows_per_block=rows)
            .map_batches(
                batches,
                fn_constructor_args=(self.access,),
                batch_size=rows,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=1),
                num_cpus=TASK_CPUS,
            )
        )
        return _records(dataset, source, name)


@dataclass(frozen=True)
class InProcessGenerator:
    """A responder that is asked from this process, one request after another; it needs no Ray."""

    responder: Responder
    setting: str = "endpoint"

    def share(self, value: T) -> Callable[[], T]:
        """See `TextGenerator.share`."""
        return lambda: value

    def records(
        self, items: Sequence[Row], source: RequestSource, name: str
    ) -> Iterable[list[Row]]:
        """See `TextGenerator.records`."""
        for item in items:
            for request in source.requests(item):
                if failure := not_sent(request, None):
                    reply = Reply.failed(request, failure.kind, failure.message)
                else:
                    reply = self.responder.respond(request)
                yield [_record(source, reply)]


@dataclass(frozen=True)
class _Shared:
    """A value in Ray's object store, read once by each process."""

    reference: Any

    @classmethod
    def put(cls, value: Any) -> _Shared:
        import ray

        return cls(ray.put(value))

    def __call__(self) -> Any:
        return _read(self.reference)


@lru_cache(maxsize=2)
def _read(reference: Any) -> Any:
    import ray

    return ray.get(reference)


@dataclass(frozen=True)
class _Requests:
    """Rows of the requests about an item."""

    source: RequestSource

    def __call__(self, item: Row) -> Iterator[Row]:
        for request in self.source.requests(item):
            yield request.row()


@dataclass(frozen=True)
class _Records:
    """Records of the rows of replies."""

    source: RequestSource

    def __call__(self, row: Row) -> Row:
        return _record(self.source, Reply.from_row(row))


def _record(source: RequestSource, reply: Reply) -> Row:
    kind, message = (reply.failure.kind, reply.failure.message) if reply.failure else ("", "")
    added = {"failure": kind, "message": message, "seconds": reply.seconds, "engine": reply.engine}
    return source.record(reply) | added


def _requests(items: Sequence[Row], source: RequestSource) -> Any:
    import ray.data

    dataset = ray.data.from_items(list(items), override_num_blocks=len(items))
    return dataset.flat_map(_Requests(source), num_cpus=TASK_CPUS)


def _records(dataset: Any, source: RequestSource, name: str) -> Iterator[list[Row]]:
    dataset = dataset.map(_Records(source), num_cpus=TASK_CPUS)
    dataset.set_name(name)
    dataset.context.enable_progress_bars = False  # Ours says more.
    # Prefetching would hold a finished batch back until the next one is there.
    batches = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for batch in batches:
        yield batch.to_pylist()
