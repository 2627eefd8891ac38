"""A run's identity, for tests that need one."""

from typing import Any

from longspan.config.overrides import apply_overrides
from longspan.train.identity import RunIdentity

VALUES: dict[str, Any] = {
    "schema_version": 2,
    "base_model": "/models/base",
    "target_context": 32768,
    "positions": {"encoding": "abf", "base": 500_000.0},
    "corpora": [
        {"name": "books", "weight": 0.7, "prompt_loss": None, "pack": True, "data": "0123"},
        {"name": "chat", "weight": 0.3, "prompt_loss": 0.1, "pack": False, "data": "4567"},
    ],
    "packing": {"method": "best_fit", "document_mask": True},
    "training": {"seed": 0, "precision": "bf16", "loss": "per_token"},
    "optimizer": {
        "learning_rate": 2e-05,
        "final_learning_rate_fraction": 0.1,
        "warmup_updates": 100,
        "betas": [0.9, 0.95],
        "eps": 1e-08,
        "weight_decay": 0.1,
        "gradient_clipping": 1.0,
    },
    "stages": [
        {"updates": 500, "rows_per_update": 8, "length": 4096},
        {"updates": 1, "rows_per_update": 1, "length": 32768},
    ],
}


def identity(*changes: str) -> RunIdentity:
    """The identity above, with ``key.path=value`` changed."""
    return RunIdentity.from_json(apply_overrides(VALUES, changes))
