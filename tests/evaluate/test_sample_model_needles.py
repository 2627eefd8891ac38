"""The sample model finds needles in prose inside its window; with a wrong RoPE base only one near the question."""

from pathlib import Path
from typing import Any

import pytest

from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.metrics import score
from longspan.evaluate.probes.registry import tasks_of
from longspan.evaluate.prompt_format import load_format
from longspan.evaluate.samples import ProbeSource
from longspan.hashing import content_id
from tests.sample_model import books, with_rope_base

LENGTH, SAMPLES = 512, 3
REPLY_TOKENS = 12
WRONG_BASE = 1000.0


def scores(folder: Path, source: ProbeSource) -> list[float]:
    """Scores of greedy replies by transformers to the first samples."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    format: Any = source.format
    (task,) = tasks_of(["ruler_niah_single_2"])
    found = []
    for index in range(SAMPLES):
        sample = task.sample(source, LENGTH, index)
        ids = torch.tensor([format.prompt_ids(sample.text, sample.answer_prefix)])
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=REPLY_TOKENS,
                do_sample=False,
            )
        reply = format.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        found.append(score(task.scoring, reply, list(sample.references)))
    return found


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_needles_are_found_by_the_model_and_far_ones_not_with_a_wrong_rope_base(
    sample_model: Path, tmp_path: Path
) -> None:
    documents = tuple(
        Document(content_id(text), "books", f"{number}.txt", text)
        for number, text in enumerate(books(12, 20_000))
    )
    format = load_format(sample_model, "chat", append_answer_prefix=True)
    source = ProbeSource(documents, documents_hash(documents), format, 0, SAMPLES)
    assert scores(sample_model, source) == [1.0] * SAMPLES
    wrong = with_rope_base(sample_model, tmp_path / "wrong", WRONG_BASE)
    # Depths are 0, 1/2 and 1: the last needle stands right before the question.
    assert scores(wrong, source)[:2] == [0.0, 0.0]
