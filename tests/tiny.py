"""A random two-layer Llama with a small real tokenizer, made in about a second.

Run alone it writes one: ``python tests/tiny.py FOLDER [WINDOW]``.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 512

# Enough text for 253 merges; what it says does not matter.
TEXT = (
    "The lighthouse keeper counted the ships that passed before the storm came in.",
    "She wrote their names in a long book, one line for every vessel and every tide.",
    "When the window was open the wind turned the pages, and the years went by.",
    "A longer memory is worth more than a faster one, the keeper used to say.",
    "Which ship came first? Which of them carried the letter about the harvest?",
    "def read(path): return [line.strip() for line in open(path) if line.strip()]",
    "for position in range(window): total += weights[position] * values[position]",
    "The second chapter repeats what the first has said, in other words and slower.",
    "Numbers: 0 1 2 3 4 5 6 7 8 9 10 12 16 24 32 48 64 96 128 256 512 1024 4096.",
    "Question: what is written on the last page? Answer: the name of the ship.",
    "You are a helpful assistant. The user asks, the assistant answers from the book.",
    "system user assistant message content document context token row batch update",
)

# ChatML, with no default system message.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tiny_tokenizer() -> "PreTrainedTokenizerFast":
    """A byte-level BPE tokenizer of 512 tokens with ChatML's special tokens (ids 0, 1 and 2)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def make_tiny_model(
    path: str | Path,
    window: int = 256,
    rope_base: float = 10000.0,
    seed: int = 0,
    *,
    tied: bool = True,
    heads: int = 2,
    kv_heads: int = 1,
) -> Path:
    """Write a random Llama (fp32, safetensors) with its tokenizer and chat template to `path`.

    Two layers, hidden size 64, heads of 32 (a head size that vLLM's CPU attention takes), 512 tokens; input
    and output embeddings are one tensor unless `tied` is False.
    Untrained and tied it generates one token over and over: tests of generation want it untied.
    The same arguments give the same weights.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    path = Path(path)
    tokenizer = make_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=32,
        max_position_embeddings=window,
        rope_parameters={"rope_type": "default", "rope_theta": rope_base},
        initializer_range=0.06,
        tie_word_embeddings=tied,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


if __name__ == "__main__":
    print(make_tiny_model(sys.argv[1], *(int(value) for value in sys.argv[2:3])))
