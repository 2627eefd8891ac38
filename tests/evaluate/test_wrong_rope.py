"""The sample model's weights with a wrong RoPE base: the paired losses show it, and the gate fails."""

from pathlib import Path

import pytest

from longspan.evaluate.documents import Document
from longspan.evaluate.losses.by_context import TargetChoice
from longspan.evaluate.losses.documents import tokenize
from longspan.evaluate.losses.measure import Losses, LossPlan, loss_changes
from longspan.evaluate.scoring.batches import score_all
from longspan.evaluate.scoring.scorer import Scorer
from longspan.hashing import content_id
from longspan.model.load import load_tokenizer
from tests.evaluate.gate_results import compared, found, results
from tests.sample_model import books, with_rope_base

WINDOW = 64
WRONG_BASE = 1000.0
"""A hundredth of the model's own."""


def losses(folder: Path, plan: LossPlan) -> Losses:
    scores = score_all(Scorer.load(folder, "fp32"), plan.requests, plan.documents.texts)
    return plan.losses(scores)


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_a_wrong_rope_base_raises_the_loss_of_the_same_tokens_and_fails_the_gate(
    sample_model: Path, tmp_path: Path
) -> None:
    documents = [
        Document(content_id(text), "books", f"{number}.txt", text)
        for number, text in enumerate(books(5, 1000))
    ]
    tokenized = tokenize(load_tokenizer(sample_model), documents)
    plan = LossPlan.of(tokenized, WINDOW, TargetChoice(targets=32, blocks=1, shortest=WINDOW - 32))
    sound = losses(sample_model, plan)
    wrong = losses(with_rope_base(sample_model, tmp_path / "wrong", WRONG_BASE), plan)
    changes = [each for each in loss_changes(wrong, sound, 0) if each.corpus is None]
    for each in changes:
        change = each.change
        print(
            f"context {each.context}: {change.value:+.1%} [{change.low:+.1%}, {change.high:+.1%}]"
        )
    assert [each.context for each in changes] == [32]
    assert all(each.change.low > 0 for each in changes)
    item = found("short_loss_retained", results(comparison=compared(changes=changes)))
    assert item.status == "fail" and (item.low or 0) > 0.005, item

    unchanged = [each for each in loss_changes(sound, sound, 0) if each.corpus is None]
    same = found("short_loss_retained", results(comparison=compared(changes=unchanged)))
    assert same.status == "pass", same
