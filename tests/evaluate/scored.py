"""Tiny models that score, and documents for them."""

import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM

from longspan.evaluate.documents import Document
from longspan.hashing import content_id
from tests.tiny import TEXT, VOCABULARY, make_tiny_model, make_tiny_tokenizer


def words(seed: int, sentences: int) -> str:
    """Text of sentences in random order."""
    rng = random.Random(seed)
    return " ".join(rng.choice(TEXT) for _ in range(sentences))


def held_out(*sentences: int, corpus: str = "notes") -> list[Document]:
    """Documents of so many sentences each."""
    texts = [words(len(corpus) * 1000 + number, count) for number, count in enumerate(sentences)]
    return [
        Document(content_id(text), corpus, f"{number}.txt", text)
        for number, text in enumerate(texts)
    ]


def random_ids(count: int, seed: int = 0) -> list[int]:
    """Token ids of the tiny tokenizer, none of them special."""
    rng = random.Random(seed)
    return [rng.randrange(3, VOCABULARY) for _ in range(count)]


def zeroed_head(folder: Path, window: int = 256) -> Path:
    """A tiny model whose logits are all 0."""
    make_tiny_model(folder, window, tied=False)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.save_pretrained(folder)
    return folder


def sliding(folder: Path, window: int = 512, reach: int = 16, layers: int = 2) -> Path:
    """A tiny model whose layers attend to `reach` tokens each, the present one included."""
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=window,
        sliding_window=reach,
        initializer_range=0.2,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        MistralForCausalLM(config).save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


def reference_losses(folder: Path, ids: list[int]) -> torch.Tensor:
    """Cross-entropy of each token but the first, from all logits of a plain transformers model."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.tensor([ids])
    with torch.no_grad():
        logits = model(tokens).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
