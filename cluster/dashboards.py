"""Grafana dashboards, from code: `python -m cluster.dashboards` writes cluster/dashboards/*.json.

Grafana imports a file as it is and asks which Prometheus to read; Ray's own dashboards stand beside
ours.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cluster.panels.chat import CHAT
from cluster.panels.self_instruct import SELF_INSTRUCT
from cluster.panels.training import TRAINING

FOLDER = Path(__file__).parent / "dashboards"
DASHBOARDS = (TRAINING, SELF_INSTRUCT, CHAT)


def main() -> None:
    argparse.ArgumentParser(
        prog="python -m cluster.dashboards", description=f"Write Grafana's dashboards to {FOLDER}."
    ).parse_args()
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.uid.removeprefix('longspan-')}.json"
        path.write_text(json.dumps(dashboard.to_json(), indent=2) + "\n")
        print(path)


if __name__ == "__main__":
    main()
