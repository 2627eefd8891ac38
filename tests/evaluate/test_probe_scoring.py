"""The right answer of a sample scores 1 by its own rule, and an empty or a wrong one 0."""

import pytest

from longspan.evaluate.documents import documents_hash
from longspan.evaluate.metrics import score
from longspan.evaluate.probes.registry import GROUPS, TASKS
from longspan.evaluate.samples import ProbeSource, Sample
from tests.evaluate.probe_fixtures import completion_format, document, prose

NAMES = ["association", *GROUPS["stories"], *GROUPS["graph_walks"], *GROUPS["many_shot"]]


def source() -> ProbeSource:
    documents = tuple(document(prose(seed, 400), f"corpus{seed % 2}") for seed in range(4))
    return ProbeSource(documents, documents_hash(documents), completion_format(), 1)


def right_reply(sample: Sample) -> str:
    """As a model that completes a text goes on."""
    if sample.scoring == "set_f1":
        return ", ".join(sample.references) + "]"
    return f" {sample.references[0]}\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_scores_one(name: str) -> None:
    for index in range(6):
        sample = TASKS[name].sample(source(), 4096, index)
        assert score(sample.scoring, right_reply(sample), sample.references) == 1
        assert score(sample.scoring, "", sample.references) == 0
        in_a_chat = f"{sample.answer_prefix.strip()}{right_reply(sample).strip()}"
        assert score(sample.scoring, in_a_chat, sample.references) == 1
        another = next(
            other
            for other in (TASKS[name].sample(source(), 4096, n) for n in range(index + 1, 50))
            if not {right_reply(other)} & {right_reply(sample)}
            and set(other.references[:1]) != set(sample.references[:1])
        )
        assert score(sample.scoring, right_reply(another), sample.references) == 0
