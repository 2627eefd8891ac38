"""Private interfaces of Ray Serve 2.60: names of replicas' placement groups, and what the dashboard tells."""

from __future__ import annotations

from typing import Any

REPLICA_PREFIX = "SERVE_REPLICA::"


def replica_application(placement_group_name: str) -> str | None:
    """Return the application whose replica a placement group is for; None: it is no replica's.

    Serve documents no way to tell which placement groups are its own.

    Args:
        placement_group_name: such as SERVE_REPLICA::application#deployment#replica.
    """
    if not placement_group_name.startswith(REPLICA_PREFIX):
        return None
    return placement_group_name.removeprefix(REPLICA_PREFIX).split("#")[0]


def serve_details(dashboard: str) -> dict[str, Any]:
    """Return all of Serve's state, with the config that each application was deployed with.

    `serve.status`, the public function, leaves configs out. The client of the documented REST address is private; it
    authenticates as the `serve` command does.

    Args:
        dashboard: its address, with http://.
    """
    from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

    return ServeSubmissionClient(dashboard).get_serve_details()
