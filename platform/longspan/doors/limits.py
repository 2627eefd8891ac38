"""What the doors let through: sizes, times and numbers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

BYTES_PER_TOKEN = 32
"""Of a JSON body. English takes 4 to 5, Russian or Chinese in JSON's escapes of six bytes 10 to 25."""
MIN_BODY_BYTES = 2**20


class DoorLimits(BaseModel):
    """Limits of one replica; those of a key are with the key.

    Attributes:
        max_body_bytes: of a request for an answer. None derives it from the model's window, see
            `body_bytes`.
        max_document_bytes: of a document that the page sends to have its text taken out.
        body_seconds: in which a request's body must have arrived; 408 when it hasn't. The headers
            are the server's to wait for: a proxy in front limits that.
        request_seconds: from when a request is handed to the engine to the last byte of its answer.
            Then the engine stops working on it; a stream ends with an error event, anything else
            with 504.
        grace_seconds: for the engine to stop by itself on a request that is over, before its call is
            cancelled; and for a client that doesn't read to take the error.
        max_requests: requests that wait or run at once; 503 for more.
        max_sequences: answers that one request may ask for, `n` times the number of its prompts.
        max_output_tokens: that one request may ask for; None is the model's window.
        allow_origins: web sites, as https://host, whose pages may use the API from a browser; the
            chat page needs none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_body_bytes: int | None = Field(default=None, ge=1)
    max_document_bytes: int = Field(default=32 * 2**20, ge=1)
    body_seconds: float = Field(default=60.0, gt=0)
    request_seconds: float = Field(default=600.0, gt=0)
    grace_seconds: float = Field(default=2.0, gt=0)
    max_requests: int = Field(default=256, ge=1)
    max_sequences: int = Field(default=64, ge=1)
    max_output_tokens: int | None = Field(default=None, ge=1)
    allow_origins: list[str] = []

    def body_bytes(self, window: int) -> int:
        """The most bytes of a request's body, for a model with a window of so many tokens.

        Derived, it is 32 bytes a token and at least 1 MiB: a prompt that fits into the window is
        not refused for its size.
        """
        return self.max_body_bytes or max(MIN_BODY_BYTES, BYTES_PER_TOKEN * window)
