"""What workers say reaches the job's output, in order and without a failed task on the dashboard."""

import asyncio
from types import SimpleNamespace

import pytest

from longspan.runtime import driver_log
from longspan.runtime.driver_log import LOST, Collector, Lines, printed_lines


def test_taking_waits_for_lines_and_ends_after_the_last() -> None:
    async def conversation() -> list[list[str] | None]:
        queue = Lines()
        waiting = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        await queue.put("one")
        taken = [await waiting]
        await queue.put("two")
        await queue.put("three")
        await queue.close()
        return [*taken, await queue.take(), await queue.take()]

    assert asyncio.run(conversation()) == [["one"], ["two", "three"], None]


@pytest.mark.parametrize(("restarted", "said"), [(False, ["one"]), (True, [LOST, "one"])])
def test_a_collector_that_was_started_again_says_so(
    monkeypatch: pytest.MonkeyPatch, restarted: bool, said: list[str]
) -> None:
    context = SimpleNamespace(was_current_actor_reconstructed=restarted)
    monkeypatch.setattr(driver_log.ray, "get_runtime_context", lambda: context)

    async def conversation() -> list[str] | None:
        collector = Collector()
        await collector.put("one")
        return await collector.take()

    assert asyncio.run(conversation()) == said


@pytest.mark.real
def test_lines_of_remote_workers_are_printed(
    ray_session: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    def work(log, number):
        for step in range(3):
            log(f"worker {number}, step {step}")

    with printed_lines() as log:
        ray.get([ray.remote(num_cpus=0)(work).remote(log, number) for number in range(2)])
    printed = capsys.readouterr().out.splitlines()
    for number in range(2):
        mine = [line for line in printed if line.startswith(f"worker {number}")]
        assert mine == [f"worker {number}, step {step}" for step in range(3)]
