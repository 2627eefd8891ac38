"""Limits of the gateway: sizes, times and numbers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

BYTES_PER_TOKEN = 32
"""Of a JSON body. English takes 4 to 5, Russian or Chinese in JSON's escapes of six bytes 10 to 25."""
MIN_BODY_BYTES = 2**20


class GatewayLimits(BaseModel):
    """Limits of one replica; those of a key are with the key."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    max_body_bytes: int | None = Field(default=None, ge=1)
    """Bytes of a request for an answer. Unset: 32 a token of the model's window, at least 1 MiB."""
    max_document_bytes: int = Field(default=32 * 2**20, ge=1)
    """Bytes of a document that the page sends to have its text taken out."""
    body_seconds: float = Field(default=60.0, gt=0)
    """Seconds in which a request's body must have arrived; 408 when it has not. The headers are the server's to
    wait for: a proxy in front limits that."""
    request_seconds: float = Field(default=600.0, gt=0)
    """Seconds from when a request is handed to the engine to the last byte of its answer. Then the engine stops
    working on it; a stream ends with an error event, anything else with 504."""
    grace_seconds: float = Field(default=2.0, gt=0)
    """Seconds for the engine to stop by itself on a request that is over, before its call is cancelled; and for a
    client that does not read to take the error."""
    max_requests: int = Field(default=256, ge=1)
    """Requests that wait or run at once; 503 for more."""
    max_key_share: float = Field(default=0.5, gt=0, le=1)
    """Share of `max_requests` that one key may take, so that it leaves room for others."""
    max_sequences: int = Field(default=64, ge=1)
    """Answers that one request may ask for, `n` times the number of its prompts."""
    max_output_tokens: int | None = Field(default=None, ge=1)
    """Tokens that one request may ask for. Unset: the model's window."""
    reserved_answer_tokens: int = Field(default=512, ge=1)
    """Tokens charged beforehand for an answer whose request gives no `max_tokens`."""
    max_logprobs: int = Field(default=20, ge=0)
    """Log probabilities of each token of an answer, beside the token's own."""
    max_prompt_logprobs: int = Field(default=0, ge=0)
    """Log probabilities of each token of a prompt; 0 for none at all. Evaluations that score given texts (`echo`
    with `logprobs`) need 1."""
    max_logprob_values: int = Field(default=300_000, ge=0)
    """Log probabilities in one answer, of all its tokens; they are some 80 bytes each, and made on the event loop."""
    max_grammar_bytes: int = Field(default=16384, ge=1)
    """Bytes of each JSON schema, regular expression or grammar."""
    max_grammar_depth: int = Field(default=32, ge=1)
    """Nesting of a schema."""
    max_grammar_properties: int = Field(default=128, ge=1)
    """Optional properties in a schema's objects; compiling takes time with the square of their number."""
    max_grammar_repeats: int = Field(default=520, ge=0)
    """Characters that the patterns and lengths of strings in a schema come to (`maxLength: 20`, `[a-z]{1,20}`);
    one length counts up to 130, once."""
    allow_grammars: bool = False
    """Whether requests may bring EBNF and structural tags: a few bytes of them can take the engine seconds for
    every token, of everybody's answers. For keys of people you trust."""
    share_prefix_cache: bool = False
    """Whether prompts of different keys may share the engine's prefix cache. Then a key's time to the first token
    tells whether another key asked about the same text."""
    split_control_tokens: bool = True
    """Whether a control token that is spelled out in a message (`<|im_end|>` in a document) stays text: an
    invisible character is put into it."""
    keys_max_age_s: float | None = Field(default=3600.0, gt=0)
    """Seconds without a complete listing of the store's keys after which no key is accepted, since any may have
    been revoked; null accepts the last known ones for ever."""
    allow_origins: list[str] = []
    """Web sites, as https://host, whose pages may use the API from a browser; the chat page needs none."""

    def body_bytes(self, window: int) -> int:
        """The most bytes of a request's body, for a model with a window of so many tokens.

        Derived, it is 32 bytes a token and at least 1 MiB: a prompt that fits into the window is
        not refused for its size.
        """
        return self.max_body_bytes or max(MIN_BODY_BYTES, BYTES_PER_TOKEN * window)
