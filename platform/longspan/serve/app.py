"""The application that `serving/chat.yaml` names: `build` makes it from the settings there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longspan.config.load import parse
from longspan.runtime.nodes import start_machine
from longspan.runtime.pool import selector
from longspan.serve.capacity import haproxy, max_ongoing, max_waiting
from longspan.serve.describe import plan_text
from longspan.serve.engine import EnginePlan, plan_engine
from longspan.serve.hardware import probe_hardware
from longspan.serve.model import ServedModel, inspect_served_model
from longspan.serve.schema import ServeSettings

if TYPE_CHECKING:
    from ray.serve import Application

DEPLOYMENT = "ChatServer"
"""The same for all models: a new version takes the place of the one before."""
POLICY = "longspan.serve.scaling:TokensPolicy"
ROUTER = "longspan.serve.routing:SessionRouter"
STARTS = 2
"""Times that a replica which can't start is tried; Serve counts those of all replicas together."""


def build(args: dict[str, Any]) -> Application:
    """The application, for Ray Serve to deploy.

    Args:
        args: those of the config file; see :class:`ServeSettings`.

    Raises:
        UserError: they are not valid, or there is no such model.
    """
    settings = parse(ServeSettings, args)
    model = inspect_served_model(settings)
    # Serve lets a build take its time.
    start_machine(settings.pool, print)
    hardware = probe_hardware(settings.pool)
    plan = plan_engine(settings, model, hardware)
    print(plan_text(settings, model, hardware, plan))
    return application(settings, model, plan)


def application(settings: ServeSettings, model: ServedModel, plan: EnginePlan) -> Application:
    """One deployment that is its own ingress: a request passes Serve's proxy, then the engine's process."""
    from ray import serve
    from ray.serve.llm import LLMConfig, build_llm_deployment

    from longspan.serve.server import ChatServer

    config = LLMConfig(
        model_loading_config={"model_id": model.name, "model_source": model.address},
        accelerator_config={"kind": "gpu" if plan.gpu else "cpu"},
        placement_group_config={"bundle_per_worker": plan.bundle, "strategy": "STRICT_PACK"},
        # The replica itself waits for its engine most of the time.
        deployment_config={"ray_actor_options": {"num_cpus": 0}},
        engine_kwargs=plan.arguments,
    )
    return build_llm_deployment(
        config,
        # Without an application: the replica builds it once its engine is there.
        deployment_cls=serve.ingress()(ChatServer),
        bind_kwargs={"model": model, "settings": settings},
        override_serve_options=deployment_options(settings, plan),
    )


def deployment_options(settings: ServeSettings, plan: EnginePlan) -> dict[str, Any]:
    """How many replicas there are, and how they come and go."""
    replicas, requests = settings.replicas, max_ongoing(settings)
    router = {} if haproxy() else {"request_router_config": {"request_router_class": ROUTER}}
    places = [selector(settings.pool)] * plan.workers
    pool = {"placement_group_bundle_label_selector": places} if settings.pool else {}
    return (router | pool) | {
        "name": DEPLOYMENT,
        "max_ongoing_requests": requests,
        # While no replica has room, or none is up, so many wait; others are told with 503.
        "max_queued_requests": max_waiting(settings, plan.arguments["max_model_len"]),
        "autoscaling_config": {
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            "target_ongoing_requests": requests,
            "upscale_delay_s": replicas.upscale_delay,
            "downscale_delay_s": replicas.downscale_delay,
            "policy": {
                "policy_function": POLICY,
                "policy_kwargs": {"target_tokens": replicas.target_tokens or plan.cache_tokens},
            },
        },
        # A new version is up before the old one goes, and that one ends its answers first.
        "max_surge_percent": 100,
        "graceful_shutdown_timeout_s": replicas.drain,
        "max_constructor_retry_count": STARTS * replicas.max,
        # The gateway's own says more.
        "logging_config": {"enable_access_log": False},
    }
