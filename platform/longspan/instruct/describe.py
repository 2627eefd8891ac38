"""What a job will do, before it does anything: the plan as text."""

from __future__ import annotations

from longspan.instruct.choose import shares
from longspan.instruct.prepare import Prepared
from longspan.observe.tables import size, table
from longspan.recipe.sources import find_objects


def plan_text(prepared: Prepared) -> str:
    """Every value with its reason, the sources, and how much is asked at most."""
    recipe, sizes = prepared.recipe, prepared.sizes
    endpoint = recipe.generator.endpoint
    generator = f"{endpoint.model} at {endpoint.url}" if endpoint else str(recipe.generator.model)
    values = [
        ("generator", generator, f"identity {prepared.identity[:8]}"),
        ("tokenizer", recipe.tokenizer or "the generator's", f"hash {prepared.chat.hash[:8]}"),
        ("target_context", f"{recipe.target_context:,}", "tokens of the longest example"),
        ("chunk_tokens", f"{sizes.chunk:,}", sizes.reasons["chunk_tokens"]),
        ("generator.window", f"{sizes.window:,}", sizes.reasons["generator.window"]),
        ("prompts", recipe.prompts or "ours", f"hash {prepared.prompts.hash[:8]}"),
        *(
            (f"corpora.{name}.split", rule.split, f"heldout_fraction {rule.heldout_fraction:g}")
            for name, rule in recipe.splits.items()
        ),
    ]
    limits = shares(recipe)
    sources = [
        (source.name, f"{source.count:,}", size(source.bytes), f"{limits[source.name]:,}")
        for source in find_objects(recipe, prepared.store)
    ]
    chunks = recipe.chunks_per_document
    per_document = f"{chunks:,} chunks of each" if chunks else "all chunks of each"
    most = f", {recipe.questions:,} in all" if recipe.questions else ""
    parts = [
        f"Plan of self-instruct {recipe.name!r}",
        table(values),
        table(sources, ("source", "objects", "bytes", "documents at most")),
        f"Questions: {recipe.questions_per_chunk:,} about a chunk, {per_document}{most}, at most; "
        "a verdict for each that can be read.",
        f"Goes to {prepared.store.uri(prepared.folder)}",
    ]
    if not prepared.prompts.shared_beginning:
        parts.append(
            "Note: prompts: the texts before {chunk} differ, so nothing of a chunk's computation is "
            "shared among its questions and their critique"
        )
    return "\n\n".join(parts)
