"""Private interfaces of Ray Serve LLM and vLLM; tests of the chat service run them."""

import ast

import pytest

from tests.compat.library_source import ClassSource, text, tree

SERVER = ("ray.llm._internal.serve.core.server.llm_server", "LLMServer")
ENGINE = ("ray.llm._internal.serve.engines.vllm.vllm_engine", "VLLMEngine")
ASYNC_LLM = ("vllm.v1.engine.async_llm", "AsyncLLM")
OUTPUT_PROCESSOR = ("vllm.v1.engine.output_processor", "OutputProcessor")
REQUEST = ("vllm.v1.engine.output_processor", "RequestState")
MODELS = ("vllm.entrypoints.openai.models.serving", "OpenAIServingModels")
MODEL_PATH = ("vllm.entrypoints.openai.models.protocol", "BaseModelPath")
VLLM_CONFIG = ("vllm.config.vllm", "VllmConfig")
MODEL_CONFIG = ("vllm.config.model", "ModelConfig")
OWN = [*tree("longspan._compat.llm_server").body, *tree("longspan._compat.vllm_engine").body]


@pytest.mark.parametrize(
    "method", ["__serve_build_asgi_app__", "_maybe_resolve_lora_from_multiplex"]
)
def test_the_server_has_the_methods_that_are_overridden(method: str) -> None:
    server = ClassSource(*SERVER)
    assert server.methods()[method] == ["self"]
    assert server.is_async(method)


@pytest.mark.parametrize("name", ["application", "async_llm"])
def test_the_server_has_none_of_the_names_that_are_added(name: str) -> None:
    server = ClassSource(*SERVER)
    assert name not in server.attributes() | server.methods().keys()


def test_serve_builds_the_application_by_the_method_s_name() -> None:
    source = text("ray.serve._private.replica")
    assert 'SERVE_BUILD_ASGI_APP_METHOD = "__serve_build_asgi_app__"' in source
    assert "getattr(self._callable, SERVE_BUILD_ASGI_APP_METHOD" in source


@pytest.mark.parametrize(
    ("name", "of", "attribute"),
    [
        ("ASGIServer", SERVER, "engine"),
        ("ASGIServer", ENGINE, "_engine_client"),
        ("model_config", ASYNC_LLM, "vllm_config"),
        ("model_config", VLLM_CONFIG, "model_config"),
        ("loaded_model", MODEL_CONFIG, "hf_config"),
        ("loaded_model", MODEL_CONFIG, "max_model_len"),
        ("unfinished_requests", ASYNC_LLM, "output_processor"),
        ("unfinished_requests", OUTPUT_PROCESSOR, "request_states"),
        ("unfinished_requests", REQUEST, "prompt_len"),
        ("unfinished_requests", REQUEST, "max_tokens_param"),
        ("set_model_root", MODELS, "base_model_paths"),
        ("set_model_root", MODEL_PATH, "model_path"),
    ],
)
def test_objects_have_the_attributes_that_are_used(
    name: str, of: tuple[str, str], attribute: str
) -> None:
    assert attribute in ClassSource(*of).attributes()
    # The table above states what the function really uses.
    (used,) = (node for node in OWN if getattr(node, "name", None) == name)
    assert attribute in {node.attr for node in ast.walk(used) if isinstance(node, ast.Attribute)}


def test_the_engine_generates_outside_a_request() -> None:
    parameters = ClassSource(*ASYNC_LLM).methods()["generate"]
    assert parameters[:4] == ["self", "prompt", "sampling_params", "request_id"]
