"""How to use a service that has just been started: three ways in, and its first key."""

from __future__ import annotations

import time

from longspan.errors import UserError
from longspan.serve.config import ServeConfig
from longspan.serve.control import open_control
from longspan.serve.gateway.keys import first_key
from longspan.serve.model import inspect_served_model

PATIENCE_SECONDS = 30.0
KEPT = "YOUR-KEY"


def welcome(config: ServeConfig) -> None:
    """Make the first key, print how to use it, and see that it opens the service; it is never shown again."""
    key = first_key(open_control(config.settings))
    print(_text(config.address, inspect_served_model(config.settings).name, key))
    if key:
        _wait_for(config.address, key)


def _wait_for(address: str, key: str) -> None:
    """Running replicas know a new key within seconds."""
    import httpx

    deadline = time.monotonic() + PATIENCE_SECONDS
    headers = {"Authorization": f"Bearer {key}"}
    # A proxy of the environment does not know this machine's loopback.
    with httpx.Client(trust_env=False, timeout=PATIENCE_SECONDS) as client:
        while True:
            try:
                reply = client.get(f"{address}/v1/models", headers=headers)
                said = f"{reply.status_code} {reply.text[:200]}"
                if reply.status_code == 200:
                    return
            except httpx.HTTPError as error:
                said = str(error) or type(error).__name__
            if time.monotonic() > deadline:
                raise UserError(f"{address} does not take the new key yet: {said}")
            time.sleep(0.5)


def _text(address: str, model: str, key: str | None) -> str:
    shown = key or KEPT
    page = f"{address}/#key={key}" if key else f"{address}/   (it has your key, or asks for it)"
    about = (
        "This is the only time that the key is shown; more of them: python -m longspan.serve keys add NAME"
        if key
        else "Keys: python -m longspan.serve keys list, or add NAME for another one"
    )
    message = '{"role": "user", "content": "Hello!"}'
    return f"""
Browser:   {page}

curl:      curl {address}/v1/chat/completions -H 'Authorization: Bearer {shown}' \\
               -H 'Content-Type: application/json' -d '{{"model": "{model}", "messages": [{message}]}}'

openai:    from openai import OpenAI
           client = OpenAI(base_url="{address}/v1", api_key="{shown}")
           reply = client.chat.completions.create(model="{model}", messages=[{message}])
           print(reply.choices[0].message.content)

{about}"""
