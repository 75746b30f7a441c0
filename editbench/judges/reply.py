r"""Read the score out of a judge's free-text reply; what is no clear score is None, never a default.

    reply    = [ thinking "</think>" ] answer        only the answer counts; an unclosed "<think>" has none
    answer   = text with labelled scores | text with one bare score
    labelled = label value | json | number ten       the LAST one decides, even if its value is invalid
    label    = name [ "(" scale to 10 ")" ] ( ":" | "=" | "is" | "为" | "是" )
    name     = { final | overall | total | average | mean } ( score | rating )
             | [ 最终 | 总体 | 整体 | 综合 | 平均 | 总 ] [ 的 ] ( 评分 | 得分 | 分数 | 打分 | 总分 )
    value    = number [ ten ]
    number   = 0 to 10, ASCII or full-width, "." before decimals; no sign, exponent or leading zero
    ten      = [ points | 分 ] ( "/" | "out of" ) "10"
    json     = object with a name among its own keys; the value is a value, as number or string

Rules
1. Letter case, Markdown marks, quotes, code fences and tags (<answer>) do not matter.
2. A name starts a line, or follows punctuation, another labelled number, or one of "the, my, so, thus,
   therefore, hence, and". Any other word before it makes it the score of something else ("Gravity score: 7"),
   no final score. For the same reason "7/10" after another label ("Gravity: 7/10") does not count.
3. A label with ":" or "=" but no valid value is invalid ("Score: N/A", "Score: 12"). With "is", 为 or 是 it
   is a label only if a number follows. A value on a line below its label stands there alone.
4. A value is invalid if another number is joined to it (range, date, time, size, version, fraction, sum,
   decimal comma: "8-9", "8 to 9", "8,5", "5 + 3"), or a letter, a unit or another scale ("8th", "85%", "4/5",
   "4 stars", "3 out of 5"). Other text may follow.
5. JSON: the last name among the keys of the outermost object decides; what is nested in it is not searched.
   Truncated or malformed JSON makes the whole reply unparsed. A list of objects holds no score.
6. A bare score is the only number of a reply without labels and JSON. It ends the reply, stands alone on its
   line, or is followed by "because" or "since"; it has no other label, sign or list marker; and the reply
   does not speak of the neutral starting point ("each criterion starts at neutral 5" is no score).

7. A reply that was cut off ends with "…"; a number right before it has lost its end and is no value.

Every pattern is bounded or possessive, so time grows linearly with the reply.
"""

import json
import re

_QUALIFIER = r"(?:final|overall|total|average|mean)[ _-]{0,3}"
_NAME = (
    rf"(?:(?:{_QUALIFIER}){{0,3}}(?:score|rating)"
    r"|(?:(?:最终|总体|整体|综合|平均|总)的?)?(?:评分|得分|分数|打分|总分))"
)
_MARKS = r"""[ \t*_`"'“”]{0,8}"""
_GAP = r"""[\s*_`"'“”(\[]{0,16}"""
_SCALE = r"(?:\((?:[^()\n]{0,30}(?<!\d)10(?:\.0+)?(?![\d.]))?[^()\n\d]{0,30}\)|out of 10)"
_NUMBER = r"(?P<number>10(?:\.0++)?|[0-9](?:\.[0-9]++)?)"
_POINTS = r"(?:分|[ \t]?points?)?"
_CLOSE = r"""[*_`"'”)\]}]{0,4}[ \t]{0,4}"""
_TEN = rf"(?:{_CLOSE}{_POINTS}{_CLOSE}\(?(?:/|out of)[ \t]{{0,4}}10(?:\.0+)?分?(?![^\W_]|[/%]|\.\d))"
# What must not follow a number (rule 4): a letter, a unit, a joined number, another scale.
_SPOILER = "|".join(
    [
        r"(?!分(?!钟|之))[^\W_]|\+",
        rf"{_CLOSE}(?:[/%‰°±]|percent|stars?\b|px\b|pixels?\b|[ap]\.?m\b|or\b)",
        rf"{_POINTS}{_CLOSE}(?:[-~.,:/x\u00d7*+=<>→^。]{{0,3}}|to|and|\(?(?:out )?of|[到至或])"
        r"[ \t]{0,4}[-+]?\d",
        rf"{_POINTS}[^\w\n]{{0,4}}(?:on a )?(?:scale|满分)[^\d\n]{{0,12}}"
        r"(?:[01](?:\.0+)?[ \t]?(?:-|to|~)[ \t]?)?+(?!10(?!\d))\d",
    ]
)

LABEL = re.compile(
    rf"(?<![A-Za-z0-9_]){_NAME}{_MARKS}{_SCALE}?{_MARKS}(?:[:=]|(?:is:?|为|是)(?={_GAP}[-+.]?\d)){_GAP}", re.I
)
VALUE = re.compile(rf"{_NUMBER}(?P<ten>{_TEN})?(?!{_SPOILER})", re.I)
TENTHS = re.compile(rf"(?<![\d.])\d[\d.,]{{0,20}}+{_TEN}", re.I)
KEY = re.compile(_NAME, re.I)
JSON_START = re.compile(r"""\{\s*["']|\[\s*\{""")
THINK = re.compile(r"<(/?)think(?:ing)?>", re.I)
TAG = re.compile(r"<[/|]?[A-Za-z_]{1,20}\|?>")
ANGLED_NUMBER = re.compile(r"<([0-9.]{1,12})>")
NEUTRAL = re.compile(r"neutral|中性|中立", re.I)
LINE_END = re.compile(rf"{_POINTS}[^\w\n]*(?:\n|\Z)", re.I)
OWN_LINE = re.compile(rf"""{_POINTS}[ \t*_`"'”]*\n""", re.I)
REPLY_END = re.compile(rf"{_POINTS}[\W_]*(?:\Z|because\b|since\b|因为)", re.I)
# What may stand before a name (rule 2), matched against the end of the text before it.
LEAD_IN = re.compile(
    r"(?:\n[^\w\n]*\d{0,2}[\W_]*|[.!?,;。！？；、\ufffc][\W_]*|[:=][\s*]*[0-9.]{1,8}(?:/10)?[\s*]*"
    r"|(?<![^\W_])(?<!of )(?<!for )(?:the|my|so|thus|therefore|hence|and|因此|所以|我的)[ \t]*)\Z",
    re.I,
)
# What makes the number after it negative, approximate, an ordinal, part of a word or the end of a range.
BAD_HEAD = re.compile(
    r"(?:[^\W_\u4e00-\u9fff]_*|第|[-+~≈<>/.,^#$]|\d[ \t]*(?:[-~]{1,3}|to|or|and|到|至|或)[ \t]*)\Z", re.I
)
OTHER_LABEL = re.compile(r"[:=]|\b(?:score|rating)[ \t]+is\b|(?:评分|得分|打分|分数)[为是]", re.I)
WHOLE_EDIT = re.compile(
    r"(?<![A-Za-z])(?:overall|final|total|answer|verdict|result|grade|总体|综合|结论)[\W_]*\Z", re.I
)
SENTENCE_END = re.compile(r"[\n!?;。！？；]|\.(?!\d)")

# Full-width and typographic characters that mean the same as an ASCII one.
_PLAIN = (
    {ord(c) + 0xFEE0: c for c in "0123456789:./(),%-+~=*"}
    | dict.fromkeys([*range(0x2010, 0x2016), 0x2212], "-")
    | {0x301C: "~", 0x3000: " ", 0xA0: " ", 0x0D: "\n", 0x200B: None, 0xFEFF: None}
)
# Numbers stay text, so that JSON scores obey the same grammar ("8e0", NaN and -3 are no values).
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str, strict=False)


def parse_score(reply: str) -> float | None:
    """Return the score a judge's reply states, by the grammar in this module's docstring.

    Args:
        reply: The reply as generated, of any length.

    Returns:
        The score, 0.0 to 10.0, or None if the reply is unparsed.
    """
    text = _answer(_without_cut_number(reply))
    decoded = _cut_json(text) if text is not None else None
    if decoded is None:
        return None
    text, has_json, found = decoded
    for match in LABEL.finditer(text):
        if LEAD_IN.search(_before(text, match.start(), 60)):
            found.append((match.start(), _labelled_value(text, match)))
    for match in TENTHS.finditer(text):
        if not _has_other_label(text, match.start()):
            found.append((match.start(), _value(text, match.start())))
    if found:
        return max(found, key=lambda item: item[0])[1]
    return None if has_json else _bare_score(text)


def _without_cut_number(reply: str) -> str:
    """Drop a number that the end of a cut-off reply ("…") touches: its last digits are missing."""
    body = reply.rstrip()
    if not body.endswith(("…", "...")):
        return reply
    return body.rstrip("….").rstrip("0123456789０１２３４５６７８９./．／")


def _answer(reply: str) -> str | None:
    """Return what follows the thinking, in plain characters, without tags; None if thinking is unclosed."""
    start = 0
    closed = True
    for match in THINK.finditer(reply):
        start, closed = match.end(), match[1] == "/"
    if not closed:
        return None
    return ANGLED_NUMBER.sub(r"\1", TAG.sub("\n", reply[start:].translate(_PLAIN)))


def _cut_json(text: str) -> tuple[str, bool, list[tuple[int, float | None]]] | None:
    """Blank out the JSON in a text and read its scores.

    Returns:
        The text of the same length, whether it held JSON, and (position, score) of each object with a score;
        None if there is JSON that cannot be decoded.
    """
    parts: list[str] = []
    found: list[tuple[int, float | None]] = []
    end = 0
    while match := JSON_START.search(text, end):
        start = match.start()
        try:
            value, stop = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            return None
        keys = [key for key in value if KEY.fullmatch(key.strip())] if isinstance(value, dict) else []
        if keys:
            stated = value[keys[-1]]
            found.append((start, _value(stated.strip(), 0, whole=True) if isinstance(stated, str) else None))
        parts += [text[end:start], "\ufffc" * (stop - start)]
        end = stop
    return "".join([*parts, text[end:]]), end > 0, found


def _labelled_value(text: str, label: re.Match[str]) -> float | None:
    """Return the value right after a label, None if there is no valid one."""
    value = VALUE.match(text, label.end())
    if value and "\n" in label[0] and not LINE_END.match(text, value.end()):
        return None
    return float(value["number"]) if value else None


def _value(text: str, start: int, whole: bool = False) -> float | None:
    """Return the value that starts at a position (`whole`: and is all of the text), None if it is invalid."""
    value = VALUE.match(text, start)
    if not value or (whole and value.end() < len(text)) or BAD_HEAD.search(_before(text, start, 20)):
        return None
    return float(value["number"])


def _bare_score(text: str) -> float | None:
    """Return the only number of a text if it is a score by rule 6."""
    numbers = re.findall(r"\d+", text)
    match = re.search(r"\d", text)
    if not match or len(numbers) > 2 or NEUTRAL.search(text) or _has_other_label(text, match.start()):
        return None
    value = VALUE.match(text, match.start())
    if not value or len(numbers) != 1 + ("." in value["number"]):
        return None
    on_own_line = not re.search(r"[^\W_]", _before(text, match.start(), 200).rpartition("\n")[2])
    ends = REPLY_END.match(text, value.end()) or (on_own_line and OWN_LINE.match(text, value.end()))
    return _value(text, match.start()) if ends else None


def _has_other_label(text: str, start: int) -> bool:
    """Tell whether a number's sentence labels it as something else than the whole edit ("Gravity: 7")."""
    sentence = SENTENCE_END.split(_before(text, start, 200))[-1]
    labels = list(OTHER_LABEL.finditer(sentence))
    return bool(labels) and not WHOLE_EDIT.search(sentence[: labels[-1].start()])


def _before(text: str, end: int, size: int) -> str:
    """Return up to `size` characters before a position; a newline marks the start of the text."""
    return text[end - size : end] if end >= size else "\n" + text[:end]
