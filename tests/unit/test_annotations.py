"""Annotated types of settings and arguments: what fits them, and how an error names them."""

import typing
from pathlib import Path
from typing import Annotated, Any

import pytest

from editbench.config.annotations import Count, Rule, fits, in_words


@pytest.mark.parametrize(
    ("value", "wanted", "answer"),
    [
        ("a", typing.Literal["a", "b"], True),
        ("c", typing.Literal["a", "b"], False),
        (None, typing.Literal["a"], False),
        (None, typing.Literal["a"] | None, True),
        ("c", typing.Literal["a"] | None, False),
        (1, typing.Literal[1, 2], True),
        (True, typing.Literal[1, 2], False),
        (1.0, typing.Literal[1, 2], False),
        (3, typing.Literal["auto"] | int, True),
        ([], typing.Literal["auto"] | int, False),
        (["a"], typing.Literal["a"], False),
        ("x", typing.Literal["a"] | typing.Any, True),
    ],
)
def test_a_literal_is_what_it_says(value, wanted, answer):
    assert fits(value, wanted) is answer


def test_types_are_worded_for_people():
    assert in_words(typing.Literal["a", "b"]) == "a or b"
    assert in_words(typing.Literal["auto"] | int | None) == "auto or a whole number or null"
    assert (in_words(int), in_words(int | None)) == ("a whole number", "a whole number or null")


EVEN = Annotated[int, Rule(lambda number: number % 2 == 0, "an even number")]


@pytest.mark.parametrize(
    ("value", "wanted", "answer"),
    [
        (2, EVEN, True),
        (3, EVEN, False),
        ("2", EVEN, False),
        (True, Count, False),
        (None, Count | None, True),
        (0, Count | None, False),
        (["a"], list[str], True),
        (["a", 1], list[str], False),
        ([], list[str], True),
        ({"a": 1, "b": 0.5}, dict[str, float], True),
        ({"a": "x"}, dict[str, float], False),
        ("runs", Path, True),
        (" ", Path, False),
        (5, Path, False),
        (5, Any, True),
        (5, "a class that is not known", True),
    ],
)
def test_limits_and_items_count(value: Any, wanted: Any, answer: bool) -> None:
    assert fits(value, wanted) is answer


def test_limits_and_items_are_named() -> None:
    assert in_words(EVEN | None) == "an even number or null"
    assert in_words(list[str]) == "a list, each item a text"
    assert (in_words(list), in_words(dict[str, Any]), in_words(bool)) == ("a list", "a mapping", "true or false")
    assert in_words(typing.Literal["a", "b", "c"]) == "one of a, b, c"
