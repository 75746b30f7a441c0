"""Sealed JSON: any JSON reader reads it, and no changed byte is believed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editbench.run.sealed_json import seal, unseal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda children: st.lists(children, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, min_size=1, max_size=4)


@given(OBJECTS)
def test_what_was_sealed_comes_back_and_is_one_line_of_json(fields):
    sealed = seal(fields)
    assert unseal(sealed) == fields
    assert b"\n" not in sealed
    assert json.loads(sealed) | fields == json.loads(sealed)


@given(OBJECTS, st.data())
def test_a_changed_byte_is_noticed(fields, data):
    sealed = bytearray(seal(fields))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="checksum"):
        unseal(bytes(sealed))


@given(OBJECTS, st.data())
def test_a_cut_line_is_noticed(fields, data):
    sealed = seal(fields)
    with pytest.raises(ValueError, match="does not end with its checksum"):
        unseal(sealed[: data.draw(st.integers(0, len(sealed) - 1))])
