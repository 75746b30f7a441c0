"""The words with which judges name the score of a whole edit, in the languages they write.

What stands before a number names its score only if every word of it is in these tables. So "lighting" makes it the
score of something else without being listed anywhere.
"""

import re
from typing import NamedTuple

TITLES = (
    "physical and geometric consistency|environment and lighting realism|causal and temporal logic|"
    "target attribution and referential reasoning|social and cultural appropriateness"
)
"""Titles of the rubrics in conf/rubric."""

_PICTURE = r"(?:edit|image|result|picture|photo(?:graph)?)"
EDIT = rf"(?:(?:this|the|an?|my) (?:(?!source|original|first|input|reference)\w{{1,12}} )?{_PICTURE})"
_ARTICLE = r"(?:(?-i:an?)(?= [\w\"'(\[])|(?<!\w )an?(?= (?:[a-z]+ )?(?:score|rating|grade) of\b))"
"""Not the letter that names one of several: "Score A", "Edit A score"."""
_RATE = r"(?:i|we)(?:['’](?:d|ll)| would| will)? (?:give|rate|score|award|assign|grade|say)"
_GETS = r"(?:deserves|earns|gets|scores|receives|merits|is rated)"
_WORDS = {
    "said": rf"{_RATE} {EDIT}|{EDIT} {_GETS}|我?会?[给給]出?(?:[这這该該此本][^\s\d,]{{0,8}})?[打评評]?出?(?=[ \d])",
    "vague": rf"{_RATE}(?: it| this)?|(?:it|this) {_GETS}",
    "hint": r"(?:average|mean)(?: of (?:the|all) five)?|средн\w{1,3}|平均分?|평균|answer|verdict|result|结论|评价|"
    r"(?:final|my) assessment|overall (?:assessment|evaluation|judg?ment)",
    "name": r"score|rating|grade|[评評得打总總総採][分点點](?!析|钟)|分[数數值]|スコア|評価|点数|點數|점수|"
    r"평점|puntuación|calificación|puntaje|pontuação|avaliação|punteggio|"
    r"(?:gesamt)?bewertung|valutazione|(?:gesamt)?punktzahl|оценка|балл|"
    r"ocena|puan|skor|nilai|điểm(?: số)?|التقييم|الدرجة|not[ae](?= (?:final|glob|total))|"
    r"(?:nota|(?:ma|la) note)(?= ?:\W{0,3}\d[\d.]{0,6}(?: ?/ ?10)?\W{0,3}\Z)",
    "final": r"finale?|revised|corrected|adjusted|updated|最[终終](?:综合|綜合)?|최종|último|итогов\w{1,3}|итог|"
    r"końcowa|النهائية",
    "edit": EDIT,
    "whole": r"overall(?: quality)?|totale?|globale?|aggregate|combined|[总總総][体體合評评]?|整[体體]|[综綜]合|종합|"
    r"총|gesamt|general|genel|общ\w{1,3}",
    "is": r"is|est|es|é|ist|为|為|是|は|が|은|는",
    "": rf"(?:for|of) (?:{EDIT}|la edición|la imagen)|(?:edited|whole|entire) {_PICTURE}|edit|the|{_ARTICLE}|my|la|die|"
    r"of|as|with|at|so|thus|therefore|hence|and|then|finally|actually|on reflection|correction|i (?:think|believe)|"
    r"in total|in (?:summary|conclusion)|(?:evaluation|assessment)(?=:)|"
    r"on a scale (?:of|from) [01] to 10(?=,)|この(?:編集|画像)の|因此|所以|我的|故|综上|总之|的|结果",
}
"""Words by what they tell. A kind comes before those whose words it contains."""

_SCALE = (
    r"\([^()]{0,30}(?<![\d.])10(?:\.0+)?(?![\d.%])[^()\d]{0,20}\)(?=\W*[^\W\d]|\W*[:=|]|\W*\Z)|"
    r"\[[01](?:\.0+)?[^\[\]\d.]{1,6}10(?:\.0+)?\](?=\W*[:=|])|\((?:mean|average) of [\d., ]{3,40}\)(?=\W*[:=|])|"
    r"(?:out of |/ ?)10\b"
)
_SPACE = r"[\s\"'“”‘’()\[\]【】{}$#•·,]|[:=|→]|(?<=[^\W\d][ )])-+>? |(?<=[^\W\d])-+>? "
_LETTER = "[a-zß-ɏЀ-ӿḀ-ỿ]"  # of a script with spaces between words
_TOKEN = re.compile(
    "|".join(f"(?P<{kind or 'filler'}>(?<!{_LETTER})(?:{words})(?!{_LETTER}))" for kind, words in _WORDS.items())
    + f"|(?P<scale>{_SCALE})|(?P<space>{_SPACE})",
    re.I,
)
_BEGIN = re.compile(r"[^\w(\ufffc+~-]*(?:[-+] )?")
_OF_TEN = re.compile(r"[\d.]{1,6} ?(?:/|out of|von|из) ?10")
_SEPARATOR = re.compile(r"[:=|→\]】]|->? ")

ABOUT_EDIT = re.compile(
    r"edit|image|evaluat|assess|result|answer|verdict|overall|final|conclu|judg|summary|reason|analysis|score|[評评結总總]",
    re.I,
)
"""What a heading says that is about the whole edit and its judgment, not about a part."""

EDIT_ALONE = re.compile(rf"\W{{0,4}}(?:the )?(?:(?:edited|whole|entire) )?{_PICTURE}\W{{0,3}}[:=|]", re.I)
"""What is no name of a score by itself, but contradicts one that has another value."""

CORRECTION = re.compile(
    r"\b(?:actually|wait|hmm|correct(?:ion|ed)|on reflection|reconsider\w*|revis\w+|becomes|too (?:high|low|"
    r"generous|harsh)|(?:i|we)(?:['’]ll| would| will)? (?:lower|reduce|change|deduct))\b|"
    r"\A[^\w+]*(?:deduct\w*|minus|less|\+) ?\d|\bno, \d|更正|修正|重新|[应應][为為该該]|改[为為]|扣",
    re.I,
)
"""What takes an earlier score back."""


class Label(NamedTuple):
    """What a text names as the score of the whole edit.

    Attributes:
        end: Where its value begins.
        rank: 3 a final score, 2 an overall one, 1 a plain one.
        by_name: Whether it is called a score, and not only "overall" or "I give it".
        closed: Whether a colon or the like closes that name, so that what follows must be its value.
        vague: Whether it does not say of what ("I give it"), so that it counts in a reply without other numbers alone.
    """

    end: int
    rank: int
    by_name: bool
    closed: bool
    vague: bool


def find_label(text: str) -> Label | None:
    """Read the label that a text begins with; None if it begins with the name of something else, or with none."""
    begin = _BEGIN.match(text)
    start = at = begin.end() if begin else 0
    kinds: dict[str, int] = {}  # of the words, with the end of the last of each kind, in the order of their ends
    while token := _TOKEN.match(text, at):
        kind, at = token.lastgroup or "", token.end()
        if kind not in ("filler", "space", "scale"):
            kinds.pop(kind, None)
            kinds[kind] = at
    before, last = text[start:at], next(reversed(kinds), "")
    behind = text[kinds.get(last, at) : at]
    of_ten = bool(_OF_TEN.match(text, at))
    separated = of_ten or at == len(text) or last == "is" or bool(_SEPARATOR.search(behind))
    if re.search(r"\btotale?\b", before, re.I) and not of_ten and "name" not in kinds:
        return None  # the sum of something
    named = separated and not kinds.keys().isdisjoint(("name", "hint", "final", "whole"))
    picture = last == "edit" and bool(re.search("[-:]", behind))
    said = "said" in kinds or "vague" in kinds
    if not (named or picture or said):
        return None
    closed = "name" in kinds and bool(re.search("[:=]", text[kinds["name"] : at]))
    overall = "whole" in kinds or re.search("[总總総]|gesamt", before, re.I)
    rank = 3 if "final" in kinds else 2 if overall else 1
    vague = "vague" in kinds and not named and not re.search(EDIT, text)
    return Label(at, rank, "name" in kinds, closed, vague)
