import pytest

from longspan.errors import UserError
from longspan.observe.tracker import Composite


class Listed:
    """Keeps what it was given."""

    def __init__(self):
        self.records, self.closed = [], False

    def log(self, record):
        self.records.append(record)

    def close(self):
        self.closed = True


class Broken(Listed):
    """Has no room."""

    def log(self, record):
        raise UserError("disk full")

    def close(self):
        raise UserError("disk full, still")


def test_a_failing_tracker_keeps_no_other_from_its_records():
    first, last = Listed(), Listed()
    trackers = Composite([first, Broken(), last])
    with pytest.raises(UserError, match="disk full"):
        trackers.log({"kind": "update", "update": 1})
    with pytest.raises(UserError, match="disk full, still"):
        trackers.close()
    assert first.records == last.records == [{"kind": "update", "update": 1}]
    assert first.closed and last.closed
