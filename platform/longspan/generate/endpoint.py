"""OpenAI-compatible servers.

Ray's own HTTP processor sends the requests of a batch one after another, and one that fails ends the job; here many
are on their way at a time, and each fails by itself.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pydantic import SecretStr

from longspan.addresses import http_refusal, may_send_credentials, redacted
from longspan.errors import UserError
from longspan.generate.requests import FailureKind, FinishReason, Reply, Request, Row, not_sent
from longspan.generate.schema import Endpoint

PROBE_SECONDS = 10.0
BATCHES = 4
"""Requests are handed over in so many times the number that is on its way, so that few wait for the slowest."""


@dataclass(frozen=True)
class EndpointAccess:
    """An endpoint with all that is needed to ask it.

    Attributes:
        endpoint: of the recipe.
        api_key: see `read_api_key`.
        setting: the recipe's key of the endpoint, for messages.
        window: tokens of a prompt and its reply, at most; None: unknown, prompts are not measured.
    """

    endpoint: Endpoint
    api_key: SecretStr
    setting: str
    window: int | None = None


def read_api_key(endpoint: Endpoint, setting: str) -> SecretStr:
    """Return the API key; a placeholder if the endpoint asks for none.

    Raises:
        UserError: the variable that should hold it is not set, or it would be sent in clear.
    """
    if endpoint.key_variable is None:
        return SecretStr("none")
    if not may_send_credentials(endpoint.url):
        raise UserError(f"{setting}.url: {http_refusal(endpoint.url)}")
    key = os.environ.get(endpoint.key_variable, "").strip()
    if not key:
        raise UserError(
            f"{setting}.key_variable: the environment variable {endpoint.key_variable} is "
            "not set where this job runs"
        )
    return SecretStr(key)


def probe(access: EndpointAccess) -> int | None:
    """Ask the server for its models.

    Returns:
        The window in tokens that it states for the model (`max_model_len`, as vLLM does); None if it states none.

    Raises:
        UserError: it can't be reached, refuses the key, or says that it lacks the model.
    """
    import openai

    endpoint, setting = access.endpoint, access.setting
    client = open_client(access, timeout=PROBE_SECONDS, retries=1)
    try:
        models = {model.id: model for model in client.models.list().data}
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise UserError(_denied(access, error.status_code)) from None
    except openai.APIStatusError as error:
        if error.response.is_redirect:
            raise UserError(_redirected(access, error.response)) from None
        return None  # Not every server lists its models.
    except openai.APIError as error:
        raise UserError(
            f"{setting}.url: nothing answers at {endpoint.url} ({type(error).__name__}); "
            "start the server, or correct the address"
        ) from None
    if models and endpoint.model not in models:
        raise UserError(
            f"{setting}.model: {endpoint.url} has no model {endpoint.model!r}; it has "
            f"{', '.join(list(models)[:10])}"
        )
    window = getattr(models.get(endpoint.model), "max_model_len", None)
    return window if isinstance(window, int) and window > 0 else None


def checked_window(
    needed: int, access: EndpointAccess, setting: str, remedy: str = "lower it"
) -> int | None:
    """Probe the server, and return the window that it states; None if it states none.

    Args:
        needed: tokens of the longest prompt with its reply.
        access: the server.
        setting: the recipe's key that `needed` follows from.
        remedy: how to change it.

    Raises:
        UserError: the server's window is smaller; or as `probe`.
    """
    window = probe(access)
    if window is not None and window < needed:
        raise UserError(
            f"{setting}: {needed:,} tokens are more than the window of {window:,} that {access.endpoint.url} states "
            f"for {access.endpoint.model!r} (max_model_len); {remedy}, or serve the model with a longer window"
        )
    return window


class EndpointClient:
    """Sends one request and waits for its reply; threads may share it."""

    def __init__(self, access: EndpointAccess) -> None:
        self._access = access
        self._client = open_client(access, access.endpoint.timeout, access.endpoint.retries)

    def respond(self, request: Request) -> Reply:
        """See `Responder.respond`."""
        began = time.monotonic()
        if failure := not_sent(request, self._access.window):
            return Reply.failed(request, failure.kind, failure.message)
        return replace(self._reply(request), seconds=time.monotonic() - began)

    def _reply(self, request: Request) -> Reply:
        import openai

        try:
            create = self._client.chat.completions if request.content else self._client.completions
            done = create.create(**self._parameters(request))
            choice = done.choices[0]
            text = (choice.message.content if request.content else choice.text) or ""
            reason: FinishReason = "length" if choice.finish_reason == "length" else "stop"
            prompt_tokens = done.usage.prompt_tokens if done.usage else len(request.prompt_ids)
            reply_tokens = done.usage.completion_tokens if done.usage else 0
        except openai.APIStatusError as error:
            return Reply.failed(request, *_failure(self._access, error))
        except openai.APIError as error:
            return Reply.failed(request, "unanswered", _no_answer(type(error).__name__))
        except (IndexError, AttributeError, TypeError, ValueError) as error:
            message = f"the endpoint's answer can't be read ({type(error).__name__})"
            return Reply.failed(request, "refused", message)
        if reason == "length":
            reply_tokens = max(reply_tokens, request.sampling.max_tokens)
        return Reply(request.id, request.carry, text, reason, prompt_tokens, reply_tokens)

    def _parameters(self, request: Request) -> dict[str, Any]:
        """Return the body of a request to the chat API, or to the completion API if there is no user's turn."""
        sampling = request.sampling
        prompt: dict[str, Any] = (
            {"messages": [{"role": "user", "content": request.content}]}
            if request.content
            else {"prompt": request.prompt_ids}
        )
        parameters = prompt | {
            "model": self._access.endpoint.model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
        }
        if sampling.stop:
            parameters["stop"] = list(sampling.stop)
        if sampling.schema:
            schema = {"name": "reply", "strict": True, "schema": json.loads(sampling.schema)}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        return parameters


class EndpointBatches:
    """Sends the requests of a batch, many at a time; a stateful map of Ray Data's."""

    def __init__(self, access: EndpointAccess) -> None:
        self._client = EndpointClient(access)
        self._threads = ThreadPoolExecutor(access.endpoint.requests)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn rows of requests into rows of replies, whose seconds count from here."""
        began = time.monotonic()

        def row(request: Row) -> Row:
            reply = self._client.respond(Request.from_row(request))
            return replace(reply, seconds=time.monotonic() - began).row()

        return pa.Table.from_pylist(list(self._threads.map(row, batch.to_pylist())))


def _failure(access: EndpointAccess, error: Any) -> tuple[FailureKind, str]:
    """Return what an error status means for the request, and in words.

    Args:
        access: the endpoint.
        error: an `openai.APIStatusError`.
    """
    status = error.status_code
    if error.response.is_redirect:
        return "denied", _redirected(access, error.response)
    if status in (401, 403, 404):
        return "denied", _denied(access, status)
    if status in (408, 409, 429) or status >= 500:
        return "unanswered", _no_answer(f"status {status}")
    said = redacted(" ".join(error.message.split())[:200])
    # OpenAI has a code for it, vLLM a message.
    is_over = error.code == "context_length_exceeded" or "maximum context length" in error.message
    kind: FailureKind = "over_length" if is_over else "refused"
    return kind, f"refused by the endpoint (status {status}): {said}"


def _no_answer(why: str) -> str:
    return f"no answer from the endpoint ({why})"


def _denied(access: EndpointAccess, status: int) -> str:
    endpoint, setting = access.endpoint, access.setting
    if status == 404:
        return (
            f"{setting}: {endpoint.url} does not have the API that was asked, or no model {endpoint.model!r} "
            "(status 404)"
        )
    variable = endpoint.key_variable
    hint = (
        f"check the value of {variable}"
        if variable
        else "name the variable with its key: key_variable"
    )
    return f"{setting}: {endpoint.url} refuses access (status {status}); {hint}"


def _redirected(access: EndpointAccess, response: Any) -> str:
    url = access.endpoint.url
    return (
        f"{access.setting}.url: {url} redirects to {response.headers.get('location')!r} (status "
        f"{response.status_code}), which is not followed; give the address where the server answers itself"
    )


def open_client(access: EndpointAccess, timeout: float, retries: int) -> Any:
    """Return an OpenAI client that follows no redirect.

    Args:
        access: the server.
        timeout: seconds to wait for a reply.
        retries: how often a request is repeated that met a busy or absent server.
    """
    import openai

    return openai.OpenAI(
        api_key=access.api_key.get_secret_value(),
        base_url=access.endpoint.url,
        timeout=timeout,
        max_retries=retries,
        # The recipe names one host, and prompts hold documents: nobody else is sent them, or the key.
        http_client=openai.DefaultHttpxClient(follow_redirects=False),
    )
