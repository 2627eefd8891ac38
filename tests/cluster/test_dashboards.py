"""The dashboards that are kept are those that the code makes, and no two panels lie on each other."""

import json

import pytest

from cluster.dashboards import DASHBOARDS, FOLDER
from cluster.grafana import Dashboard


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
def test_the_file_is_what_the_code_makes(dashboard: Dashboard) -> None:
    path = FOLDER / f"{dashboard.uid.removeprefix('longspan-')}.json"
    assert json.loads(path.read_text()) == dashboard.to_json(), "run python -m cluster.dashboards"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.uid)
def test_panels_lie_side_by_side(dashboard: Dashboard) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard.to_json()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
