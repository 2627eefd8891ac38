"""Tokens that an endpoint makes of fixed texts: vLLM's `/tokenize` reveals its tokenizer and chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from longspan.chat.token_probe import CONVERSATION, TEXT, TokenProbe
from longspan.chat.tokenizer import DATE
from longspan.generate.endpoint import PROBE_SECONDS, EndpointAccess, open_client


@dataclass(frozen=True)
class EndpointTokens:
    """Token ids that an endpoint makes.

    Attributes:
        probe: of the fixed texts; None for each that it does not tell.
        problem: why it does not; "" if it does.
    """

    probe: TokenProbe
    problem: str = ""


def endpoint_tokens(access: EndpointAccess, chat: bool) -> EndpointTokens:
    """Ask an endpoint for the tokens of the fixed texts.

    Args:
        access: the endpoint. `/tokenize` is beside its `/v1`, as vLLM serves it.
        chat: also ask for the conversation in the chat template.
    """
    bodies: list[dict[str, Any]] = [{"prompt": TEXT, "add_special_tokens": False}]
    if chat:
        turns = [dict(turn) for turn in CONVERSATION]
        bodies.append(
            {"messages": turns, "add_generation_prompt": True, "chat_template_kwargs": DATE}
        )
    found: list[tuple[int, ...] | None] = [None, None]
    for place, body in enumerate(bodies):
        tokens = _tokens(access, body)
        if isinstance(tokens, str):
            return EndpointTokens(TokenProbe(*found), tokens)
        found[place] = tokens
    return EndpointTokens(TokenProbe(*found))


def _tokens(access: EndpointAccess, body: dict[str, Any]) -> tuple[int, ...] | str:
    """Return token ids, or why there are none."""
    import openai

    url = f"{access.endpoint.url.removesuffix('/v1')}/tokenize"
    client = open_client(access, timeout=PROBE_SECONDS, retries=1)
    try:
        answer = client.post(url, cast_to=object, body={"model": access.endpoint.model} | body)
    except openai.APIStatusError as error:
        return f"{url}: status {error.status_code}"
    except openai.APIError as error:
        return f"{url}: {type(error).__name__}"
    tokens = answer.get("tokens") if isinstance(answer, dict) else None
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        return f"{url}: its answer has no list of tokens"
    return tuple(tokens)
