import re
import urllib.request

import pytest

from longspan.serve.gateway.request_log import RequestLog


def request_log(status: int) -> RequestLog:
    request_log = RequestLog(
        request_id="1", own_id=True, method="POST", path="/v1/completions", client=""
    )
    request_log.route, request_log.key, request_log.status = "/v1/completions", "meter", status
    return request_log


@pytest.mark.real
def test_prometheus_reads_what_a_key_used(ray_session):
    import ray

    class Replica:
        def __init__(self):
            from longspan.serve.gateway.raymeter import RayMeter

            self.meter = RayMeter()

        def record(self, visits):
            for each in visits:
                self.meter.record(each)
            self.meter.keys_age(70.0)

        def stay(self):
            import threading

            threading.Event().wait()

    replica = ray.remote(num_cpus=0)(Replica).remote()
    answered, refused = request_log(200), request_log(429)
    answered.used(7, 3)
    refused.ended = "refused"
    ray.get(replica.record.remote([answered, answered, refused]))
    staying = replica.stay.remote()
    port = ray.nodes()[0]["MetricsExportPort"]
    found: dict[str, dict[str, float]] = {}
    for _ in range(90):
        # Values travel to the endpoint every few seconds.
        found = ours(f"http://127.0.0.1:{port}/metrics")
        if {"tokens_total", "keys_age_seconds"} <= found.keys():
            break
        ray.wait([staying], timeout=1)
    ray.kill(replica)
    assert found["tokens_total"] == {"completion": 6, "prompt": 14}
    assert found["keys_age_seconds"] == {"": 70}
    assert found["requests_total"] == {"200 done": 2, "429 refused": 1}


def ours(url: str) -> dict[str, dict[str, float]]:
    """Values of this test's key by metric and by the tags that vary."""
    found: dict[str, dict[str, float]] = {}
    page = urllib.request.urlopen(url, timeout=30).read().decode()
    for name, tags, value in re.findall(r"^ray_longspan_serve_(\w+)\{(.*)\} (\S+)$", page, re.M):
        tag = dict(re.findall(r'(\w+)="([^"]*)"', tags))
        if name == "keys_age_seconds":
            found[name] = {"": float(value)}
        elif tag.get("key") == "meter":
            which = tag.get("kind") or f"{tag['status']} {tag['ended']}"
            found.setdefault(name, {})[which] = float(value)
    return found
