"""The number of a score in a judge's words: 0 to 10, with what may stand around it and what makes it no score."""

import re

from editbench.judges.reply_json import BLANK
from editbench.judges.score_names import EDIT

SUM = re.compile(r"\s*[\d(][\d.() ]{0,40}\+[\d.+()/x×÷* ]{0,120}[=≈]")
NUMBER = re.compile(r"[\s\"'“”$(\[|]{0,12}(10(?:\.0++)?|[0-9](?:\.[0-9]++)?)(?![0-9a-zA-Z^])")
CLOSE = r"[\"'”’)\]}$]{0,4} {0,2}"
POINTS = (
    r"(?:(?:points?|pts|点|점|баллов|puntos|pontos|punti|punkte)(?:です|でした|입니다)?(?!\w)|分(?![钟鐘之数]))?"
    r"(?:です|でした|입니다)?"
)
OUT_OF = r"[(,]? ?(?:/|out of(?: a maximum of)?|sur|von|из|on a scale (?:of|from) [01][.0]{0,4} ?(?:-|to)|满分) ?"
TEN = re.compile(
    rf"{CLOSE}{POINTS}{CLOSE}(?:{OUT_OF}(?:10(?:\.0+)?(?![\w/%]|\.\d)|10[分点]|ten\b))?{CLOSE}{POINTS}{CLOSE}", re.I
)
BECAUSE = rf"(?:because|since|as|due|given|considering|overall|因为|(?:for|to) {EDIT})"
FOLLOWS = re.compile(rf"[^\w%+/°±~^<>?=-]*\Z|[,:;(|{BLANK}]|-+ |{BECAUSE}", re.I)
COUNT = r"[-+]?\d[\d.]*+(?!%| (?:of \d+ )?(?!out|points|stars|for)[a-z]{3})"  # a number that counts no things
LATER = r"(?:(?:but|then|later|now|next|afterwards|finally|rather|perhaps|maybe|possibly) (?:an? )?)"
NEXT_PART = r" ?\([^()\d]{1,40}\)[,;]? ?(?:and |[-+] ?)?\d"  # "8 (light), 6 (shadow)"
LOWERED = (
    r"(?:but .{0,60})?(?:minus|less|deduct\w*|becomes|costs?|lower\w*|reduc\w*)\b[^\n.]{0,20}\d|"
    r"但.{0,20}[应應]\D{0,3}\d"
)
PARTLY = r"(?:baseline|start|neutral|example|at most|original|source|before|[^()\d]{1,20} only)\b"
SPOILED = re.compile(
    rf"\W*(?:(?:to(?! th)|or|and|out|of|max|on a|scale)\b|满分|{LATER}?{COUNT}|{LOWERED}|{PARTLY})|{NEXT_PART}", re.I
)


def first_value(text: str) -> float | None:
    """Return the value that a text begins with, None if there is none or what follows spoils it."""
    start = match.end() if (match := SUM.match(text)) else 0
    number = NUMBER.match(text, start)
    ten = number and TEN.match(text, number.end())
    if not number or not ten or not FOLLOWS.match(text, ten.end()) or SPOILED.match(text, ten.end()):
        return None
    return float(number[1])


def only_value(text: str) -> float | None:
    """Return the value that is all of a text, else None."""
    number = NUMBER.match(text)
    ten = number and TEN.match(text, number.end())
    return float(number[1]) if number and ten and re.fullmatch(r"[\s|]*", text[ten.end() :]) else None
