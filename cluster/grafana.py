"""Grafana's dashboards as data: rows of panels, each with its queries.

An expression is PromQL; `RATE` in it is the range that Grafana finds right for the time shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8


@dataclass(frozen=True)
class Series:
    """One query of a panel, and how its lines are called."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One picture; `unit` is Grafana's name of it."""

    title: str
    unit: str
    series: Sequence[Series]
    description: str


@dataclass(frozen=True)
class Dashboard:
    """Rows of panels, each with a heading."""

    uid: str
    title: str
    rows: dict[str, Sequence[Panel]]

    def to_json(self) -> dict[str, Any]:
        """As Grafana imports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["longspan"],
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": "now-30m", "to": "now"},
            "schemaVersion": 39,
            "templating": {
                "list": [
                    {
                        "name": "datasource",
                        "label": "Prometheus",
                        "type": "datasource",
                        "query": "prometheus",
                    }
                ]
            },
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[dict[str, Any]]:
        number, top = 1, 0
        for heading, panels in self.rows.items():
            place = {"x": 0, "y": top, "w": COLUMNS * WIDTH, "h": 1}
            yield {
                "id": number,
                "type": "row",
                "title": heading,
                "gridPos": place,
                "collapsed": False,
                "panels": [],
            }
            number, top = number + 1, top + 1
            for index, panel in enumerate(panels):
                line, column = divmod(index, COLUMNS)
                yield _panel(number, panel, column * WIDTH, top + line * HEIGHT)
                number += 1
            top += -(-len(panels) // COLUMNS) * HEIGHT


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "custom": {"fillOpacity": 8, "showPoints": "never"},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": series.expression.replace("RATE", "$__rate_interval"),
                "legendFormat": series.legend,
            }
            for index, series in enumerate(panel.series)
        ],
    }


def quantiles(histogram: str) -> tuple[Series, ...]:
    """The middle one and the slowest of twenty."""
    rates = f"sum by (le) (rate({histogram}_bucket[RATE]))"
    return tuple(
        Series(f"histogram_quantile({share}, {rates})", name)
        for share, name in ((0.5, "half are below"), (0.95, "19 of 20 are below"))
    )


def per_second(counter: str, by: str) -> tuple[Series, ...]:
    """A counter's rate by a label."""
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return (Series(f"sum by ({by}) (rate({counter}[RATE]))", legend),)
