"""What judges call the score of a whole edit, in the languages they write, as parts of regular expressions."""

import re

TITLES = (
    "physical and geometric consistency|environment and lighting realism|causal and temporal logic|"
    "target attribution and referential reasoning|social and cultural appropriateness"
)
"""Titles of the rubrics in conf/rubric."""

FINAL = r"(?:final|revised|corrected|adjusted|updated|最[终終](?:综合|綜合)?|최종|итогов\w{1,3})"
WHOLE = r"(?:overall|total|global|aggregate|combined|[总總総][体體合评]?|整[体體]|[综綜]合|종합|총|общ\w{1,3}|gesamt)"
MEAN = r"(?:average|mean|平均分?|평균|средн\w{1,3})"
WORD = (
    r"(?:score|rating|grade|[评評得打][分點点]|[总總総][分点]|分[数數值]|スコア|評価|点数|點數|점수|평점|점|puntuación|"
    r"calificación|puntaje|pontuação|avaliação|punteggio|bewertung|punktzahl|оценка|балл|ocena|puan|skor|nilai|"
    r"điểm(?: số)?|التقييم|الدرجة|not[ae](?= (?:final|glob|total)))"
)
NAME = (
    rf"(?:(?:{FINAL}|{WHOLE}|{MEAN})的?[ _-]{{0,2}}){{0,3}}{WORD}"
    r"(?: (?:finale?|totale?|globale?|overall|general|genel|końcowa|النهائية))?"
)
HINT = (
    rf"(?:(?:{FINAL} )?(?:answer|verdict|result)|{FINAL}|overall(?: quality)?|{MEAN}|total(?=: ?[\d.]{{1,6}} ?/)|"
    r"(?:[总總総][体體合]|整[体體]|[综綜]合)(?:评价)?|结论)"
)
"""Names that are no score by themselves; they count where a value follows."""

EDIT = (
    r"(?:this|the|an?|my)(?: (?!source|original|first|input|reference)\w{1,12})? "
    r"(?:edit|image|result|picture|photo(?:graph)?)\b"
)
SAID = (
    rf"(?:(?:i|we)(?:['’](?:d|ll)| would| will)? (?:give|rate|score|award|assign|grade)(?: {EDIT})?|"
    rf"{EDIT} (?:deserves|earns|gets|scores|receives|merits|is rated)|"
    rf"我?会?[给給]出?(?:[这這该該此本][^\s\d,]{{0,8}})?[打评評]?出?)(?:,? (?:as|with|at))?(?: an?)?(?: {NAME} of)?"
)
"""A verdict in words, up to its number."""

LEAD = (
    r"(?:(?:the|my|so|thus|therefore|hence|and|then|overall|finally|actually|on reflection|correction|"
    r"i (?:think|believe)|in total|in (?:summary|conclusion)|(?:final )?(?:answer|verdict|evaluation|assessment)(?=:)|"
    r"因此|所以|我的|故|综上|总之)[,: ]*)"
)
"""What may stand before a name without making it the score of something else."""

ABOUT_EDIT = re.compile(
    r"edit|image|evaluat|assess|result|answer|verdict|overall|final|conclu|judg|summary|reason|analysis|score|[评評结總总]",
    re.I,
)
"""What a heading says that is about the whole edit and its judgment, not about a part."""

CORRECTION = re.compile(
    r"\b(?:actually|wait|hmm|correct(?:ion|ed)|on reflection|reconsider\w*|revis\w+|becomes|too (?:high|low|"
    r"generous|harsh)|(?:i|we)(?:['’]ll| would| will)? (?:lower|reduce|change|deduct))\b|"
    r"\A[^\w+]*(?:deduct\w*|minus|less|\+) ?\d|\bno, \d|更正|修正|重新|[应應][为為该該]|改[为為]|扣",
    re.I,
)
"""What takes an earlier score back."""


def rank(name: str) -> int:
    """Rank of a name: 3 a final score, 2 an overall one, 1 a plain one."""
    return 3 if re.search(FINAL, name, re.I) else 2 if re.search(WHOLE, name, re.I) else 1
