"""What changes while clients go on asking: replicas that die, versions that come and go."""

import json
import shutil
from collections import Counter

import httpx
import pytest
import yaml
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from longspan.serve.config import BUILDER
from longspan.serve.gateway import keys
from longspan.serve.versions import FOLDER, Versions
from tests.serve.load import busy, load
from tests.serve.service import (
    PATIENCE,
    QUESTION,
    Service,
    metric,
    metrics,
    replicas,
    until,
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PREFIX = 200
"""Characters."""
HITS = "ray_vllm_prefix_cache_hits_total"
BLOCK = 128
"""Tokens that the cache holds together."""


@pytest.mark.deep
def test_a_model_loaded_otherwise_than_exported_is_refused_and_the_old_one_serves_on(
    deployed: Service, ray_session: str
) -> None:
    before = deployed.answer()
    model = deployed.folder / "misread"
    shutil.copytree(deployed.models[0], model)
    config = json.loads((model / "config.json").read_text())
    # What stands in two places is read from either.
    config |= {"rope_parameters": {"rope_type": "default", "rope_theta": 0}, "rope_theta": 500000.0}
    (model / "config.json").write_text(json.dumps(config))
    # What is in the store as the newest good version is not what a failed deploy goes back to: Serve knows.
    served = Versions(deployed.store, print).all()[-1]
    planted = {"model": str(model), "storage": {"root": "s3://elsewhere"}}
    record = {
        "number": 90,
        "config": {"applications": [{"import_path": BUILDER, "args": planted}]},
        "state": "served",
        "at": served.at.isoformat(),
    }
    path = f"{FOLDER}/0090.yaml"
    deployed.store.write_bytes(path, yaml.safe_dump(record).encode())
    try:
        status, output = deployed.command("deploy", f"model={model}")
    finally:
        deployed.store.delete(path)
    assert status == 2, output
    assert "rope_theta is 500000.0 in config.json, 10000.0 in the engine" in output
    assert deployed.answer() == before
    assert Versions(deployed.store, print).all()[-1].state == "failed"
    details = ServeSubmissionClient(ray_session).get_serve_details()
    running = details["applications"]["chat"]["deployed_app_config"]
    assert running["args"]["model"] == deployed.store.uri("models/1")
    assert running["runtime_env"] == {"env_vars": deployed.cache}


@pytest.mark.deep
def test_a_replica_killed_mid_stream_is_an_error_and_the_next_request_works(
    deployed: Service,
) -> None:
    """After a version that failed: that one must not be what comes back."""
    before = deployed.answer()
    body = {"model": "tiny", "messages": QUESTION, "max_tokens": 900, "stream": True}
    body |= {"ignore_eos": True}
    url = f"{deployed.url}/v1/chat/completions"
    until(lambda: len(replicas()) == 1)
    (replica,) = replicas()
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("POST", url, json=body, headers=deployed.headers, timeout=PATIENCE) as reply,
    ):
        assert reply.status_code == 200
        for number, _ in enumerate(reply.iter_lines()):
            if number == 6:
                replica.kill()
    until(lambda: [each.pid for each in replicas()] != [replica.pid])
    assert deployed.answer() == before


def test_a_version_rolls_out_and_back_without_a_failed_request(deployed: Service) -> None:
    old = deployed.answer()
    with load(deployed) as met:
        status, output = deployed.command("deploy", f"model={deployed.models[1]}")
        assert status == 0, output
        new = deployed.answer()
        assert new != old
        seen = len(met.answers)
        until(lambda: len(met.answers) > seen + 10)
        assert set(met.answers[-5:]) == {new}
        status, output = deployed.command("rollback")
        assert status == 0, output
        assert deployed.answer() == old
        seen = len(met.answers)
        until(lambda: len(met.answers) > seen + 10)
        assert set(met.answers[-5:]) == {old}
    assert met.errors == []
    assert set(met.answers) == {old, new}
    assert "served" in deployed.command("status")[1]


@pytest.mark.deep
@pytest.mark.long
def test_replicas_follow_their_load_and_end_when_nobody_asks(deployed: Service) -> None:
    before, key = deployed.answer(), keys.add(deployed.store, "guest-of-sessions")
    scaling = (
        "replicas={min: 0, max: 2, target_tokens: 300, upscale_delay: 0, downscale_delay: 5, "
        f"prefix_characters: {PREFIX}}}"
    )
    status, output = deployed.command("deploy", scaling)
    assert status == 0, output
    assert deployed.answer() == before
    with busy(deployed):
        until(lambda: number_of("RUNNING") == 2)
        requests_of_a_session_go_to_the_same_one(deployed, key)
        questions_about_a_document_go_to_the_same_one(deployed)
    until(lambda: replicas() == [])
    assert deployed.answer() == before, "nobody asked for a while: one comes back"
    # For the tests that come: one replica, whatever its load.
    status, output = deployed.command("rollback")
    assert status == 0, output
    until(lambda: number_of("RUNNING") == 1)
    assert deployed.answer() == before


def requests_of_a_session_go_to_the_same_one(deployed: Service, key: str) -> None:
    guest = deployed.openai().with_options(api_key=key, default_headers={"x-session-id": "one"})
    for _ in range(12):
        guest.completions.create(model="tiny", prompt="The sea", max_tokens=1)
    until(lambda: answered("guest-of-sessions").total() == 12)
    assert list(answered("guest-of-sessions").values()) == [12]


def questions_about_a_document_go_to_the_same_one(deployed: Service) -> None:
    """Its cache has the document from the first question on."""
    before = metric(HITS)
    text = "the sea and the ships " * 60
    for number in range(6):
        for question in range(4):
            prompt = f"{number} {text} Question {question}?"
            body = {"model": "tiny", "prompt": prompt, "max_tokens": 4, "stream": question > 1}
            reply = deployed.post("/v1/completions", body | {"ignore_eos": True})
            assert reply.status_code == 200, reply.text
            assert '"finish_reason":"length"' in reply.text
            assert question < 2 or reply.text.endswith("data: [DONE]\n\n")
    tokens = deployed.post("/page/tokens", {"texts": [text]}).json()["tokens"][0]
    whole_blocks = tokens // BLOCK * BLOCK
    assert whole_blocks >= 2 * BLOCK
    until(lambda: metric(HITS) - before >= 6 * 3 * whole_blocks)
    assert metric("ray_longspan_serve_prefix_forwarded_requests_total") > 0


def number_of(*states: str) -> int:
    """How many replicas are in one of these states."""
    from ray import serve

    found = serve.status().applications["chat"].deployments["ChatServer"].replica_states
    return sum(found.get(state, 0) for state in states)


def answered(key: str) -> Counter[str]:
    """Requests with a key that each replica has answered."""
    return metrics("ray_longspan_serve_requests_total", "WorkerId", key=key, status="200")
