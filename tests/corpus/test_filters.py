"""Which rows conditions pass, and what is said of conditions that none can meet."""

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.corpus.filters import Filter, conditions, facts

ROW = {
    "language": "en",
    "year": 1999,
    "score": 0.5,
    "clean": True,
    "date": "2024-03-05",
    "read": datetime(2024, 3, 5, 12),
    "price": Decimal("2.50"),
    "nothing": None,
    "meta": {"license": {"id": "mit"}, "stars": 12},
    "a.b": "flat",
}


def passes(where: dict[str, Any], row: dict[str, Any] = ROW) -> bool:
    return Filter(conditions(where)).matches(row)


@pytest.mark.parametrize(
    "where",
    [
        {"language": "en"},
        {"language": ["de", "en"]},
        {"year": 1999.0},
        {"year": {"min": 1999, "max": 1999}},
        {"score": {"max": 1, "not": [0.25, "x"]}},
        {"clean": True},
        {"date": {"min": "2024", "max": "2024-03-05"}},
        {"date": {"min": date(2024, 3, 5)}},
        {"read": {"min": "2024-03-05", "max": "2024-03-06"}},
        {"price": {"min": 2.5}},
        {"meta.license.id": "mit", "meta.stars": {"min": 10}, "language": {"not": "de"}},
        {"a.b": "flat"},
    ],
)
def test_rows_that_pass(where: dict[str, Any]) -> None:
    assert passes(where)


@pytest.mark.parametrize(
    "where",
    [
        {"language": "EN"},
        {"language": {"not": ["de", "en"]}},
        {"year": "1999"},
        {"year": {"min": "1"}},
        {"year": {"min": 2000}},
        {"clean": 1},
        {"clean": {"min": 0}},
        {"score": {"not": 0.5}},
        {"date": {"max": "2024-03-04"}},
        {"nothing": {"not": "x"}},
        {"missing": {"not": "x"}},
        {"language.id": {"not": "x"}},
        {"meta": {"not": "x", "min": "a"}},
        {"language": "en", "year": 2000},
    ],
)
def test_rows_that_do_not(where: dict[str, Any]) -> None:
    assert not passes(where)


@given(value=st.integers(-5, 5), low=st.integers(-5, 5), high=st.integers(-5, 5))
def test_bounds_are_inclusive(value: int, low: int, high: int) -> None:
    if low <= high:
        found = passes({"n": {"min": low, "max": high}}, {"n": value})
        assert found == (low <= value <= high)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            {"year": {"mn": 1}},
            "year: 'mn' is unknown: a condition is a value, a list of values, or",
        ),
        ({"meta": {"language": "en"}}, "a field within a field is written {meta.language: ...}"),
        ({"year": []}, "year: the list of values is empty; no row would be left"),
        ({"year": {}}, "year: the condition is empty"),
        ({"year": None}, "is None; rows without the field are left out anyway"),
        ({"year": {"min": 3, "max": 2}}, "year: min 3 is above max 2; no row would be left"),
        ({"year": {"min": 3, "max": "2"}}, "year: min 3 and max '2' can't be compared"),
        ({"year": {"min": True}}, "year: min must be a number or a text, but is True"),
        (
            {"year": {"max": [2]}},
            "year: must be a text, a finite number, true or false, but is [2]",
        ),
        ({"year": float("nan")}, "a finite number, true or false, but is nan"),
    ],
)
def test_conditions_that_make_no_sense(where: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        conditions(where)


def test_a_field_that_no_row_has_is_noted_with_the_nearest() -> None:
    filter = Filter(conditions({"language": "en", "meta.starz": {"min": 1}}))
    assert filter.never_met() is None, "no row was seen"
    for _ in range(200):
        assert not filter.matches(ROW)
    assert filter.never_met() == ("meta.starz", "meta.stars")
    filter.matches({"language": "de", "meta": {"starz": None}})
    assert filter.never_met() is None


def test_the_order_in_which_conditions_are_written_does_not_matter() -> None:
    one, two = {"a": 1, "b": {"min": 2}}, {"b": {"min": 2}, "a": 1}
    assert facts(conditions(one)) == facts(conditions(two))
    assert facts(conditions(one)) != facts(conditions({"a": 1, "b": {"max": 2}}))
