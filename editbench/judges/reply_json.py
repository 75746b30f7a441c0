"""Finds the JSON in a judge's reply and the scores that its keys name."""

import json
import re
from collections.abc import Iterator
from typing import Any

from editbench.judges.score_names import find_label

BLANK = "\ufffc"
"""Stands in a text for the JSON that was in it."""

START = re.compile(r"""\{\s*["']|\[\s*\{""")
WRAPPER = re.compile(
    r"(?:(?:final|overall|edit)[_ ]?)?"
    r"(?:evaluation|assessment|result|judge?ment|output|answer|response|verdict|overall|final|scores)",
    re.I,
)
PART = re.compile(r"criterion|criteria|aspect|dimension|metric|item|name|type|for|image|section", re.I)
SCALE = re.compile(r"(?:max(?:imum)?|out of|scale|range)(?: (?:score|value|points))?", re.I)
# What Python, or haste, writes in place of JSON: single quotes, a comma before the end, True.
LENIENT = re.compile(
    r""""(?:[^"\\]|\\.)*+"?|(?<=[{\[,:\s])'(?P<single>(?:[^'\\\n]|\\.)*+)'(?=\s*[:,}\]])|(?P<comma>,)(?=\s*[}\]])"""
    r"""|\b(?P<word>True|False|None)\b"""
)
# Objects become tuples of pairs, as a key may stand twice; numbers stay text, so that "8e0" and NaN are no values.
_DECODER = json.JSONDecoder(object_pairs_hook=tuple, parse_float=str, parse_int=str, parse_constant=str, strict=False)


def take_json(text: str) -> tuple[str, list[tuple[int, Any]]]:
    """Find the JSON in a text.

    Returns:
        The text with `BLANK` in place of each JSON value, and the rank of each key that names a score of the whole
        edit, with what stands behind it: a str if that is text or a number.

    Raises:
        ValueError, RecursionError: there is JSON that cannot be decoded.
    """
    rest, values = find_json(text)
    return rest, [named for value in values for named in _named(value)]


def find_json(text: str) -> tuple[str, list[Any]]:
    """Find the JSON in a text, as `take_json` does.

    Returns:
        The text with `BLANK` in place of each JSON value; the values, in which objects are tuples of pairs and numbers
        are text.

    Raises:
        ValueError, RecursionError: there is JSON that cannot be decoded.
    """
    parts: list[str] = []
    values: list[Any] = []
    end, strict = 0, True
    while match := START.search(text, end):
        try:
            value, stop = _DECODER.raw_decode(text, match.start())
        except ValueError:
            if not strict:
                raise
            text, strict = text[:end] + LENIENT.sub(_as_json, text[end:]), False
            continue
        values.append(value)
        parts += [text[end : match.start()], BLANK]
        end = stop
    return "".join([*parts, text[end:]]), values


def _as_json(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return json.dumps(match["single"].replace("\\'", "'"))
    return "" if match["comma"] else "null" if match["word"] else match[0]


def _named(value: Any, inside: bool = False) -> Iterator[tuple[int, Any]]:
    """Give the scores among an object's own keys; where there are none, those in the one object that it wraps."""
    value = _only(value)
    if not isinstance(value, tuple):
        return
    pairs = [(str(key).strip().replace("_", " "), _only(item)) for key, item in value]
    if any(PART.fullmatch(key) and isinstance(item, str) for key, item in pairs):
        return  # the object is about the part that it names
    is_aspect = {("scale", str(number)) for number in range(10)}  # how large things are, beside other criteria
    scales = [str(item) for key, item in pairs if SCALE.fullmatch(key) and (key.lower(), str(item)) not in is_aspect]
    if not all(re.search(r"(?<![\d.])10(?:\.0+)?\Z", scale) for scale in scales):
        yield 1, None  # it is on another scale
        return
    labels = [(find_label(re.sub("(?<=[a-z])(?=[A-Z])", " ", key) + ":"), key, item) for key, item in pairs]
    named = [
        (label.rank, item)
        for label, key, item in labels
        if label and label.end > len(key) and (label.by_name or not isinstance(item, tuple))
    ]
    yield from named
    wrapped = [item for key, item in pairs if WRAPPER.fullmatch(key)]
    if not named and not inside and len(wrapped) == 1:
        yield from _named(wrapped[0], inside=True)


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value
