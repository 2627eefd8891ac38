"""How long checkpoints may go on failing."""

import pytest

from longspan.errors import UserError
from longspan.train.checkpoint.manager import Failures


def test_an_outage_is_waited_for_however_many_checkpoints_fall_into_it() -> None:
    failures = Failures(give_up_timeout_s=600)
    for second in range(600):
        failures.note("no answer", now=second)
    with pytest.raises(UserError, match=r"601 checkpoints in a row failed, for 600 s .*no answer"):
        failures.note("no answer", now=600)


def test_a_checkpoint_in_between_ends_the_count() -> None:
    failures = Failures(give_up_timeout_s=600)
    for second in (0, 500):
        failures.note("no answer", now=second)
    failures.note(None, now=550)
    for second in (601, 1100):
        failures.note("no answer", now=second)


def test_two_failures_far_apart_are_not_enough() -> None:
    failures = Failures(give_up_timeout_s=600)
    failures.note("no answer", now=0)
    failures.note("no answer", now=3600)
    with pytest.raises(UserError, match="3 checkpoints"):
        failures.note("no answer", now=7200)
