"""Whether a value fits an annotated type, and that type in words: for settings, and for arguments of components."""

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from editbench.errors import UserError

_IN_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    list: "a list",
    dict: "a mapping",
    Path: "a folder",
    types.NoneType: "null",
}


@dataclass(frozen=True)
class Rule:
    """Limits of a type beyond its name, as in `Annotated[int, Rule(lambda n: n >= 1, "1 or more")]`."""

    holds: Callable[[Any], bool]
    in_words: str


Count = Annotated[int, Rule(lambda number: number >= 1, "a whole number from 1")]
Port = Annotated[int, Rule(lambda number: 0 <= number <= 65535, "a whole number from 0 to 65535")]
CountOrZero = Annotated[int, Rule(lambda number: number >= 0, "a whole number from 0")]


def fits(value: Any, wanted: Any) -> bool:
    """Whether a value, as YAML gives it, is of an annotated type; a type that is not known takes every value."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Annotated:
        return fits(value, parts[0]) and all(rule.holds(value) for rule in parts[1:] if isinstance(rule, Rule))
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    kind = dict if typing.is_typeddict(wanted) else origin or wanted
    if kind is Path:
        return isinstance(value, str) and bool(value.strip())
    if kind not in _IN_WORDS:
        return True
    if isinstance(value, bool) or not isinstance(value, kind):
        return kind is bool if isinstance(value, bool) else kind is float and isinstance(value, int)
    items = value if kind is list else value.values() if kind is dict else ()
    return not parts or all(fits(item, parts[-1]) for item in items)


def in_words(wanted: Any) -> str:
    """An annotated type as an error names it: `a whole number or null`, `one of model, sequential, group or null`."""
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is Annotated:
        return str(parts[1].in_words) if isinstance(parts[1], Rule) else in_words(parts[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(in_words, parts))
    if origin is Literal:
        return " or ".join(parts) if len(parts) < 3 else f"one of {', '.join(map(str, parts))}"
    if origin is list:
        return f"a list, each item {in_words(parts[0])}"
    if typing.is_typeddict(wanted):
        return f"a mapping with {', '.join(typing.get_type_hints(wanted))}"
    return _IN_WORDS.get(origin or wanted) or str(getattr(wanted, "__name__", wanted))


def check_keys(key: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Check the entries of a mapping.

    Args:
        key: What the mapping is called in the configuration.
        given: The mapping.
        known: The type of each entry that it can have.

    Raises:
        UserError: an entry that is not known, or a value that does not fit.
    """
    for name, value in given.items():
        if name not in known:
            raise UserError(f"{key}.{name}: there is no such key; there are {', '.join(known)}")
        if not fits(value, known[name]):
            raise UserError(f"{key}.{name}={value!r}: must be {in_words(known[name])}")
