"""Small sources of samples: held-out documents of a few words, with the tiny tokenizer or bytes as tokens."""

import random
from functools import cache

from longspan.chat.tokenizer import ChatTokenizer
from longspan.evaluate.documents import Document, documents_hash
from longspan.evaluate.prompt_format import ChatFormat, CompletionFormat
from longspan.evaluate.samples import ProbeSource, PromptFormat
from longspan.hashing import content_id
from tests.tiny import CHAT_TEMPLATE, make_tiny_tokenizer

SUBJECTS = ("The keeper", "A sailor", "Her brother", "The old clerk", "No one", "Every child")
VERBS = ("counted", "remembered", "carried", "painted", "repaired", "followed", "forgot")
OBJECTS = (
    "the ships",
    "seven letters",
    "a broken clock",
    "the harvest",
    "his own name",
    "the tide",
)
PLACES = ("before dawn", "in the harbor", "near the mill", "during the storm", "after the fair")


def prose(seed: int, sentences: int) -> str:
    """A text of so many sentences in paragraphs of five."""
    draw = random.Random(f"prose {seed}")
    parts = [
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)} {draw.choice(PLACES)}."
        for _ in range(sentences)
    ]
    return "\n\n".join(" ".join(parts[n : n + 5]) for n in range(0, sentences, 5))


def document(text: str, corpus: str = "books") -> Document:
    """A document as gathering gives it."""
    return Document(content_id(text), corpus, f"corpora/{corpus}/{content_id(text)[:6]}.txt", text)


@cache
def tiny_chat() -> ChatTokenizer:
    """The tiny byte-level BPE tokenizer (512 tokens) with its chat template; it has no BOS of its own."""
    return ChatTokenizer(make_tiny_tokenizer())


@cache
def completion_format() -> CompletionFormat:
    """Texts to complete, by the tiny tokenizer."""
    return CompletionFormat(make_tiny_tokenizer())


@cache
def chat_format() -> ChatFormat:
    """Turns of a chat, by the tiny tokenizer."""
    return ChatFormat(tiny_chat())


@cache
def byte_format(bos: bool = True) -> CompletionFormat:
    """A tokenizer whose tokens are bytes; it puts a BOS before texts, and an EOS after them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    made = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    if bos:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return CompletionFormat(
        PreTrainedTokenizerFast(
            tokenizer_object=made, bos_token="<s>", eos_token="</s>", chat_template=CHAT_TEMPLATE
        )
    )


@cache
def probe_source(
    format: PromptFormat | None = None,
    *,
    documents: int = 6,
    sentences: int = 400,
    seed: int = 1,
    depths: int = 10,
) -> ProbeSource:
    """A source of a few documents of about `sentences` * 30 tiny tokens each."""
    texts = [document(prose(number, sentences)) for number in range(documents)]
    return ProbeSource(
        tuple(texts), documents_hash(texts), format or completion_format(), seed, depths
    )
