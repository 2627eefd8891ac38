"""Prometheus finds the cluster's nodes, and no panel of our dashboards stays empty on a cluster at work."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cluster.dashboards import DASHBOARDS
from cluster.grafana import Dashboard
from tests.cluster.prometheus import Prometheus, prometheus
from tests.instruct.project import Project as InstructProject
from tests.instruct.server import MODEL, serving
from tests.jobs.project import Project, said
from tests.nodes import until
from tests.serve.service import Service
from tests.tiny import make_tiny_model

pytestmark = [pytest.mark.real, pytest.mark.deep, pytest.mark.timeout(600)]

NOT_HERE = {
    "ray_longspan_train_mfu": "a processor's peak is not known",
    "ray_longspan_evaluation_value": "no evaluation watches the run",
    "ray_longspan_evaluation_update": "no evaluation watches the run",
    "ray_longspan_serve_prefix_forwarded_requests_total": "there is one replica",
    "ray_vllm_num_preemptions_total": "the cache has room for all",
}


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory, deployed: Service) -> Iterator[Prometheus]:
    """Prometheus beside a service that is up."""
    import ray

    folder = Path(ray._private.worker._global_node.get_session_dir_path()).parent
    with prometheus(tmp_path_factory.mktemp("prometheus"), folder) as found:
        yield found


@pytest.fixture(scope="module")
def at_work(
    watching: Prometheus,
    deployed: Service,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A cluster that has trained and generated while it was watched; it goes on to answer."""
    folder = tmp_path_factory.mktemp("watched")
    model = make_tiny_model(folder / "base", tied=False)
    done = Project(folder, model, dashboard="").run("name=watched")
    assert done.returncode == 0, said(done)[-4000:]
    with serving(seconds=0.5) as server:  # Slow enough for numbers to be seen to change.
        endpoint = {"url": server.url, "model": MODEL, "requests": 2}
        recipe = {"tokenizer": str(model), "generator": {"endpoint": endpoint, "max_tokens": 64}}
        recipe |= {"chunk_tokens": 200, "chunks_per_document": 2}
        instruct = InstructProject(folder / "instruct", recipe, documents=6, paragraphs=60)
        status, output = instruct.run()
    assert status == 0, output


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
@pytest.mark.usefixtures("at_work")
def test_no_panel_is_empty(watching: Prometheus, deployed: Service, dashboard: Dashboard) -> None:
    wanted = [each for each in drawn(dashboard) if not any(name in each for name in NOT_HERE)]
    body = {"model": "tiny", "prompt": "Which ship came first? " * 60, "max_tokens": 2}

    def empty() -> list[str]:
        assert deployed.post("/v1/completions", body).status_code == 200
        return [each for each in wanted if not watching.ask(each)]

    with suppress(AssertionError):  # What is missing says more.
        until(lambda: not empty(), seconds=60)
    assert empty() == []


def test_what_is_not_here_is_drawn_somewhere() -> None:
    expressions = [each for dashboard in DASHBOARDS for each in drawn(dashboard)]
    assert [name for name in NOT_HERE if not any(name in each for each in expressions)] == []


def drawn(dashboard: Dashboard) -> list[str]:
    """The expressions of a dashboard's panels."""
    series = [each for row in dashboard.rows.values() for panel in row for each in panel.series]
    return [each.expression.replace("RATE", "10m") for each in series]


@pytest.mark.usefixtures("at_work")
def test_every_node_is_found(watching: Prometheus) -> None:
    import ray

    addresses = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    up = {series["metric"]["instance"].rpartition(":")[0] for series in watching.ask("up == 1")}
    assert addresses <= up
