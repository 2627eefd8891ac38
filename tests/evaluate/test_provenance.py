"""Identity of an evaluated model in results."""

from pathlib import Path

import pytest

from longspan.config.load import parse
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.provenance import model_info, provenance
from longspan.evaluate.schema import EvaluateRecipe
from longspan.model.facts import ModelFacts
from longspan.storage import Store

FACTS = ModelFacts(
    layers=2,
    hidden=64,
    heads=2,
    kv_heads=1,
    head_dim=32,
    intermediate=128,
    vocab=512,
    window=131_072,
    rope_base=5e5,
    tied=True,
    parameters=100_000,
    model_type="llama",
)
CORPUS = {"name": "books", "path": "corpora/books", "heldout_fraction": 0.1}


@pytest.mark.parametrize("judged", [2048, 131_072])
def test_the_judged_window_stands_beside_the_models_own(judged: int, tmp_path: Path) -> None:
    model = EvaluatedModel("models/a", "model", str(tmp_path), "1", FACTS, tmp_path)
    recipe = parse(EvaluateRecipe, {"name": "short", "model": "models/a", "corpora": [CORPUS]})
    prepared = Prepared(
        recipe,
        Store(str(tmp_path)),
        model,
        None,
        window=judged,
        base_window=1024,
        lengths=(1024, judged),
        template="none",
        tasks=(),
    )
    info = model_info(prepared, model, "hash")
    assert (info.window, info.model_window) == (judged, 131_072)
    assert provenance(prepared, [], {}, {}).base_window == 1024
