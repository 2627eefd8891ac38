"""How many replicas the tokens need."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from longspan.serve.scaling import TokensPolicy


@dataclass
class Situation:
    aggregated_metrics: dict[str, dict[Any, float]] | None
    total_queued_requests: float = 0.0
    config: Any = field(default_factory=lambda: SimpleNamespace(target_ongoing_requests=256))


def wanted(*tokens: float, queued: float = 0.0) -> float:
    reported = {"tokens": dict(enumerate(tokens))}
    return TokensPolicy(100_000)(Situation(reported, queued))[0]


def test_a_few_long_prompts_need_more_replicas_than_many_short_ones() -> None:
    assert wanted(3 * 120_000) == 3.6
    assert wanted(100 * 200) == 0.2


def test_the_tokens_of_all_replicas_count_and_without_any_none_is_needed() -> None:
    assert wanted(150_000, 50_000) == 2
    assert wanted(0, 0) == 0
    assert TokensPolicy(10)(Situation(None))[0] == 0


def test_requests_that_no_replica_has_yet_are_not_overlooked() -> None:
    assert wanted(queued=1) > 0
    assert wanted(100_000, queued=256) == 2
