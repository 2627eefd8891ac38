"""Architectures whose rows can be divided among workers, and the layers of others that stand in the way."""

import pytest

from longspan.model.probe import probe
from longspan.model.support import default_config


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("llama", {}),
        ("mistral", {}),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 16}),
        ("qwen3", {}),
        ("phi3", {"sliding_window": 2047}),
        ("olmo2", {}),
    ],
)
def test_rows_of_attention_alone_can_be_shared(model_type: str, changes: dict) -> None:
    behavior = probe(default_config(model_type, **changes))
    assert behavior.sharing_error < 1e-4
    assert behavior.mixing_layer is None


@pytest.mark.parametrize(
    ("model_type", "layer"),
    [("lfm2", "Lfm2ShortConv"), ("falcon_h1", "FalconH1Mixer"), ("gemma2", None)],
)
def test_rows_of_other_layers_cannot(model_type: str, layer: str | None) -> None:
    behavior = probe(default_config(model_type))
    assert behavior.sharing_error > 0.1
    assert behavior.mixing_layer == layer
