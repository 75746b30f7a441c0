"""The grammar of judges' replies: hand-computed replies, hostile ones, and properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editbench.judges.reply import parse_score

SCORES = [
    # Forms of the specification.
    ("Score: 8.500", 8.5),
    ("8.500", 8.5),
    ("8", 8.0),
    ("8.5/10", 8.5),
    ("评分：8.5", 8.5),
    ('{"score": 8.5}', 8.5),
    ("Score: 0.000", 0.0),
    ("Score: 10.000", 10.0),
    ("0", 0.0),
    ("10", 10.0),
    ("  7.250\n", 7.25),
    # Labels: case, marks, spaces, width.
    ("score:8.5", 8.5),
    ("SCORE = 8.5", 8.5),
    ("Score : 8.5", 8.5),
    ("**Score:** 8.5", 8.5),
    ("**Score: 8.5**", 8.5),
    ("**Score**: 8.5", 8.5),
    ("Score: **8.5**/10", 8.5),
    ("### Score: `8.5`", 8.5),
    ("- Score: 8.5", 8.5),
    ("> *Final Score:* __8.5__", 8.5),
    ("✅ Score: 8.5", 8.5),
    ("6. Score: 7.5", 7.5),
    ("```\nScore: 8.5\n```", 8.5),
    ("<answer>Score: 8.5</answer>", 8.5),
    ("Score: <8.500>", 8.5),
    ("Score: [8.5]", 8.5),
    ('"Score: 8.5"', 8.5),
    ("Ｓｃｏｒｅ 8.5\n\nScore：８．５", 8.5),
    ("评分：８．５／１０", 8.5),
    ("Score:\u00a08.5", 8.5),
    ("\ufeffScore: 8.5\r\n", 8.5),
    ("Score:\n8.5", 8.5),
    ("**Score:**\n\n**8.500**\n\nThe light is right.", 8.5),
    ("Final score: 8.5", 8.5),
    ("Overall Score: 8.5", 8.5),
    ("Final overall score: 8.5", 8.5),
    ("final_score: 8.5", 8.5),
    ("Average score: 7.6", 7.6),
    ("Rating: 8", 8.0),
    ("The score is 8.5", 8.5),
    ("I think the score is 8.5 here, mostly.", 8.5),
    ("So the final score is: **8.5**.", 8.5),
    ("Therefore, the overall score is 8.", 8.0),
    ("最终评分：8.5分", 8.5),
    ("得分：7", 7.0),
    ("分数: 6.25", 6.25),
    ("综合得分为8.5分。", 8.5),
    ("光线自然，因此最终评分是8.5", 8.5),
    ("我的评分：9", 9.0),
    ("评分（0-10）：8.5", 8.5),
    ("评分（10分制）：8.5", 8.5),
    # Scales to ten.
    ("Score (0-10): 8.5", 8.5),
    ("**Score (0.000–10.000):** 8.5", 8.5),
    ("Score (out of 10): 8.5", 8.5),
    ("Score out of 10: 8.5", 8.5),
    ("Score: 8.5 (out of 10)", 8.5),
    ("Score: 8.5/10", 8.5),
    ("Score: 8.5 / 10.0", 8.5),
    ("Score: 8.5 points out of 10", 8.5),
    ("Score: 8.5 on a scale from 0 to 10.", 8.5),
    ("评分：8.5分（满分10分）", 8.5),
    ("8.5分/10分", 8.5),
    ("I would give 10 out of 10", 10.0),
    ("I'd give this edit 7.5/10 because the shadow fits.", 7.5),
    ("A good edit - 8/10", 8.0),
    ("Overall: 8/10", 8.0),
    ("**Verdict:** 8/10", 8.0),
    # Text after the value.
    ("Score: 8.5. The light is right.", 8.5),
    ("Score: 8.5 - the light is right", 8.5),
    ("Score: 8.5, shadows agree.", 8.5),
    ("Score: 8.5 (one shadow is too soft)", 8.5),
    ("Score: 8.5\n\n1. Gravity holds.\n2. Shadows hold.", 8.5),
    ("Score: 8.5 points", 8.5),
    # The last label decides; criteria and bare numbers do not.
    ("Score: 7\nOn reflection the shadow is wrong.\nFinal score: 8", 8.0),
    ("Score: 7\nScore: 6", 6.0),
    ("Score: 8.5 Score: 9.0", 9.0),
    ("Score: 7. Actually, 8/10.", 8.0),
    ("Gravity: 7, Occlusion: 8, Scale: 7, Geometry: 8, Interaction: 7.5, Score: 7.500", 7.5),
    ("Gravity: 7/10\nOcclusion: 8/10\nScore: 7.500", 7.5),
    ("Score: 7.500\nGravity: 7/10\nOcclusion: 8/10", 7.5),
    ("Gravity score: 7\nOcclusion score: 8\nOverall score: 7.5", 7.5),
    ("Overall score: 7.5\nGravity score: 7\nOcclusion score: 8", 7.5),
    ("Gravity: 7 Occlusion: 8 Score: 7.5", 7.5),
    ("3 of 5 criteria are met. Score: 6.2", 6.2),
    ("At 10:30 in 2024 on a 512x512 image\nScore: 6.2", 6.2),
    ("Score: 8.5\nConfidence: 90%", 8.5),
    ("Score: 8.5\nExplanation of the score: the light is right.", 8.5),
    ("Score: 8.5. The score is based on five criteria.", 8.5),
    # Thinking.
    ("<think>Score: 3? No.</think>\nScore: 8.5", 8.5),
    ("the judge's chat template opened the block. 5.0</think>\n\n8.5", 8.5),
    ("<thinking>2</thinking>9", 9.0),
    ("<think>\n\n</think>\n\nScore: 8.500", 8.5),
    # JSON.
    ('```json\n{"score": 8.5, "reason": "Score: 3, or 4/10"}\n```', 8.5),
    ('{"reason": "3 lapses {here}", "score": "8.5"}', 8.5),
    ('{"score": "8.5/10"}', 8.5),
    ('{"Final_Score": 8}', 8.0),
    ('{"评分": 8.5}', 8.5),
    ('{"score"：８．５}', 8.5),
    ('Here it is: {"score": 8.5, "criteria": {"gravity": {"score": 7}}} Done.', 8.5),
    ('{"score": 7, "score": 8}', 8.0),
    ('{"score": 7, "final_score": 8}', 8.0),
    ('{"score": 7}\n{"score": 8}', 8.0),
    ('Score: 7\n{"score": 8}', 8.0),
    ('{"score": 7}\nScore: 8', 8.0),
    ('{"gravity": 7, "occlusion": 8} Score: 7.5', 7.5),
    ('Score: {"score": 8.5}', 8.5),
    ('{"reason": "two\nlines", "score": 8}', 8.0),
    # Bare numbers.
    ("**8.5**", 8.5),
    ("```\n8.5\n```", 8.5),
    ("[8.5]", 8.5),
    ("８．５", 8.5),
    ("8.5分", 8.5),
    ("给8.5分。", 8.5),
    ("I would give this edit 8.5.", 8.5),
    ("I'd say a 7 because the shadow fits.", 7.0),
    ("8.500\n\nThe light is right.", 8.5),
    ("Answer: 8.5", 8.5),
    ("## Final score\n8.5", 8.5),
    ("0.001", 0.001),
]

UNPARSED = [
    "",
    " \n",
    "I cannot judge this picture.",
    "eight",
    "٨",
    # Out of range, no numbers, odd numbers.
    "11",
    "10.001",
    "85",
    "2024",
    "-3",
    "+8",
    "−3",
    "~8",
    ".5",
    "08.5",
    "NaN",
    "inf",
    "1e1",
    "8e0",
    "0x8",
    "8²",
    "8½",
    "8 1/2",
    "1,000",
    "8,5",
    "8。5",
    "9" * 100,
    "Score: 11",
    "Score: 10.5",
    "Score: 100",
    "Score: -3",
    "Score: - 3",
    "Score: +8",
    "Score: NaN",
    "Score: Infinity",
    "Score: N/A",
    "Score: 1e1",
    "Score: 8,5",
    "Score: 8.5.2",
    "Score: 8 1/2",
    "Score: 8+",
    "Score: ~8",
    "Score: <8",
    "Score: 5 + 3 = 8",
    "Score: (8+7+8+7+8)/5 = 7.6",
    "Score: 5 -> 8",
    "Score: <number>",
    "Score:",
    "Score: high",
    "Final score is 12",
    "Score: Score:",
    # Ranges.
    "8-9",
    "8 – 9",
    "8~9",
    "8 to 9",
    "8 到 9",
    "8至9分",
    "8分到9分",
    "评分：8分-9分",
    "Score: 8 points to 9 points",
    "Score: 8 or higher",
    "between 8 and 9",
    "0 to 10",
    "Score: 8-9",
    "Score: 8.5 - 9",
    "Score: 8 to 9",
    "Score: 8 or 9",
    "Score: 8～9",
    "Score: **8**-**9**",
    "评分：8到9",
    "7-8/10",
    "7 to 8 out of 10",
    "Score: 7/10 - 8/10",
    "Score: 8 ± 1",
    "Score: 0-10",
    # Other scales, units, times, sizes, dates.
    "Score: 85/100",
    "Score: 8.5/5",
    "Score: 4 out of 5",
    "Score: 4 (out of 5)",
    "Score (out of 5): 4",
    "Score (1-5): 4",
    "Score: 4 on a scale of 1-5",
    "Score: **4**/5",
    "评分：4分（满分5分）",
    "85/100",
    "12/10",
    "-3/10",
    "4/5",
    "8%",
    "Score: 8.5%",
    "Score: 8 percent",
    "Score: 4 stars",
    "评分：8分钟",
    "10:30",
    "Score: 10:30",
    "512x512",
    "1024×768",
    "8 x 9",
    "Score: 8x9",
    "2024-05-01",
    "7/10/2024",
    "8月",
    "第8",
    "8th",
    "#8",
    "v8",
    "Qwen3",
    "img_8",
    "version 8.5.2",
    # Several bare numbers, or one that counts something.
    "8 9",
    "7, 8, 8, 7, 8",
    "7\n8",
    "The cat has 2 tails.",
    "1. Gravity and support: the vase rests on the table",
    "1) The light is right",
    "(1) Gravity",
    "1 - Gravity",
    "Let me start each criterion from a neutral 5.000. First, gravity",
    "Each criterion starts at a neutral 5",
    # Labels of something else.
    "Gravity score: 7",
    "Gravity: 7",
    "Gravity: 7/10",
    "gravity_score: 7",
    "Gravity (score: 7)",
    "The gravity score is 7",
    "Gravity score: 7, occlusion score: 8",
    "重力得分：7",
    "underscore: 8",
    # The last label decides, even if it is invalid.
    "Score: 7\nFinal score: 12",
    "Score: 7\nFinal score: N/A",
    "Score: 8.500\nScore:",
    "Score: 7\nSo 7-8/10",
    "8/10\nScore: 85",
    # A value on another line stands alone.
    "Score:\n1. Gravity: the cat rests on the floor",
    "Score:\n\n5 criteria were considered",
    # Thinking.
    "<think>Score: 8.5",
    "Score: 8.5\n<think>wait",
    "<think>Score: 8.5</think>",
    "<think>a</think>Score: 8<think>b",
    # JSON.
    '{"score": 8.5, "reason": "the light',
    '{"score": 8',
    '{"score": 8.5,}',
    "{'score': 8.5}",
    '{"score": true}',
    '{"score": null}',
    '{"score": NaN}',
    '{"score": Infinity}',
    '{"score": 1e1}',
    '{"score": -3}',
    '{"score": 11}',
    '{"score": "8-9"}',
    '{"score": "high"}',
    '{"score": "8.5/5"}',
    '{"score": "8.5 and more"}',
    '{"score": [8.5]}',
    '{"score": {"value": 8.5}}',
    '{"result": {"score": 8.5}}',
    '{"gravity": 7}',
    '{"gravity": {"score": 7}, "occlusion": {"score": 8}}',
    '[{"score": 8.5}]',
    '[{"score": 7}, {"score": 8}]',
    '{"score": 8, "score": "none"}',
    'Score: 7\n{"score": 12}',
    "{}",
]

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
}


@pytest.mark.parametrize(("reply", "score"), SCORES)
def test_score(reply, score):
    assert parse_score(reply) == score


@pytest.mark.parametrize("reply", UNPARSED)
def test_unparsed(reply):
    assert parse_score(reply) is None


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_reply_of_100_kb_is_no_problem(name):
    # A pattern of quadratic time would take minutes here.
    assert parse_score(HOSTILE[name]) in (None, 8.0)


def test_score_after_long_reasoning():
    prose = "The light is right and the shadow of object 3 falls as it should. " * 1500
    assert parse_score(prose + "\nScore: 8.125") == 8.125
    assert parse_score(f"<think>{prose}Score: 2</think>8.125") == 8.125


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
    '{{"score": "{}", "reason": "2 lapses, 4/10"}}',
    "{}",
    "**{}**",
    "```\n{}\n```",
    "<think>4 or 5?</think>{}",
]
thousandths = st.integers(0, 10_000)
prose = st.text(st.characters(categories=["L", "P", "Z"], exclude_characters="<{["), max_size=80).filter(
    lambda text: not any(word in text.lower() for word in ("score", "rating", "分"))
)
ENDS = ["\n", ". ", "! ", "。"]


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
def test_prose_before_the_label_changes_nothing(before, end, thousandth):
    assert parse_score(f"{before}{end}Score: {thousandth / 1000:.3f}") == thousandth / 1000


@given(prose, thousandths)
def test_prose_on_later_lines_changes_nothing(after, thousandth):
    assert parse_score(f"Score: {thousandth / 1000:.3f}\n{after}") == thousandth / 1000


@given(thousandths, thousandths)
def test_a_range_is_never_a_score(low, high):
    for reply in ("{}-{}", "Score: {} - {}", "Score: {} to {}", "{}~{}/10", "between {} and {}"):
        assert parse_score(reply.format(low / 1000, high / 1000)) is None


PIECES = [
    "Score",
    "score:",
    "Final ",
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
    "-",
    ".",
    ",",
]
PIECES += [
    "**",
    "(",
    ")",
    "{",
    "}",
    '"',
    '{"score": ',
    "[",
    "<think>",
    "</think>",
    "to",
    "out of 10",
    "%",
    "分",
    "NaN",
    "1e3",
]


@given(st.text() | st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_any_text_gives_none_or_a_score_in_range(reply):
    score = parse_score(reply)
    assert score is None or (math.isfinite(score) and 0 <= score <= 10)


@pytest.mark.parametrize(
    "reply", ["Score: 1…", "Score: 8.…", "8…", "8.5…", "Score: 8.5/1…", "评分：８．…", "Final score: 7..."]
)
def test_a_number_at_the_end_of_a_cut_off_reply_is_no_score(reply):
    assert parse_score(reply) is None


def test_a_score_before_the_end_of_a_cut_off_reply_counts():
    assert parse_score("Score: 8.5\nBecause the light comes from the ri…") == 8.5
