r"""Read the score of the whole edit out of a judge's free text, by positive evidence; else None, never a default.

    reply   = [ thinking "</think>" ] answer       only the answer counts; an unclosed "<think>" has none
    answer  = labels and JSON keys | mark | alone  a kind counts where those before it are absent
    label   = clause that begins with words of the tables in score_names.py alone, up to its value: a name of the score
              ("final score", 评分, the rubric's title) with a ":", "is", "|" … behind it, or a verdict ("I give this
              edit", "This image deserves" …)
    mark    = "[[" value "]]" | "\boxed{" value "}" | "<score>" value "</score>"
    alone   = value as the whole reply, or as its first or last line while there is no other digit
    value   = [ sum "=" ] number [ points ] [ "/10" ]      0 to 10; no sign, exponent, leading zero or decimal comma

1. A clause begins with a line, a sentence, a condition's end, or behind a labelled number. A word that is in no table
   makes it the score of something else; so do a heading right above a plain "Score:", and a list that goes on behind
   it with other values. "I rate it" counts where the reply has no other number.
2. What follows a value decides too: a range, another scale, a unit or a word ("8 for lighting") spoils it. "n/10"
   beside something else is that thing's score, and a number in prose is none.
3. Final counts above overall, overall above plain. Names of one rank must agree, unless a correction ("actually", "on
   reflection") stands between the last two. A score that is named but cannot be read makes None.
4. JSON that cannot be decoded makes None; what its strings say is not searched. A reply that was cut off ends with "…",
   and a number right before that has lost its end.

Every pattern is anchored, bounded or possessive: time grows linearly with the reply.
"""

import re
import unicodedata

from editbench.config.schema import ANSWER_START
from editbench.judges.base import CUT_OFF
from editbench.judges.reply_json import BLANK, take_json
from editbench.judges.score_names import ABOUT_EDIT, CORRECTION, TITLES, find_label
from editbench.judges.score_values import first_value, only_value

NEW_NAME = (
    r"(?:so|thus|therefore|hence|因此|所以)? ?(?:(?:the|my) )?"
    r"(?:final|revised|overall|total|最[终終]|[总總総综綜整]|종합|общ|итог)"
)
BREAK = re.compile(
    rf"(?<=[!?;。{BLANK}])(?!\d)|(?<=\.)(?<!e\.g\.)(?= )|\x1f|(?<=,)(?= ?{NEW_NAME}[^,]{{1,30}}\d)", re.I
)
UNREAL = re.compile(r"\b(?:if|unless)\b[^.]*,\Z|(?:如果|若)[^。]*,\Z", re.I)
LABELLED = re.compile(r"([:=|] ?[\d.]{1,6}(?:/10)?[,;]?) +•? ?(?=(?:[^\W\d]{1,15} ){0,3}[^\W\d]{1,15} ?[:=])")
ITEM = re.compile(r"[^\w\n]{0,4}(?:(\d{1,2})[.)] |[-+*•] )")
HEADING = re.compile(r"\W{0,4}(?:\d[.)] |[^\W\d][\w ]{0,40}:(?! ?\d))")
NAMED = re.compile(r"[^\d:=|→]{1,60}(?:[:=|→]| - )")
MARK = re.compile(r"\[\[([^\[\]\n]{1,20})\]\]")

THINK = re.compile(r"<(/?)(think(?:ing)?)>", re.I)
TAG = re.compile(r"```\w*|</?(?:answer|output|response|result|final|p|b|i|br|em|strong|code|s)>|<\|\w{1,20}\|>", re.I)
# Dashes, minus and line ends in one form; a raised or broken digit is none.
_PLAIN: dict[int, str | None] = dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-")
_PLAIN |= dict.fromkeys(map(ord, "²³¹⁰⁴⁵⁶⁷⁸⁹½¼¾"), "^")
_PLAIN |= {0x0D: "\n", 0x1F: " ", 0x200B: None, 0xFEFF: None, ord(BLANK): " "}

Found = tuple[int, float | None, int]
"""Rank of a named score, its value if it can be read, and the number of its clause, -1 for JSON."""


def parse_score(reply: str, title: str | None = None) -> float | None:
    """Return the score a judge's reply states, by the grammar in this module's docstring.

    Args:
        reply: The reply as generated, of any length.
        title: Title of the rubric; None: any of the rubrics in conf/rubric.

    Returns:
        The score, 0.0 to 10.0, or None if the reply is unparsed.
    """
    text = plain_answer(reply)
    try:
        text, named = take_json(text)
    except (ValueError, RecursionError):
        return None
    titles = rf"(?:{re.escape(title) if title else TITLES})(?=(?: score| rating)? ?(?:[:=|]|$))"
    text = LABELLED.sub("\\1\x1f", re.sub(titles, "overall", text, flags=re.I | re.M))
    lines = [line for line in text.split("\n") if re.search(rf"[\w{BLANK}]", line)]
    clauses = [(number, clause) for number, line in enumerate(lines) for clause in BREAK.split(line)]
    found = [(rank, only_value(value) if isinstance(value, str) else None, -1) for rank, value in named]
    found += _labels(lines, clauses, reply.rstrip().endswith(("…", "...")))
    if found:
        return _decide(found, [clause for _, clause in clauses])
    marks = {_marked(clause, mark) for _, clause in clauses for mark in MARK.finditer(clause)}
    if marks:
        return marks.pop() if len(marks) == 1 else None
    return _unlabelled(lines)


def read_score(reply: str, completion: str | None, title: str | None = None) -> float | None:
    """Return the score of a reply, or of what the judge wrote behind its continuation if it was asked for that."""
    return parse_score(reply if completion is None else ANSWER_START + completion, title)


def continuation(reply: str) -> str:
    """Give the judge's own turn up to the number that a reply without a score is lacking."""
    _, unclosed = _thinking(reply)
    end = f"\n</{unclosed}>\n\n" if unclosed else "\n"
    return reply.removesuffix(CUT_OFF).rstrip() + end + ANSWER_START


def plain_answer(reply: str) -> str:
    """Return what follows the thinking, in plain characters, without Markdown; empty if the thinking is unclosed."""
    body = reply.rstrip()
    if body.endswith(("…", "...")):
        body = body.rstrip("….").rstrip("0123456789０１２３４５６７８９./．／")
    start, unclosed = _thinking(body)
    text = "" if unclosed else unicodedata.normalize("NFKC", body[start:].translate(_PLAIN)).replace("〜", "~")
    text = re.sub(r"\\boxed ?\{([^{}\n]{1,20})\}|<score>([^<>\n]{1,20})</score>", r"[[\1\2]]", text)
    text = re.sub(r"<([0-9.]{1,12})>", r"\1", TAG.sub("\n", text))
    text = re.sub(r"^ *\* (?=\S)", "- ", text, flags=re.M)
    text = re.sub(r"(?<!\d)\*+|\*+(?!\d)|`+|\\[()\[\]]|\\text(?:bf)? ?(?=\{)|(?<![^\W_])_+|_+(?![^\W_])", "", text)
    return re.sub(r"(?<=[^\W\d_])_(?=[^\W\d_])", " ", text)


def _thinking(reply: str) -> tuple[int, str]:
    """Return where the last mark of thinking ends, and its name if that mark opens a block."""
    end, unclosed = 0, ""
    for mark in THINK.finditer(reply):
        end, unclosed = mark.end(), "" if mark[1] else mark[2]
    return end, unclosed


def _labels(lines: list[str], clauses: list[tuple[int, str]], cut: bool) -> list[Found]:
    """Find the scores that clauses name; a value on the line below its label stands there alone.

    In a reply that was cut off a plain name counts where it comes first: elsewhere it may be one of several parts.
    """
    found: list[Found] = []
    parts = False
    for place, (number, clause) in enumerate(clauses):
        label = find_label(clause)
        if not label or (place and UNREAL.search(clauses[place - 1][1])):
            continue
        if label.vague and any(re.search(r"\d", other) for at, (_, other) in enumerate(clauses) if at != place):
            continue  # it may be about a part
        line, rest = lines[number], clause[label.end :]
        below = lines[number + 1] if not rest and line.endswith(clause) and number + 1 < len(lines) else ""
        value = only_value(below) if below else first_value(rest)
        if "would" in clause[: label.end] and re.search(r"\d,? but\b", rest):
            continue  # what would be given is not
        if label.rank == 1 and label.by_name:
            item = ITEM.match(line)
            begins = line[item.end() if item else 0 :].startswith(clause.strip()) or line.startswith(clause)
            parts = parts or (cut and place > 0) or (begins and _of_a_part(lines, number))
        listed = value == 1 and any(re.search(r"\b2\.\Z", after) for _, after in clauses[place + 1 : place + 6])
        if (value is not None or (label.closed and BLANK not in below + rest)) and not listed:
            found.append((label.rank, value, place))
    return [one for one in found if one[0] > 1 or not parts]


def _of_a_part(lines: list[str], number: int) -> bool:
    """Whether a line stands below a heading that is not about the whole edit, or within a list that goes on."""
    above = lines[number - 1].strip() if number else "."
    title = len(above) <= 60 and not re.search(r"[.!?。;,]\W*\Z|[:=|(] ?\d", above) and BLANK not in above
    headings = [line for line in lines[max(0, number - 8) : number] if HEADING.match(line)]
    if (title or headings == [lines[number - 1]]) and not ABOUT_EDIT.search(above):
        return True
    behind = [(item, line[item.end() :]) for line in lines[number + 1 : number + 40] if (item := ITEM.match(line))]
    if ITEM.match(lines[number]):  # itself an item, beside others that have values
        others = [line[named.end() :] for _, line in behind if (named := NAMED.match(line)) and not find_label(line)]
        return any(first_value(other) is not None for other in others)
    return next((item[1] for item, _ in behind if item[1]), "1") != "1"


def _decide(found: list[Found], clauses: list[str]) -> float | None:
    """Return the score of the highest rank, None where its names disagree or it was taken back."""
    best = max(rank for rank, _, _ in found)
    top = [one for one in found if one[0] == best]
    _, score, last = top[-1]
    others = [place for _, value, place in top if value != score]
    if others and not any(map(CORRECTION.search, clauses[others[-1] + 1 : last + 1])):
        return None
    behind = clauses[last + 1 :]
    taken_back = any(
        CORRECTION.search(clause) and re.search(r"\d", " ".join(behind[place : place + 2]))
        for place, clause in enumerate(behind)
    )
    return None if taken_back else score


def _marked(clause: str, mark: re.Match[str]) -> float | None:
    """Return the value of a mark, None if it is labelled as the score of something else."""
    before = clause[: mark.start()]
    return None if ":" in before and not ABOUT_EDIT.search(before) else only_value(mark[1])


def _unlabelled(lines: list[str]) -> float | None:
    """Return the value that is the whole reply, or its first or last line while no other line holds a digit."""
    if len(lines) == 1:
        return only_value(lines[0].rstrip(" .。!"))
    with_digits = [number for number, line in enumerate(lines) if re.search(r"\d", line)]
    if with_digits == [0] or (with_digits == [len(lines) - 1] and re.search(r"[.!?。]\W*\Z", lines[-2])):
        return only_value(lines[with_digits[0]])
    return None
