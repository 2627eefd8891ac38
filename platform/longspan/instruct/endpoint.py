"""An OpenAI-compatible server as the generator.

Ray's own HTTP processor sends the requests of a batch one after another, and one that fails ends the
job; here many are on their way at a time, and each fails by itself.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from pydantic import SecretStr

from longspan.addresses import http_refusal, may_send_credentials, redacted
from longspan.errors import UserError
from longspan.instruct.requests import Row, Sampling
from longspan.instruct.schema import Endpoint

PROBE_SECONDS = 10.0
AGAIN = "no answer from the endpoint"
"""Beginning of a problem that may pass: the request is made again when the job is run again."""
DENIED = "the endpoint refuses all requests"
"""Beginning of a problem that all requests have."""
BATCHES = 4
"""Requests are handed over in so many times the number that is on its way, so that few wait for the slowest."""


def read_key(endpoint: Endpoint) -> SecretStr:
    """The API key; a placeholder where the endpoint asks for none.

    Raises:
        UserError: the variable that should hold it is not set, or it would be sent in clear.
    """
    if endpoint.key_variable is None:
        return SecretStr("none")
    if not may_send_credentials(endpoint.url):
        raise UserError(f"generator.endpoint.url: {http_refusal(endpoint.url)}")
    key = os.environ.get(endpoint.key_variable, "").strip()
    if not key:
        raise UserError(
            f"generator.endpoint.key_variable: the environment variable {endpoint.key_variable} is "
            "not set where this job runs"
        )
    return SecretStr(key)


def probe(endpoint: Endpoint, key: SecretStr) -> None:
    """Ask the server for its models.

    Raises:
        UserError: it can't be reached, refuses the key, or says that it lacks the model.
    """
    import openai

    client = _client(endpoint, key, timeout=PROBE_SECONDS, retries=1)
    try:
        models = [model.id for model in client.models.list().data]
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise UserError(_denied(endpoint, error.status_code)) from None
    except openai.APIStatusError as error:
        if error.response.is_redirect:
            raise UserError(_redirected(endpoint, error.response)) from None
        return  # Not every server lists its models.
    except openai.APIError as error:
        raise UserError(
            f"generator.endpoint.url: nothing answers at {endpoint.url} ({type(error).__name__}); "
            "start the server, or correct the address"
        ) from None
    if models and endpoint.model not in models:
        raise UserError(
            f"generator.endpoint.model: {endpoint.url} has no model {endpoint.model!r}; it has "
            f"{', '.join(models[:10])}"
        )


class Caller:
    """Sends requests to the server, many at a time; a stateful map of Ray Data's."""

    def __init__(self, endpoint: Endpoint, key: SecretStr, sampling: Sampling) -> None:
        self._endpoint, self._sampling = endpoint, sampling
        self._client = _client(endpoint, key, endpoint.timeout, endpoint.retries)
        self._pool = ThreadPoolExecutor(endpoint.requests)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows of requests into rows of outcomes; see `Asking`."""
        began = time.monotonic()

        def outcome(row: Row) -> Row:
            return self._outcome(row) | {"seconds": time.monotonic() - began}

        return pa.Table.from_pylist(list(self._pool.map(outcome, batch.to_pylist())))

    def _outcome(self, row: Row) -> Row:
        import openai

        problem, reply, prompt_tokens, reply_tokens = "", "", 0, 0
        try:
            done = self._client.chat.completions.create(**self._request(row))
            choice = done.choices[0]
            reply = choice.message.content or ""
            if done.usage:
                prompt_tokens, reply_tokens = done.usage.prompt_tokens, done.usage.completion_tokens
            if choice.finish_reason == "length":
                reply_tokens = max(reply_tokens, self._sampling.max_tokens)
        except openai.APIStatusError as error:
            redirected = error.response.is_redirect
            problem = (
                f"{DENIED}: {_redirected(self._endpoint, error.response)}"
                if redirected
                else self._problem(error.status_code, error.message)
            )
        except openai.APIError as error:
            problem = f"{AGAIN} ({type(error).__name__})"
        except (IndexError, AttributeError, TypeError, ValueError) as error:
            problem = f"the endpoint's answer can't be read ({type(error).__name__})"
        return {
            "id": row["id"],
            "carry": row["carry"],
            "reply": reply,
            "prompt_tokens": prompt_tokens,
            "reply_tokens": reply_tokens,
            "problem": problem,
        }

    def _request(self, row: Row) -> dict[str, Any]:
        sampling = self._sampling
        request: dict[str, Any] = {
            "model": self._endpoint.model,
            "messages": [{"role": "user", "content": row["content"]}],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": row["seed"],
        }
        if sampling.stop:
            request["stop"] = [sampling.stop]
        if sampling.schema:
            schema = {"name": "reply", "strict": True, "schema": json.loads(sampling.schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    def _problem(self, status: int, message: str) -> str:
        if status in (401, 403, 404):
            return f"{DENIED}: {_denied(self._endpoint, status)}"
        if status in (408, 409, 429) or status >= 500:
            return f"{AGAIN} (status {status})"
        return f"refused by the endpoint (status {status}): {redacted(' '.join(message.split())[:200])}"


def _denied(endpoint: Endpoint, status: int) -> str:
    if status == 404:
        return (
            f"generator.endpoint: {endpoint.url} has no chat API or no model {endpoint.model!r} "
            "(status 404)"
        )
    key = endpoint.key_variable
    hint = f"look at what {key} holds" if key else "name the variable with its key: key_variable"
    return f"generator.endpoint: {endpoint.url} does not let this job in (status {status}); {hint}"


def _redirected(endpoint: Endpoint, response: Any) -> str:
    return (
        f"generator.endpoint.url: {endpoint.url} redirects to {response.headers.get('location')!r} (status "
        f"{response.status_code}), which is not followed; give the address where the server answers itself"
    )


def _client(endpoint: Endpoint, key: SecretStr, timeout: float, retries: int) -> Any:
    import openai

    return openai.OpenAI(
        api_key=key.get_secret_value(),
        base_url=endpoint.url,
        timeout=timeout,
        max_retries=retries,
        # The recipe names one host, and prompts hold documents: nobody else is sent them, or the key.
        http_client=openai.DefaultHttpxClient(follow_redirects=False),
    )
