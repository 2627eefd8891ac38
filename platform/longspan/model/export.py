"""Writing a trained model as a Hugging Face folder that any other tool loads, and checking it.

Safetensors, config, tokenizer, chat template and generation config. The folder gets its name only
when it is whole and verified.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longspan.errors import UserError
from longspan.model.config_json import parse_config
from longspan.model.load import load_config, write_positions
from longspan.model.positions import Positions, own_positions, rope_parameters, verify
from longspan.model.tied import differing
from longspan.model.tokenizer_files import copy_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel

SHARD_SIZE = "5GB"


@dataclass(frozen=True)
class ExportSpec:
    """How a model is written.

    Attributes:
        config: of the trained model.
        positions: what the model was trained with.
        window: tokens, the new ``max_position_embeddings``.
        dtype: of the written tensors.
        generation_config: the base model's (its sampling, its tokens that end a turn); without it one is made
            from ``config``, and the model's own is taken where a model is exported.
    """

    config: PretrainedConfig
    positions: Positions
    window: int
    dtype: torch.dtype
    generation_config: GenerationConfig | None = None


def export_model(
    weights: Mapping[str, torch.Tensor] | nn.Module,
    tokenizer_dir: str | Path,
    spec: ExportSpec,
    path: str | Path,
) -> Path:
    """Write the model to the folder ``path``, replacing what is there, and verify it.

    Args:
        weights: the causal language model, a :class:`~longspan.model.loss.CausalLMLoss` around it,
            or its full state dict on one process (tied weights may be there once or twice).
        tokenizer_dir: local folder with the tokenizer, which goes along with its chat template; its
            ``model_max_length`` becomes the window.
        spec: how it is written.
        path: the folder, under this name only when it is whole.

    Raises:
        AssertionError: the weights are not the config's, or the folder came out otherwise.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        write_model(weights, spec, partial)
        copy_tokenizer(tokenizer_dir, partial, spec.window)
        partial.chmod(0o755)
        _take_name(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def write_model(
    weights: Mapping[str, torch.Tensor] | nn.Module, spec: ExportSpec, folder: Path
) -> None:
    """Write config, generation config and weights to a folder, and verify them; no tokenizer.

    Raises:
        AssertionError: the weights are not the config's, or the folder came out otherwise.
    """
    config = _exported_config(spec)
    model = meta_model(config, spec.dtype)
    state = _complete(_state_dict_of(weights), model, spec.dtype)
    model.save_pretrained(folder, state_dict=state, max_shard_size=SHARD_SIZE)
    _write_generation_config(spec.generation_config or _generation_config_of(weights), folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    _state_base_for_older_readers(folder / "config.json")
    verify_export(folder, spec.positions, spec.window)


def rehearse_export(model: PreTrainedModel, tokenizer_dir: str | Path, spec: ExportSpec) -> None:
    """Do everything of an export but write weights, so that what would make it fail is found before training.

    Args and errors are those of `write_model_files`.
    """
    with tempfile.TemporaryDirectory(prefix="longspan-export-") as temporary:
        write_model_files(model, tokenizer_dir, spec, Path(temporary))


def write_model_files(
    model: PreTrainedModel, tokenizer_dir: str | Path, spec: ExportSpec, folder: Path
) -> None:
    """Write all files of an export but its weights: config, generation config and tokenizer.

    Args:
        model: as it is trained; only names, shapes and ties of its parameters are looked at.
        tokenizer_dir: local folder with the tokenizer.
        spec: how it will be written.
        folder: an empty local folder.

    Raises:
        UserError: the model or its tokenizer cannot be exported.
    """
    try:
        config = _exported_config(spec)
        planned = meta_model(config, spec.dtype)
        _require_same_parameters(model, planned)
        planned.config.save_pretrained(folder)
        _state_base_for_older_readers(folder / "config.json")
        _verify_config(folder, spec.positions, spec.window)
        _write_generation_config(spec.generation_config or _generation_config_of(model), folder)
        copy_tokenizer(tokenizer_dir, folder, spec.window)
    except (AssertionError, ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(
            f"base_model: a {type(model).__name__} like this one could not be exported after training: "
            f"{error}"
        ) from error


def verify_export(path: str | Path, positions: Positions, window: int) -> None:
    """Assert that the folder states ``positions`` and ``window`` and holds whole safetensors only.

    Read back from config.json, and from the rotary module that transformers builds from it.

    Raises:
        AssertionError: it does not; with the facts.
    """
    from longspan.model.source import PICKLES, require_whole

    path = Path(path)
    _verify_config(path, positions, window)
    others = [file.name for file in path.iterdir() if file.suffix in PICKLES]
    assert not others, f"{path} holds {others} beside safetensors"
    try:
        require_whole(path, str(path))
    except UserError as error:
        raise AssertionError(f"the export is not whole: {error}") from error


def _verify_config(path: Path, positions: Positions, window: int) -> None:
    config = parse_config((path / "config.json").read_bytes(), f"{path}/config.json")
    stated = config["rope_parameters"]
    if positions.encoding == "none" and not positions.own:
        positions = own_positions(stated, positions.original_window)
    wanted = rope_parameters(positions)
    differing = {key: stated.get(key) for key in wanted if stated.get(key) != wanted[key]}
    assert not differing, f"{path}/config.json: rope_parameters have {differing}, not {wanted}"
    assert config["rope_theta"] == wanted["rope_theta"], f"rope_theta is {config['rope_theta']}"
    found = config["max_position_embeddings"]
    assert found == window, f"{path}/config.json: max_position_embeddings is {found}, not {window}"
    verify(_rotary_of(path), positions)


def _exported_config(spec: ExportSpec) -> PretrainedConfig:
    """A copy that states the positions; generation uses its cache again."""
    config = copy.deepcopy(spec.config)
    write_positions(config, spec.positions, spec.window)
    config.use_cache = True
    # Names files of code, which are neither run here nor part of the export.
    if hasattr(config, "auto_map"):
        del config.auto_map
    return config


def _require_same_parameters(model: PreTrainedModel, planned: PreTrainedModel) -> None:
    """Compare a model with the one that its export is loaded into: names, shapes, and which are tied.

    Raises:
        UserError: weights that the config ties are apart, or the other way round.
        AssertionError: they differ otherwise.
    """
    from longspan._compat.deepspeed import full_shape

    found, expected = _parameters(model), _parameters(planned)
    assert found.keys() == expected.keys(), (
        f"parameters of one only: {sorted(found.keys() ^ expected.keys())[:3]}"
    )
    for name, parameter in expected.items():
        shape = full_shape(found[name])
        assert shape == tuple(parameter.shape), f"{name} is {shape}, not {tuple(parameter.shape)}"
    apart = _ties(expected) - _ties(found)
    if apart:
        first, second = sorted(apart)[0]
        raise differing(first, second)
    joined = _ties(found) - _ties(expected)
    assert not joined, f"tied in memory, but not by the config: {sorted(joined)[0]}"


def _parameters(model: PreTrainedModel) -> dict[str, Any]:
    return dict(model.named_parameters(remove_duplicate=False))


def _ties(parameters: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Pairs of names of one parameter: the first name, and each other one."""
    firsts: dict[int, str] = {}
    pairs = ((firsts.setdefault(id(tensor), name), name) for name, tensor in parameters.items())
    return {(first, name) for first, name in pairs if first != name}


def _write_generation_config(config: GenerationConfig | None, folder: Path) -> None:
    if config is not None:
        # As it came: saving it through transformers would refuse settings that loading it accepts.
        text = config.to_json_string(keys_to_pop=["_from_model_config"])
        (folder / "generation_config.json").write_text(text, encoding="utf-8")


def _generation_config_of(weights: object) -> GenerationConfig | None:
    return getattr(_inner(weights), "generation_config", None)


def _state_dict_of(weights: Mapping[str, torch.Tensor] | nn.Module) -> Mapping[str, torch.Tensor]:
    return weights if isinstance(weights, Mapping) else _inner(weights).state_dict()


def _inner(weights: object) -> Any:
    from longspan.model.loss import CausalLMLoss

    return weights.model if isinstance(weights, CausalLMLoss) else weights


def meta_model(config: PretrainedConfig, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Return the model of a config on torch's meta device: names and shapes of its tensors, no values."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def _complete(
    state: Mapping[str, torch.Tensor], model: PreTrainedModel, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Exactly the model's tensors on the CPU, each once and in ``dtype``, or an AssertionError."""
    names: dict[int, list[str]] = {}
    shapes: dict[str, torch.Size] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        names.setdefault(id(tensor), []).append(name)
        shapes[name] = tensor.shape
    unknown = sorted(set(state) - set(shapes))
    assert not unknown, f"{len(unknown)} tensors are not of this model, the first is {unknown[0]}"
    complete: dict[str, torch.Tensor] = {}
    for aliases in names.values():
        given = [name for name in aliases if name in state]
        assert given, f"the weights lack {aliases[0]}"
        tensor = state[given[0]].detach().cpu()
        for name in given:
            assert tensor.shape == shapes[name], f"{name} is {tensor.shape}, not {shapes[name]}"
            same = tensor.equal(state[name].detach().cpu())
            assert same, f"{given[0]} and {name} are tied but differ"
        tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
        complete[aliases[0]] = tensor.contiguous()
    return complete


def _state_base_for_older_readers(path: Path) -> None:
    """Add transformers 4's two keys to config.json.

    transformers 5 writes ``rope_parameters`` alone; readers of the older form would not find the
    base and take 10,000 without a word. transformers 5 reads the same from both forms.
    """
    config = json.loads(path.read_text(encoding="utf-8"))
    scaling = dict(config["rope_parameters"])
    config["rope_theta"] = scaling.pop("rope_theta")
    if scaling["rope_type"] != "default":
        config["rope_scaling"] = scaling
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _rotary_of(path: Path) -> nn.Module:
    """The rotary modules, with real frequencies, of the model that the folder describes."""
    from torch import nn

    model = meta_model(load_config(path))
    found = [m for m in model.modules() if getattr(m, "inv_freq", None) is not None]
    return nn.ModuleList(type(module)(module.config) for module in found)


def _take_name(partial: Path, path: Path) -> None:
    if path.exists():
        previous = partial.with_name(partial.name + "-previous")
        os.replace(path, previous)
        os.replace(partial, path)
        shutil.rmtree(previous)
    else:
        os.replace(partial, path)
