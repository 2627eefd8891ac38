"""How long a chunk may be: what is left of the generator's window, and of the examples'."""

from __future__ import annotations

from dataclasses import dataclass, field

from longspan.chat.tokenizer import ChatTokenizer
from longspan.errors import UserError
from longspan.instruct.prompt_files import STYLES, Prompts
from longspan.instruct.schema import InstructRecipe

USUAL_CHUNK = 2048
SMALLEST_CHUNK = 32
ENDPOINT_WINDOW = 4096
SEAMS = 16
"""Tokens by which joined texts may have more than the texts by themselves, at most."""


@dataclass(frozen=True)
class Sizes:
    """Lengths in tokens of the generator.

    Attributes:
        chunk: the longest chunk.
        window: what a prompt and its reply take at most; the engine's max_model_len.
        reasons: why, by the recipe's key.
    """

    chunk: int
    window: int
    reasons: dict[str, str] = field(default_factory=dict)


def derive_sizes(
    recipe: InstructRecipe,
    prompts: Prompts,
    generator: ChatTokenizer,
    chat: ChatTokenizer,
    model_window: int | None,
) -> Sizes:
    """Chunk and window of a recipe.

    Args:
        recipe: what is asked for.
        prompts: theirs is the rest of the window.
        generator: the generator's tokenizer.
        chat: the tokenizer of the model to be tuned.
        model_window: of the generator; None where it is not known (an endpoint).

    Raises:
        UserError: there is no room for a chunk, or for one as long as asked for.
    """
    asked, known = recipe.generator.window, model_window or ENDPOINT_WINDOW
    if asked and model_window and asked > model_window:
        raise UserError(
            f"generator.window: {asked:,} is more than the model's own {model_window:,} tokens"
        )
    window = asked or known
    around = _around(recipe, prompts, generator)
    room = window - around
    if room < SMALLEST_CHUNK:
        raise UserError(
            f"generator.window: {window:,} tokens leave no room for a chunk: prompts and replies take "
            f"{around:,} (generator.max_tokens {recipe.generator.max_tokens:,}); give at least "
            f"{around + SMALLEST_CHUNK:,}, or a smaller max_tokens"
        )
    in_example = recipe.target_context - _example(recipe, prompts, chat)
    if in_example < SMALLEST_CHUNK:
        raise UserError(
            f"target_context: {recipe.target_context:,} tokens leave no room for a document beside "
            f"question and answer; give at least {recipe.target_context - in_example + SMALLEST_CHUNK:,}"
        )
    chunk = recipe.chunk_tokens
    reason = "set in the recipe"
    if chunk is None:
        chunk = min(room, in_example, USUAL_CHUNK)
        reason = (
            f"at most {USUAL_CHUNK:,}, the {room:,} that prompts and replies leave of the generator's "
            f"window, and the {in_example:,} that an example has for its document"
        )
    elif chunk > min(room, in_example):
        key, left = (
            ("generator.window", room) if room < in_example else ("target_context", in_example)
        )
        raise UserError(
            f"chunk_tokens: {chunk:,} is more than the {left:,} that {key} leaves room for"
        )
    said = (
        "set in the recipe" if asked else "the model's own" if model_window else "for an endpoint"
    )
    reasons = {
        "chunk_tokens": reason,
        "generator.window": f"chunk, prompts and replies; of {window:,}, {said}",
    }
    return Sizes(chunk, min(window, chunk + around), reasons)


def _around(recipe: InstructRecipe, prompts: Prompts, tokenizer: ChatTokenizer) -> int:
    """Most tokens of a prompt besides its chunk, and of the reply to it."""
    longest = recipe.generator.max_tokens
    questions = [len(tokenizer.prompt_ids(prompts.ask(style, ""))) for style in STYLES]
    judgement = len(tokenizer.prompt_ids(prompts.judge("", "", "")))
    # A judgement's prompt holds what was a reply.
    return SEAMS + longest + max(*questions, judgement + recipe.critique.max_tokens)


def _example(recipe: InstructRecipe, prompts: Prompts, tokenizer: ChatTokenizer) -> int:
    """Most tokens of an example besides its document."""
    turns = [
        [
            {"role": "user", "content": prompts.example(style, "", "")},
            {"role": "assistant", "content": "."},
        ]
        for style in STYLES
    ]
    return SEAMS + recipe.generator.max_tokens + max(tokenizer.count(each) for each in turns)
