"""Sealed JSON is read as it was written, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.storage import Store, sealed

VALUES = st.dictionaries(
    st.text(max_size=5), st.integers() | st.floats(allow_nan=False) | st.text(), min_size=1
).filter(lambda value: "sha256" not in value)


@given(value=VALUES, data=st.data())
def test_a_flipped_bit_is_found_wherever_it_is(value: dict, data: st.DataObject) -> None:
    content = sealed.dumps(value)
    damaged = bytearray(content)
    damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert sealed.loads(content) == value
    assert json.loads(content) == {"sha256": json.loads(content)["sha256"], **value}
    with pytest.raises(sealed.Damaged):
        sealed.loads(bytes(damaged))


def test_an_object_that_is_damaged_where_it_is(store: Store) -> None:
    store.write_bytes("x", sealed.dumps({"tokens": 7}).replace(b"7", b"8"))

    with pytest.raises(sealed.Damaged, match="SHA-256"):
        sealed.read(store, "x")
