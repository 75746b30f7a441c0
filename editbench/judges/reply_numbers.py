r"""Read the numbers that a criterion asks for out of a judge's free text: all of them, or None; never a default.

    reply   = [ thinking "</think>" ] answer       only the answer counts, as in reply.py
    answer  = JSON | labelled | list | alone       a kind counts where those before it are absent
    JSON    = an object with a key for every number, or with "score" or "scores" and the list of all in order
    labelled= for every number its label at the start of a line or part, and ":" or "=" or "is", and a value
    list    = "[" value { "," value } "]" as the only brackets, alone or behind "scores:"
    alone   = of a single number, a value as the whole reply

A value is a number on the scale, with "/" and the scale's end if that is named; another end, a range, a sign, a
decimal where whole numbers are asked for, or a value outside the scale makes no numbers at all. So do two values of one
number that disagree, a reply that was cut off right behind a value, and one that takes a value back: words of a
correction ("actually", "or rather") behind it, with a number in their sentence or the next. A reply of one number may
call it by the criterion's title, or score; another value behind "final score" takes it back too.
"""

import re
from typing import Any

from editbench.config.schema import ANSWER_START
from editbench.judges.base import Form
from editbench.judges.reply import plain_answer
from editbench.judges.reply_json import BLANK, find_json
from editbench.judges.score_names import CORRECTION

_SCORE = r"(?:(?:the|my) )?(?:final |overall )?scores?"
_START = re.compile(r"(?:\A|[;,|.!?:])[^\w\[\]()]{0,4}(?:\d{1,2}[.)] )?(?:(?:the|my) )?\Z", re.I)
_LIST = re.compile(r"\[([^\[\]\n]{1,60})\]")
_NUMBER = re.compile(r"[\[(]? ?(\d{1,3}(?:\.\d{1,4})?)(?![\w^°%]|[.,]\d)(?: ?[\])])?")
_END = re.compile(r" ?(?:/|out of|of) ?(\d{1,3}(?:\.0+)?)(?![\w%]|\.\d)", re.I)
_SENTENCE = re.compile(r"[\n;]|(?<=[.!?。])(?!\d)")
_ITEM = re.compile(r"^\W{0,4}\d{1,2}[.)] ", re.M)
_SAID = re.compile(
    r"\d|\b(?:zero|two|three|four|five|six|seven|eight|nine|ten)\b|\b(?:to|that|it|be|is|an?|:) one\b", re.I
)
_FINAL = re.compile(
    r"\b(?:final(?: (?:score|rating|grade|answer|verdict))?|(?:overall|total|new) (?:score|rating|grade|value|number)|"
    r"(?:i|we)(?:['’](?:d|ll)| would| will)? (?:give|rate|score|award|grade)(?: it| this| that)?(?: an?)?|"
    r"it(?:['’]s| is) an?)(?: is| of| to| ?[:=])? ?(\d{1,3}(?:\.\d+)?)",
    re.I,
)
_CHANGED = (
    r"\bor rather\b|\bmake (?:it|that)\b|\bon second thoughts?\b|\bscratch that\b|\bi mean\b|\bsorry\b|\bno[,:] \d"
)
_FOLLOWS = re.compile(r"\s*(?:\Z|\n|[.;|!])|(?:,| ?\(| -+(?![->]))(?!\s?\d)| (?:because|since|as)\b", re.I)


def read_numbers(reply: str, form: Form, completion: str | None = None) -> list[float] | None:
    """Return the numbers that a reply holds.

    Args:
        reply: The reply as generated.
        form: What was asked for.
        completion: What the judge wrote behind the reply and `Score: `, if a single number was completed so.

    Returns:
        One per label of the form, in order; None where one is missing or cannot be read for certain.
    """
    text = plain_answer(reply if completion is None else ANSWER_START + completion)
    try:
        text, values = find_json(text)
    except (ValueError, RecursionError):
        return None
    for found in (_of_json(values, form), _labelled(text, form), _listed(text, form), _alone(text, form)):
        if found is not None:
            return found if len(found) == len(form.labels) and not _taken_back(text, form, found) else None
    return None


def _taken_back(text: str, form: Form, found: list[float]) -> bool:
    """Whether words behind the first value take one of the values back."""
    spans = []
    for names in _names(form):
        for match in _label(names).finditer(text):
            if _begins(text, match.start()) and (number := _NUMBER.match(text, match.end())):
                of = _END.match(text, number.end())
                spans.append((match.start(), of.end() if of else number.end()))
    if not spans and BLANK not in text:
        spans = [match.span() for match in _LIST.finditer(text)]
    ends = [0, *(end for _, end in sorted(spans))]
    starts = [*(start for start, _ in sorted(spans)), len(text)]
    behind = BLANK.join(text[end:start] for end, start in zip(ends, starts, strict=True)).partition(BLANK)[2]
    if len(found) == 1 and any(float(match[1]) != found[0] for match in _FINAL.finditer(behind)):
        return True
    any_name = "|".join(re.escape(name) for own in _names(form) for name in own)
    changed = re.compile(rf"{_CHANGED}|\b(?:it|this|that|rating|{any_name}) should (?:be|have been)\b", re.I)
    sentences = _SENTENCE.split(_ITEM.sub("", behind))
    return any(
        (CORRECTION.search(sentence) or changed.search(sentence))
        and _SAID.search(" ".join(sentences[place : place + 2]))
        for place, sentence in enumerate(sentences)
    )


def _names(form: Form) -> list[list[str]]:
    """What each number can be called, in small letters and without underscores."""
    named = [[label] for label in form.labels]
    if len(named) == 1:
        named[0] += ["score", "final score", "overall score", *([form.title] if form.title else [])]
    return [[" ".join(name.replace("_", " ").lower().split()) for name in names] for names in named]


def _of_json(values: list[Any], form: Form) -> list[float] | None:
    """Read the one object that names numbers; [] if it cannot be read, None if there is none."""
    read: list[list[float]] = []
    for value in values:
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, tuple):
            continue
        keys = [" ".join(str(key).replace("_", " ").lower().split()) for key, _ in value]
        names = _names(form)
        own_keys = [{*own, *(f"{name} score" for name in own)} for own in names]
        places = [[place for place, key in enumerate(keys) if key in own] for own in own_keys]
        lists = [item for key, (_, item) in zip(keys, value, strict=True) if key in ("score", "scores")]
        if any(places):
            read.append(_all([value[at[0]][1] if len(at) == 1 else None for at in places], form))
        elif len(lists) == 1:
            items = lists[0] if isinstance(lists[0], list) else [lists[0]]
            read.append(_all(items, form) if len(items) == len(form.labels) else [])
        elif lists:
            read.append([])
    return None if not read else read[0] if all(one == read[0] for one in read) else []


def _all(items: list[Any], form: Form) -> list[float]:
    """The values of JSON items, a single one out of its own list too; [] if one of them is none."""
    items = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in items]
    values = [_value(item, form) if isinstance(item, str) else None for item in items]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _labelled(text: str, form: Form) -> list[float] | None:
    """Read values behind their labels; [] if not every number has one that is certain, None without labels."""
    numbers: list[float] = []
    seen = False
    for names in _names(form):
        matches = [match for match in _label(names).finditer(text) if _begins(text, match.start())]
        found = [_behind(text, match.end(), form) for match in matches]
        seen = seen or bool(found)
        if found and all(value == found[0] for value in found) and found[0] is not None:
            numbers.append(found[0])
    if not seen:
        return None
    return numbers if len(numbers) == len(form.labels) else []


def _label(names: list[str]) -> re.Pattern[str]:
    """What names a number, up to where its value begins."""
    any_name = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(
        rf"(?:{any_name})(?: (?:score|rating))?(?: \([^()\n]{{0,30}}\))? ?(?:[:=|]|is\b|->) ?(?=[\d+\-\[(])", re.I
    )


def _begins(text: str, start: int) -> bool:
    """Whether a line, a sentence, or a part of one begins at a place."""
    return bool(_START.search(text[max(0, start - 80) : start].rpartition("\n")[2]))


def _behind(text: str, at: int, form: Form) -> float | None:
    """The value that stands at a place, in brackets or not; None if it cannot be read for certain."""
    number = _NUMBER.match(text, at)
    if not number:
        return None
    of = _END.match(text, number.end())
    if of and float(of[1]) != form.high:
        return None
    end = of.end() if of else number.end()
    return _value(number[1], form) if _FOLLOWS.match(text, end) else None


def _listed(text: str, form: Form) -> list[float] | None:
    """Read the one list in brackets; [] if it cannot be read, None if there is none that is the answer."""
    lists = list(_LIST.finditer(text))
    if len(lists) != 1:
        return None
    before = text[: lists[0].start()].rpartition("\n")[2]
    if not re.fullmatch(rf"[^\w\n]{{0,4}}(?:{_SCORE}\s?(?:[:=]|are|is)?\s?)?", before, re.I):
        return None
    items = [item.strip() for item in lists[0][1].split(",")]
    return _all(list(items), form) if len(items) == len(form.labels) else []


def _alone(text: str, form: Form) -> list[float] | None:
    """Read a reply that is nothing but the one number."""
    bare = text.strip(" \n\"'.。")
    if len(form.labels) != 1 or not re.match(r"\d", bare):
        return None
    line, _, more = bare.partition("\n")
    value = _behind(line, 0, form)
    whole = re.fullmatch(r"\d{1,3}(?:\.\d{1,4})?(?: ?(?:/|out of) ?\d{1,3})?", line.strip(), re.I)
    return [value] if value is not None and whole and not more else []


def _value(text: str, form: Form) -> float | None:
    """A number of the form's scale; None for any other text."""
    if not re.fullmatch(r"\d{1,3}(?:\.\d{1,4})?", text.strip()):
        return None
    value = float(text)
    return value if form.low <= value <= form.high and (not form.whole or value.is_integer()) else None
