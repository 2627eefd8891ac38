"""A server by the command that a run prints, and what transformers says of the same model."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from longspan.model.positions import Positions, using_positions
from tests.jobs.project import ROOT

START_SECONDS = 240
GENERATED = 16
TOLERANCE = 1e-4
"""Of log-probabilities in fp32, in nats: two implementations sum in different orders."""


@contextmanager
def server(command: str, log: Path) -> Iterator[str]:
    """Run the command as typed in a shell, on a free port, until the test is done."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Compiling takes longer than what is asked here.
    options = f"--port {port} --dtype float32 --enforce-eager"
    typed = ["bash", "-c", f"{command.replace('python', 'exec python')} {options}"]
    with log.open("wb") as file:
        process = subprocess.Popen(typed, cwd=ROOT, stdout=file, stderr=file)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def ask(address: str, path: str, body: dict | None = None) -> dict:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def model_served(address: str, log: Path) -> str:
    """The model's name, once the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return ask(address, "/v1/models")["data"][0]["id"]
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(1)


def log_probabilities(model: Any, tokens: list[int]) -> list[float]:
    """Of every token but the first, given those before it."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, :-1].float()
    return logits.log_softmax(-1)[range(len(tokens) - 1), tokens[1:]].tolist()


def speaks_as_transformers_says(address: str, name: str, folder: str, base: Positions) -> None:
    """The served model is the one in the folder: its log-probabilities, and what it generates.

    Beyond the window of the base model, whose positions would give others.
    """
    text = (ROOT / "README.md").read_text()[:1200]
    prompt = AutoTokenizer.from_pretrained(folder)(text)["input_ids"][:400]
    assert len(prompt) == 400 > base.original_window
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    expected = log_probabilities(model, prompt)
    generated = model.generate(
        torch.tensor([prompt]), max_new_tokens=GENERATED, min_new_tokens=GENERATED, do_sample=False
    )[0, len(prompt) :].tolist()
    with using_positions(model, base):
        assert log_probabilities(model, prompt) != pytest.approx(expected, abs=10 * TOLERANCE)

    body = {"model": name, "prompt": prompt, "temperature": 0, "max_tokens": GENERATED}
    body |= {"ignore_eos": True, "return_token_ids": True, "prompt_logprobs": 0}
    (choice,) = ask(address, "/v1/completions", body)["choices"]
    served = [
        entry[str(token)]["logprob"]
        for token, entry in zip(prompt[1:], choice["prompt_logprobs"][1:], strict=True)
    ]
    assert served == pytest.approx(expected, abs=TOLERANCE)
    assert choice["token_ids"] == generated
