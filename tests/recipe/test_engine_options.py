"""Arguments of the engine that can be set: none loads code, another format or another file."""

import ast
import importlib.util
from pathlib import Path
from typing import Any, get_args

import pytest

from longspan.config.engine_options import EngineOptions, checked_options
from longspan.config.load import parse
from longspan.errors import UserError
from longspan.generate.engine import Engine
from longspan.generate.engine_identity import CHANGE_REPLIES, KEEP_REPLIES, reply_arguments
from longspan.instruct.schema import InstructRecipe
from longspan.serve.schema import ServeSettings

LOADS = {
    "trust_remote_code": True,
    "worker_cls": "evil.Worker",
    "worker_extension_cls": "evil.Extension",
    "scheduler_cls": "evil.Scheduler",
    "logits_processors": ["evil:Processor"],
    "model_class_overrides": {"LlamaForCausalLM": "evil:Model"},
    "hf_overrides": {"architectures": ["EvilForCausalLM"]},
    "hf_config_path": "/tmp/evil",
    "model_weights": "s3://elsewhere/model",
    "tokenizer_revision": "main",
    "code_revision": "main",
    "config_format": "evil",
    "download_dir": "/home/someone",
    "load_format": "pt",
    "model_loader_extra_config": {"tensorizer_uri": "http://elsewhere"},
    "ignore_patterns": "*.safetensors",
    "pt_load_map_location": "cuda",
    "speculative_config": {"method": "draft_model", "model": "elsewhere/model"},
    "spec_model": "elsewhere/model",
    "kv_transfer_config": {"kv_connector_module_path": "evil"},
    "ec_transfer_config": {"ec_connector_module_path": "evil"},
    "kv_events_config": {"endpoint": "tcp://*:5557"},
    "weight_transfer_config": {"backend": "nccl"},
    "compilation_config": {"compiler_config": {}, "backend": "evil.backend"},
    "kernel_config": {},
    "additional_config": {"any": 1},
    "structured_outputs_config": {"reasoning_parser_plugin": "/tmp/evil.py"},
    "reasoning_parser_plugin": "/tmp/evil.py",
    "tool_parser_plugin": "/tmp/evil.py",
    "io_processor_plugin": "evil",
    "middleware": ["evil.middleware"],
    "tool_server": "elsewhere:8000",
    "lora_modules": [{"name": "a", "path": "/tmp/a"}],
    "enable_lora": True,
    "default_mm_loras": {"audio": "/tmp/a"},
    "chat_template": "/etc/passwd",
    "generation_config": "/tmp/evil",
    "log_config_file": "/tmp/evil.json",
    "otlp_traces_endpoint": "http://elsewhere",
    "enable_prompt_embeds": True,
    "enable_mm_embeds": True,
    "allowed_local_media_path": "/",
    "allowed_media_domains": ["elsewhere"],
    "trust_request_chat_template": True,
    "enable_tokenizer_info_endpoint": True,
    "distributed_executor_backend": "evil.Executor",
    "attention_backend": "evil.backend.Attention",
    "quantization": "evil/quantization",
    "safetensors_load_strategy": "torchao",
    "master_addr": "10.0.0.1",
    "data_parallel_address": "10.0.0.1",
    "api_key": ["k"],
    "ssl_keyfile": "/tmp/key",
    "host": "0.0.0.0",
    "hf_token": "hf_secret",
}
HARMLESS = {
    "dtype": "float32",
    "max_num_seqs": 8,
    "tensor_parallel_size": 2,
    "kv_cache_dtype": "fp8",
    "tool_call_parser": "llama3_json",
    "speculative_config": {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 3},
    "default_chat_template_kwargs": {"enable_thinking": False},
    "load_format": "safetensors",
    "cudagraph_capture_sizes": [1, 2, 4],
}


@pytest.mark.parametrize("key", LOADS)
def test_what_loads_code_or_files_is_refused_in_both_jobs(key: str) -> None:
    engine = {key: LOADS[key]}
    with pytest.raises(UserError, match=f"^engine: .*{key}"):
        parse(ServeSettings, {"model": "m", "engine": engine})
    recipe = {
        "name": "x",
        "target_context": 1024,
        "corpora": [{"name": "a", "path": "a"}],
        "generator": {"model": "m", "engine": engine},
    }
    with pytest.raises(UserError, match=rf"^generator\.engine: .*{key}"):
        parse(InstructRecipe, recipe)


def test_other_arguments_stand_as_they_are_written() -> None:
    assert checked_options(HARMLESS, {}) == HARMLESS


def test_a_value_that_is_not_allowed_is_named_with_what_is() -> None:
    with pytest.raises(
        ValueError, match=r"max_num_seqs must be greater than or equal to 1, but is 0"
    ):
        checked_options({"max_num_seqs": 0}, {})
    with pytest.raises(
        ValueError, match=r"load_format must be .*'auto': only safetensors are read"
    ):
        checked_options({"load_format": "auto"}, {})


def test_the_weights_are_safetensors_where_nothing_is_asked_for() -> None:
    """vLLM's own "auto" takes .bin and .pt, which are pickles, where a folder has no safetensors."""
    arguments = Engine("m", 1024, gpu=False).engine_kwargs()
    assert (arguments["load_format"], arguments["trust_remote_code"]) == ("safetensors", False)


@pytest.mark.parametrize(
    "value", ["evil.module", "evil:Class", "/tmp/x", "../x", "http://x", "s3://x/y", "x/y", "x\ny"]
)
def test_no_argument_takes_the_name_of_a_module_a_file_or_an_address(value: str) -> None:
    for key in EngineOptions.model_fields:
        with pytest.raises(ValueError, match=key):
            checked_options({key: value}, {})


def vllm_arguments() -> dict[str, set[str]]:
    """Names of vLLM's arguments by the class that has them, from its source: importing it takes long."""
    found = importlib.util.find_spec("vllm")
    if found is None:
        pytest.skip("vLLM is not installed")
    folder = Path(next(iter(found.submodule_search_locations or ())))
    files = ("engine/arg_utils.py", "entrypoints/launchers/cli_args.py")
    classes = [
        node
        for file in files
        for node in ast.walk(ast.parse((folder / file).read_text()))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Args")
    ]
    return {
        node.name: {
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        }
        for node in classes
    }


def test_every_argument_of_vllm_is_on_the_list_or_refused() -> None:
    """Also those of a later release: what is not listed here can't be set."""
    known = vllm_arguments()
    assert len(known["EngineArgs"]) > 150
    names = set().union(*known.values())
    assert EngineOptions.model_fields.keys() <= names, "vLLM has no such argument any more"
    for name in sorted(names - EngineOptions.model_fields.keys()):
        with pytest.raises(ValueError, match=name):
            checked_options({name: "x"}, {})
    # What is refused above is vLLM's own name of it, not one that was mistyped here.
    assert LOADS.keys() - names == set()


def test_the_list_holds_plain_values_only() -> None:
    """A value that is a list or a mapping of anything could hold what an argument must not."""
    for name, field in EngineOptions.model_fields.items():
        assert Any not in get_args(field.annotation), name
        assert field.annotation is not Any, name


def test_each_argument_changes_replies_or_keeps_them() -> None:
    assert CHANGE_REPLIES.isdisjoint(KEEP_REPLIES)
    assert EngineOptions.model_fields.keys() == CHANGE_REPLIES | KEEP_REPLIES
    arguments = {"dtype": "half", "tensor_parallel_size": 2, "gpu_memory_utilization": 0.8}
    assert reply_arguments(arguments) == {"dtype": "half"}
