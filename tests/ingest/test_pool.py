"""An object whose workers die each time ends the job, with a line that says so."""

import os
import signal

import pytest
from ray.exceptions import RayError

from longspan.ingest.pool import Json, Worker, run_on_all_cpus
from longspan.run.deaths import death_in

pytestmark = [pytest.mark.real, pytest.mark.deep]


class Dies(Worker):
    """Dies as a process does that the kernel kills."""

    def work(self, item: Json) -> Json:
        if item["poison"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return item


def test_workers_that_die_of_an_object_are_not_started_again_for_good(ray_session: str) -> None:
    items: list[tuple[Json, int]] = [({"poison": number == 3}, 1) for number in range(8)]
    with pytest.raises(RayError) as raised:
        list(run_on_all_cpus("dies", Dies, (), items, 1, print))
    death = death_in(raised.value)
    assert death is not None and death.startswith("a worker of Ray Data died"), death
