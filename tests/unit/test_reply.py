"""How judges' replies are read: a corpus of forms with the wanted reading, hostile replies, and properties."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editbench.config.load import load
from editbench.judges.base import CUT_OFF
from editbench.judges.reply import continuation, parse_score, read_score
from editbench.judges.score_names import TITLES

CORPUS = json.loads(Path(__file__).with_name("replies.json").read_text(encoding="utf-8"))

HOSTILE = {
    "labels": "Score: " * 20000,
    "labelled": "Score: 8 " * 12000,
    "names": "score " * 20000,
    "name and spaces": "score" + " " * 100_000,
    "label and spaces": "Score:" + " " * 100_000 + "8",
    "label and stars": "Score" + "*" * 100_000 + ": 8",
    "open scales": "Score (" * 15000,
    "dots and names": "....,,,, " * 8000 + "score: 12",
    "dots, name, dots": (". " * 29 + "score:") * 1600,
    "digits": "9" * 100_000,
    "decimals": "8." + "9" * 100_000 + "x",
    "many decimals": ("Score: 8." + "9" * 300 + "x\n") * 320,
    "numbers": "8.5 " * 25000,
    "tenths": "8/10 " * 20000,
    "criteria": "Gravity: 8/10 " * 7000,
    "slashes": "8/" * 50000,
    "dashes": "8" + "-" * 100_000,
    "braces": "{" * 100_000,
    "objects": '{"a":' * 20000,
    "lists": "[{" * 50000,
    "quoted braces": '{"' * 50000,
    "spaced braces": "{ " * 50000,
    "small objects": '{"score":8}' * 9000,
    "long integer": '{"score": ' + "9" * 100_000 + "}",
    "think": "<think>" * 14000,
    "angles": "<" * 100_000,
    "newlines": "\n" * 100_000 + "score",
    "prose": "The light is right and the shadow falls as it should; " * 2000,
    "clauses": "Score. " * 14000,
    "sums": "Score: (8+8" * 9000,
    "plus": "Score: " + "8+" * 50000 + " = 8",
    "headings": "Gravity\nScore: 8\n" * 6000,
    "numbered": "1. Gravity\nScore: 8\n2. Depth\n" * 3000,
    "corrections": "Score: 8. Actually, " * 5000,
    "verdicts": "I give this edit " * 6000,
    "commas": ", so the final score" * 5000,
    "marks": "[[8]] " * 16000,
    "open marks": "[[" * 50000,
    "stars between digits": "8" + "*" * 100_000 + "8",
    "rows": "| Score | 8 |\n" * 7000,
    "python quotes": "{'score': '" + "a' " * 30000,
    "python objects": "{'score': 8}" * 8000,
    "escapes": "{'score': \"" + '\\"' * 50000,
    "trailing commas": '{"score": 8' + "," * 50000,
    "tags": "<score>" * 14000,
    "boxed": "\\boxed{" * 12000,
}


@pytest.mark.parametrize("kind", CORPUS)
def test_every_form_is_read_as_a_careful_person_reads_it(kind):
    read = {reply: parse_score(reply) for reply, _ in CORPUS[kind]}
    assert read == dict(CORPUS[kind])


def test_the_corpus_has_as_many_forms_to_refuse_as_to_read():
    wanted = [score for forms in CORPUS.values() for _, score in forms]
    assert len(wanted) >= 850 and 0.4 < wanted.count(None) / len(wanted) < 0.6


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_reply_of_100_kb_is_no_problem(name):
    # A pattern of quadratic time would take minutes here.
    assert parse_score(HOSTILE[name]) in (None, 8.0)


def test_score_after_long_reasoning():
    prose = "The light is right and the shadow of object 3 falls as it should. " * 1500
    assert parse_score(prose + "\nScore: 8.125") == 8.125
    assert parse_score(f"<think>{prose}Score: 2</think>8.125") == 8.125


def test_the_title_of_any_rubric_names_its_score():
    shipped = [rubric.title for rubric in load(["dataset=json_file"]).rubrics.values()]
    assert sorted(TITLES.split("|")) == sorted(title.lower() for title in shipped)
    for title in [*shipped, "Fidelity (style)"]:
        for form in ("{} score: 7.4", "**{} Score:** 7.4/10", "{}: 7.4", "## {}\nScore: 7.4"):
            assert parse_score(form.format(title), title) == 7.4
    assert parse_score("Fidelity score: 7.4") is None
    assert parse_score("Poor fidelity: 3", "Fidelity") is None


@pytest.mark.parametrize(
    ("reply", "begun"),
    [
        ("I see a cup.", "I see a cup.\nScore: "),
        ("I see a c" + CUT_OFF, "I see a c\nScore: "),
        ("", "\nScore: "),
        ("<think>\nLet me s" + CUT_OFF, "<think>\nLet me s\n</think>\n\nScore: "),
        ("<think>a</think>\nno idea", "<think>a</think>\nno idea\nScore: "),
        ("<thinking>hm", "<thinking>hm\n</thinking>\n\nScore: "),
    ],
)
def test_a_reply_goes_on_behind_the_label_and_out_of_its_thinking(reply, begun):
    assert continuation(reply) == begun


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("7.250", 7.25),
        ("7.250\n", 7.25),
        ("7.250/10", 7.25),
        ("7.5 because the li" + CUT_OFF, 7.5),
        ("7.2" + CUT_OFF, None),
        ("7 to 8", None),
        ("", None),
        ("high", None),
        ("11", None),
        ("8 for light, 6 for shadow", None),
    ],
)
def test_a_completion_is_read_as_what_follows_the_label(completion, score):
    assert read_score("Score: 3? I cannot say.", completion) == score


def test_what_completes_a_reply_decides_and_not_the_reply():
    assert read_score("Score: 3", None) == 3.0
    assert read_score("Score: 3", "4") == 4.0


FORMS = [
    "Score: {}",
    "**Score:** {}",
    "Score: **{}**",
    "Final score: {}",
    "Overall score: {}.",
    "The score is {}",
    "Score (0-10): {}",
    "Score: {}/10",
    "评分：{}",
    "最终得分：{}分",
    "{}/10",
    "{} out of 10",
    '{{"score": {}}}',
    "{{'score': {}, 'reason': 'fine'}}",
    '{{"score": "{}", "reason": "2 lapses, 4/10"}}',
    "\\boxed{{{}}}",
    "[[{}]]",
    "<score>{}</score>",
    "{}",
    "**{}**",
    "```\n{}\n```",
    "<think>4 or 5?</think>{}",
]
thousandths = st.integers(0, 10_000)
prose = st.text(st.characters(categories=["L", "P", "Z"], exclude_characters="<{["), max_size=80)
ENDS = ["\n\n", ". ", "! ", "。"]


@pytest.mark.parametrize("form", FORMS)
@given(thousandths)
def test_every_score_in_every_form_is_read_back(form, thousandth):
    score = thousandth / 1000
    assert parse_score(form.format(f"{score:.3f}")) == score
    assert parse_score(form.format(f"{score:g}")) == pytest.approx(score, abs=1e-9) or score < 1e-4


@pytest.mark.parametrize("form", FORMS)
@given(st.floats(10.001, 1e9) | st.floats(-1e9, -0.001))
def test_no_number_out_of_range_is_a_score(form, number):
    assert parse_score(form.format(f"{number:.3f}")) is None


@given(prose, st.sampled_from(ENDS), thousandths)
def test_prose_before_a_final_score_never_makes_another_of_it(before, end, thousandth):
    score = thousandth / 1000
    assert parse_score(f"{before}{end}Final score: {score:.3f}") in (score, None)
    assert parse_score(f"The light is right{end}Final score: {score:.3f}") == score


@given(prose, thousandths)
def test_prose_on_later_lines_never_makes_another_of_it(after, thousandth):
    assert parse_score(f"Score: {thousandth / 1000:.3f}\n{after}") in (thousandth / 1000, None)


@given(prose)
def test_prose_without_a_number_is_no_score(text):
    assert parse_score(text) is None


@given(thousandths, thousandths)
def test_a_range_is_never_a_score(low, high):
    for reply in ("{}-{}", "Score: {} - {}", "Score: {} to {}", "{}~{}/10", "between {} and {}", "评分：{}到{}"):
        assert parse_score(reply.format(low / 1000, high / 1000)) is None


@given(st.lists(st.sampled_from(["Light", "Shadow", "Gravity", "光线"]), min_size=1, max_size=4), st.data())
def test_scores_of_parts_are_never_the_score(parts, data):
    form = data.draw(
        st.sampled_from(["{}: {}", "{} score: {}", "- {}: {}/10", "{} ({}/10)", "{}\nScore: {}", "{} - {}/10"])
    )
    lines = [form.format(part, data.draw(thousandths) / 1000) for part in parts]
    assert parse_score("\n".join(lines)) is None


PIECES = [
    "Score",
    "score:",
    "Final ",
    "overall",
    "评分",
    "：",
    ":",
    " ",
    "\n",
    "8",
    "8.5",
    "10",
    "11",
    "2024",
    "/10",
    "/",
]
PIECES += [
    "-",
    ".",
    ",",
    "**",
    "(",
    ")",
    "{",
    "}",
    '"',
    "'",
    '{"score": ',
    "{'score': ",
    "[",
    "]",
    "[[",
    "]]",
    "\\boxed{",
]
PIECES += ["<think>", "</think>", "<score>", "</score>", "to", "out of 10", "%", "分", "NaN", "1e3", "|", "=", "+", "…"]


@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_any_text_gives_none_or_a_score_in_range(reply):
    score = parse_score(reply)
    assert score is None or (math.isfinite(score) and 0 <= score <= 10)
