"""What will be served and how, before anything starts: the plan as text."""

from __future__ import annotations

from longspan.observe.tables import size, table
from longspan.serve.capacity import max_ongoing, max_waiting
from longspan.serve.engine import EnginePlan
from longspan.serve.hardware import Hardware
from longspan.serve.model import ServedModel
from longspan.serve.schema import ServeSettings


def plan_text(
    settings: ServeSettings, model: ServedModel, hardware: Hardware, plan: EnginePlan
) -> str:
    """Every value with its reason."""
    gpus = f"{plan.workers} of {hardware.gpus} GPUs of a node" if plan.gpu else "no GPU here"
    replicas = settings.replicas
    target, why = replicas.target_tokens, "replicas.target_tokens"
    if target is None:
        target, why = plan.cache_tokens, "what the cache of one holds"
    body = settings.limits.body_bytes(model.window)
    rows = [
        (
            "model",
            model.address,
            f"{model.facts.parameters:,} parameters, {model.facts.model_type}",
        ),
        ("name", model.name, "what clients call it"),
        ("window", f"{model.window:,}", plan.reasons["max_model_len"]),
        ("RoPE base", f"{model.facts.rope_base:,.0f}", "compared with what vLLM has loaded"),
        ("runs on", hardware.device.name, gpus),
        ("pool", settings.pool or "any", "nodes that replicas may be on"),
        ("replicas", f"{replicas.min} to {replicas.max}", "replicas"),
        ("tokens a replica", f"{target:,}", why),
        (
            "requests a replica",
            f"{max_ongoing(settings):,}",
            "limits.max_requests, and some that the gateway answers",
        ),
        (
            "requests waiting",
            f"{max_waiting(settings, model.window):,}",
            f"while no replica has room, with bodies of {size(body)} in memory; more are told with 503",
        ),
    ]
    engine = [
        (f"engine.{key}", str(value), plan.reasons.get(key, "always"))
        for key, value in sorted(plan.arguments.items())
    ]
    parts = [f"Plan of the chat service {model.name!r}", table(rows), table(engine)]
    if not model.has_chat_template:
        parts.append(
            "Note: the model has no chat template: /v1/completions works, /v1/chat/completions does not"
        )
    return "\n\n".join(parts)
