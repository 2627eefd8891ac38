"""A node that the cloud takes away: what its replicas have begun they finish, and others take their place."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.nodes import Cluster
from tests.s3 import S3Server
from tests.serve.service import PATIENCE, QUESTION, Service, replicas, until

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.long, pytest.mark.timeout(600)]

WINDOW = 12288
"""Room for an answer that takes longer than a replica's start."""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with closing(Cluster(dashboard=True)) as cluster:
        yield cluster


def test_a_node_that_is_drained_finishes_its_streams(
    cluster: Cluster, s3_server: S3Server, tmp_path: Path
) -> None:
    nodes = [cluster.add(name) for name in "ab"]
    service = Service(tmp_path, cluster.address, s3_server, WINDOW)
    status, output = service.command("deploy")
    assert status == 0, output
    before = service.answer()
    leaving, staying = sorted(nodes, key=lambda node: not replicas(node.process.pid))
    assert not replicas(staying.process.pid)

    body = {"model": "tiny", "messages": QUESTION, "max_tokens": 8_000, "stream": True}
    body |= {"ignore_eos": True}
    url = f"{service.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=service.headers, timeout=PATIENCE) as reply:
        assert reply.status_code == 200
        lines = reply.iter_lines()
        for _ in range(6):
            next(lines)
        cluster.drain(leaving, 300)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert replicas(staying.process.pid), "it was another one's turn before the answer's end"
    until(lambda: not replicas(leaving.process.pid))
    assert service.answer() == before
