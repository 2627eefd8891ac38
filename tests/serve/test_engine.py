"""Engine arguments by hardware."""

import re

import pytest

from longspan.errors import UserError
from longspan.model.facts import ModelFacts, facts_from_config
from longspan.plan.device import Device
from longspan.serve.app import deployment_options
from longspan.serve.describe import plan_text
from longspan.serve.engine import EnginePlan, cache_bytes_per_token, plan_engine
from longspan.serve.hardware import Hardware
from longspan.serve.model import ServedModel, check_loaded
from longspan.serve.schema import ServeSettings

GIBI = 2**30
CPU = Hardware(Device("cpu", "CPU", 24 * GIBI, bf16=False), 0)
H100S = Hardware(Device("cuda", "NVIDIA H100 80GB HBM3", 80 * GIBI, bf16=True), 8)
LLAMA_8B = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_parameters": {"rope_type": "default", "rope_theta": 8e6},
}
LLAMA_70B = LLAMA_8B | {
    "num_hidden_layers": 80,
    "hidden_size": 8192,
    "num_attention_heads": 64,
    "intermediate_size": 28672,
}


def served(config: dict, **asked: object) -> tuple[ServeSettings, ServedModel]:
    settings = ServeSettings.model_validate({"model": "/models/m"} | asked)
    facts: ModelFacts = facts_from_config(config)
    window = settings.window or facts.window
    return settings, ServedModel("/models/m", "m", facts, window, has_chat_template=True)


def plan(config: dict, hardware: Hardware, **asked: object) -> EnginePlan:
    settings, model = served(config, **asked)
    return plan_engine(settings, model, hardware)


def test_tokens_in_the_cache_are_counted_by_the_models_heads() -> None:
    # 32 layers of 8 heads of 128: 2 x 32 x 8 x 128 x 2 bytes.
    assert cache_bytes_per_token(facts_from_config(LLAMA_8B)) == 131072


@pytest.mark.parametrize(
    ("config", "window", "degree"),
    [
        (LLAMA_8B, 131072, 1),  # 15 GiB of weights and 16 GiB of cache
        (LLAMA_70B, 16384, 2),  # 131 and 5
        (LLAMA_70B, 131072, 4),  # 131 and 40: two cards have no room for a whole window
    ],
)
def test_the_fewest_gpus_that_hold_the_weights_and_a_whole_window(
    config: dict, window: int, degree: int
) -> None:
    found = plan(config, H100S, window=window)
    assert found.arguments["tensor_parallel_size"] == found.workers == degree
    assert found.bundle == {"CPU": 1.0, "GPU": 1.0}
    assert found.cache_tokens >= window


def test_a_model_that_no_node_holds_is_refused_with_the_numbers() -> None:
    small = Hardware(Device("cuda", "NVIDIA L4", 24 * GIBI, bf16=True), 4)
    with pytest.raises(UserError, match=r"4 x NVIDIA L4 has \(weights 131\.\d GiB.*smaller window"):
        plan(LLAMA_70B, small)


def test_long_prompts_on_a_cpu_are_computed_whole() -> None:
    arguments = plan(LLAMA_8B, CPU, window=8192).arguments
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] == arguments["max_model_len"] == 8192


def test_a_cache_smaller_than_the_window_is_refused_with_the_size_that_would_do() -> None:
    with pytest.raises(
        UserError, match=r"hold 8,192 tokens, and the window is 131,072; 16\.00 GiB"
    ):
        plan(LLAMA_8B, CPU, cache_gib=1)


def test_ones_own_arguments_stand_and_code_of_models_never_runs() -> None:
    found = plan(LLAMA_8B, H100S, engine={"kv_cache_dtype": "fp8", "dtype": "float16"})
    assert found.arguments["kv_cache_dtype"] == "fp8"
    assert found.arguments["trust_remote_code"] is False
    for key in ("trust_remote_code", "max_model_len"):
        with pytest.raises(ValueError, match=key):
            ServeSettings.model_validate({"model": "m", "engine": {key: 1}})


def test_the_engine_bounds_what_the_gateway_bounds() -> None:
    assert plan(LLAMA_8B, H100S).arguments["max_logprobs"] == 20
    assert "override_generation_config" not in plan(LLAMA_8B, H100S).arguments
    limits = {"max_logprobs": 2, "max_prompt_logprobs": 5, "max_output_tokens": 4096}
    found = plan(LLAMA_8B, CPU, window=8192, limits=limits).arguments
    assert found["max_logprobs"] == 5
    # For requests without max_tokens, which would run to the end of the window.
    assert found["override_generation_config"] == {"max_new_tokens": 4096}


def test_the_backend_of_grammars_stays_where_other_settings_of_theirs_are_given() -> None:
    """The gateway's bounds were measured with it."""
    given = {"structured_outputs_config": {"disable_any_whitespace": True}}
    found = plan(LLAMA_70B, H100S, window=16384, engine=given).arguments
    assert found["structured_outputs_config"] == {
        "backend": "xgrammar",
        "disable_any_whitespace": True,
    }


def test_the_plan_gives_a_reason_for_every_argument() -> None:
    settings, model = served(LLAMA_70B, window=16384, engine={"dtype": "float16"})
    text = plan_text(settings, model, H100S, plan_engine(settings, model, H100S))
    rows = [line for line in text.splitlines() if line.startswith("engine.")]
    assert len(rows) >= 8
    assert all(len(row.split(None, 2)) == 3 for row in rows)
    (degree,) = [row for row in rows if "tensor_parallel_size" in row]
    assert degree.split(None, 2)[1:] == [
        "2",
        "weights 131.4 GiB, cache of a whole window 5.0 GiB; 2 x 70.6 GiB hold them",
    ]


def test_replicas_are_on_nodes_of_the_pool_and_the_plan_says_so() -> None:
    from ray import serve

    settings, model = served(LLAMA_70B, window=16384, pool="serving")
    found = plan_engine(settings, model, H100S)
    assert re.search(r"^pool +serving +nodes that", plan_text(settings, model, H100S, found), re.M)
    bundles = {
        "placement_group_bundles": [found.bundle] * found.workers,
        "placement_group_strategy": "STRICT_PACK",
    }
    options = deployment_options(settings, found)
    places = serve.deployment(Replica, **bundles, **options)._replica_config
    assert places.placement_group_bundle_label_selector == [{"longspan.io/pool": "serving"}] * 2
    anywhere, model = served(LLAMA_70B, window=16384)
    assert not any("label" in key for key in deployment_options(anywhere, found))


class Replica:
    """Of nothing."""


def test_where_haproxy_routes_no_router_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve refuses an application that has both."""
    settings, model = served(LLAMA_8B)
    found = plan_engine(settings, model, H100S)
    assert "request_router_config" in deployment_options(settings, found)
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    assert "request_router_config" not in deployment_options(settings, found)


def test_a_model_that_was_loaded_with_other_positions_is_not_served() -> None:
    _, model = served(LLAMA_8B)
    check_loaded(model, LLAMA_8B, 131072)
    wrong = LLAMA_8B | {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}}
    with pytest.raises(UserError, match=r"rope_theta is 8000000.0 in config.json, 500000.0 in the"):
        check_loaded(model, wrong, 131072)
    with pytest.raises(UserError, match=r"the window is 131,072 tokens, 8,192 in the engine"):
        check_loaded(model, LLAMA_8B, 8192)
