"""Former names of keys: accepted with a hint that names both, and refused beside today's."""

from __future__ import annotations

from typing import ClassVar

import pytest

from longspan.config.load import parse
from longspan.config.section import Section
from longspan.errors import UserError


class Timing(Section):
    renamed: ClassVar = {"wait": "wait_s"}

    wait_s: float = 1.0


class Settings(Section):
    timing: Timing = Timing()
    several: tuple[Timing, ...] = ()


def test_a_former_name_is_read_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    settings = parse(Settings, {"timing": {"wait": 5}, "several": [{"wait": 2}, {"wait_s": 3}]})
    assert settings.timing.wait_s == 5
    assert [each.wait_s for each in settings.several] == [2, 3]
    assert [record.getMessage().split("; ")[0] for record in caplog.records] == [
        "timing.wait: renamed to timing.wait_s",
        "several.wait: renamed to several.wait_s",
    ]


def test_both_names_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"timing\.wait: renamed to timing\.wait_s, which is set as well; remove"
    ):
        parse(Settings, {"timing": {"wait": 5, "wait_s": 4}})


def test_an_unknown_key_stays_an_error() -> None:
    with pytest.raises(UserError, match=r"timing\.waits: unknown key"):
        parse(Settings, {"timing": {"waits": 5}})
