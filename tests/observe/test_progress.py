import io
import os
from itertools import count

import pytest

from longspan.observe.progress import Progress, StageTotal, Totals, progress_line, seconds_left

TOTALS = Totals((StageTotal(1024, 40, 8192),))


def update(number, seconds=10.0, length=1024, tokens=8192, **more):
    return {
        "kind": "update",
        "update": number,
        "time": 1000.0 + 10 * number,
        "loss": 3.2149,
        "learning_rate": 9.8e-5,
        "tokens": tokens,
        "step_seconds": seconds,
        "data_wait_seconds": 0.03,
        "length": length,
    } | more


def test_the_line_reads_as_it_should():
    line = progress_line([update(n) for n in range(1, 13)], TOTALS, now=1120.0)
    assert line == (
        "update 12/40 30% | loss 3.215 | lr 9.8e-05 | 819 tok/s | wait 0.3% | 4m40s left"
    )


def test_utilization_is_shown_where_it_is_known():
    assert "| mfu 41% |" in progress_line([update(1, mfu=0.412)], TOTALS, now=1010.0)


def test_before_the_first_update_there_is_a_line_too():
    assert progress_line([], TOTALS, now=0.0) == "update 0/40 0%"
    heldout = {"kind": "heldout", "update": 0, "phase": "start", "loss": 2.0}
    assert progress_line([heldout], TOTALS, now=0.0) == "update 0/40 0%"


def test_the_end_is_the_end():
    line = progress_line([update(40)], TOTALS, now=1400.0)
    assert line.startswith("update 40/40 100%") and line.endswith("done")
    assert "100%" not in progress_line([update(39)], Totals((StageTotal(1024, 4000, 1),)), 0.0)


def test_slow_updates_do_not_move_the_time_left():
    usual = [update(n) for n in range(1, 21)]
    disturbed = [update(n, seconds=500.0 if n % 5 == 0 else 10.0) for n in range(1, 21)]
    assert seconds_left(disturbed, TOTALS, 20) == seconds_left(usual, TOTALS, 20) == 200.0


def test_only_recent_updates_count():
    slow_start = [update(n, seconds=100.0) for n in range(1, 21)]
    records = slow_start + [update(n) for n in range(21, 41)]
    line = progress_line(records, Totals((StageTotal(1024, 50, 8192),)), now=1400.0)
    assert line.endswith("1m40s left")


def test_time_goes_by_between_updates():
    records = [update(n) for n in range(1, 13)]
    assert progress_line(records, TOTALS, now=1150.0).endswith("4m10s left")


def test_a_run_that_stands_still_says_so():
    records = [update(n) for n in range(1, 13)]
    assert progress_line(records, TOTALS, now=1120.0 + 300).endswith("no update for 5m00s")


def test_longer_rows_to_come_cost_more():
    totals = Totals((StageTotal(1024, 20, 8192, 1.0), StageTotal(4096, 20, 8192, 2.5)))
    records = [update(n) for n in range(1, 11)]
    assert seconds_left(records, totals, 10) == pytest.approx(10 * 10 + 20 * 10 * 2.5)


def test_the_present_length_is_judged_by_its_own_updates():
    totals = Totals((StageTotal(1024, 20, 8192, 1.0), StageTotal(4096, 20, 8192, 2.5)))
    records = [update(n) for n in range(1, 21)]
    records += [update(n, seconds=40.0, length=4096) for n in range(21, 24)]
    assert seconds_left(records, totals, 23) == pytest.approx(17 * 40)


def test_speed_counts_tokens_over_the_time_they_took():
    records = [update(1, seconds=1.0), update(2, seconds=3.0)]
    assert "| 4.1k tok/s |" in progress_line(records, TOTALS, now=1020.0)


def run(progress, updates=5):
    for number in range(1, updates + 1):
        progress.log(update(number))
    progress.log({"kind": "heldout", "update": 5, "phase": "end", "loss": 2.5, "loss.books": 2.4})
    progress.log({"kind": "event", "update": 5, "time": 1.0, "event": "checkpoint", "size": 3})
    progress.close()


def test_a_log_gets_whole_lines():
    out = io.StringIO()
    run(Progress(TOTALS, out=out, seconds=0))
    assert "\r" not in out.getvalue()
    lines = out.getvalue().splitlines()
    assert len(lines) == 7
    assert lines[-2] == "held-out loss 2.500 (books 2.400) | at the end, after update 5"
    assert lines[-1] == "checkpoint at update 5, size 3"


def test_lines_go_to_whoever_takes_them():
    said = []
    run(Progress(TOTALS, said.append, seconds=0))
    assert len(said) == 7 and said[0].startswith("update 1/40 2%")


def test_fast_updates_are_not_all_shown_but_the_last_is():
    said = []
    progress = Progress(
        Totals((StageTotal(1024, 50, 8192),)),
        said.append,
        seconds=10,
        clock=count(1000).__next__,
    )
    for number in range(1, 51):
        progress.log(update(number))
    assert 4 <= len(said) <= 7
    assert said[-1].startswith("update 50/50")


def test_a_terminal_gets_one_line_that_is_rewritten():
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as out:
        run(Progress(TOTALS, out=out, seconds=0))
        shown = ""
        while "checkpoint" not in shown or not shown.endswith("\n"):
            shown += os.read(master, 65_536).decode()
    os.close(master)
    # The terminal itself turns a line's end into "\r\n".
    rewritten, heldout, checkpoint = shown.replace("\r\n", "\n").splitlines(keepends=True)[-3:]
    assert rewritten.startswith("update 5/40")
    assert shown.count("\rupdate ") == 5
    assert heldout.startswith("held-out") and checkpoint.startswith("checkpoint")
