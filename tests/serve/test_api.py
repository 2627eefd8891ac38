"""Real clients against the real service."""

from typing import Any

import httpx
import openai
import pytest

from tests.serve.service import Service

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

HELLO: list[Any] = [{"role": "user", "content": "Which ship came first?"}]


@pytest.fixture(scope="module")
def client(service: Service) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)


def test_it_answers_at_once_and_as_a_stream(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=24, temperature=0
    )
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=24, temperature=0, stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert len(pieces) > 10
    assert "".join(pieces) == whole.choices[0].message.content
    assert whole.usage and whole.usage.completion_tokens == 24


def test_health(service: Service) -> None:
    assert httpx.get(f"{service.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{service.url}/ready").json() == {"status": "ok"}
