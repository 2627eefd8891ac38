import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.observe.records import from_json, to_json


def refuse(word):
    raise AssertionError(f"not strict JSON: {word}")


numbers = st.one_of(st.floats(), st.integers(), st.none(), st.booleans())
records = st.dictionaries(st.text(max_size=8), st.one_of(numbers, st.lists(numbers, max_size=3)))


@given(records)
def test_every_number_survives_strict_json(record):
    line = to_json(record)
    json.loads(line, parse_constant=refuse)
    assert "\n" not in line
    assert repr(from_json(line)) == repr(record)


def test_what_is_not_finite_is_named_so_that_others_understand():
    line = to_json({"loss": math.nan, "grad_norm": math.inf, "low": -math.inf})
    assert json.loads(line) == {"loss": "NaN", "grad_norm": "Infinity", "low": "-Infinity"}


def test_numpy_numbers_are_numbers():
    record = {"a": np.float32(0.5), "b": np.int64(3), "c": np.array([1.0, np.nan])}
    assert json.loads(to_json(record)) == {"a": 0.5, "b": 3, "c": [1.0, "NaN"]}


def test_what_is_no_number_is_named_by_its_key():
    with pytest.raises(TypeError, match=r"record\.model: .*object"):
        to_json({"model": object()})
