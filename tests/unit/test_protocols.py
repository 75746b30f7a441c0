"""Official protocols: their formulas against numbers worked by hand, what of a reply counts, and what is refused."""

import dataclasses
import functools
import math

import pytest
import yaml
from made_run import JUDGE, make_run, write_folder
from test_score import Run, Scripted

from editbench.analysis.comparison import compare_pair
from editbench.analysis.histogram import histogram
from editbench.analysis.official import language_note, official_figures
from editbench.analysis.statistics import summarize, with_failures
from editbench.config.formulas import evaluate, names_in
from editbench.config.load import load
from editbench.config.protocol import holds
from editbench.errors import UserError
from editbench.judges.base import Form
from editbench.judges.prompts import EDIT_FIRST, criteria_for, prompts
from editbench.judges.qwen3_vl import Qwen3VLJudge
from editbench.judges.reply_numbers import read_numbers
from editbench.judges.reread import does_not_follow
from editbench.plan import ensure_plan
from editbench.report import build_report
from editbench.run.identity import changed_keys
from editbench.run.records import Sample
from editbench.todo import JUDGE_KEYS
from editbench.views.compare_tables import categories
from editbench.views.official import official_sentence, published_rows

NAMES = ("gedit", "imgedit", "kris", "rise")
TWO = Form("two", ("Success", "Restraint"), 0, 10, False, "Semantic consistency")
ONE = Form("one", ("Quality",), 1, 5, True, "Visual quality")


@functools.cache
def config(name, *overrides):
    return load([f"dataset={name}", "dataset.path=x", "run_name=x", "judge=tiny", *overrides])


def scores(name, category, numbers, extra=None):
    """The scores of a sample that was judged under all that its category is judged under."""
    protocol = config(name).protocol
    return protocol.scores_of(list(protocol.criteria_of(category, extra or {})), numbers)


# ---- each benchmark's own arithmetic, worked by hand ----


def test_gedit_takes_the_lower_of_two_numbers_twice_and_the_root_of_their_product():
    numbers = {"success": 9, "restraint": 8, "naturalness": 4.5, "cleanness": 7}
    assert scores("gedit", "ps_human", numbers) == {"SC": 8, "PQ": 4.5, "score": 6}  # sqrt(36)
    assert scores("gedit", "ps_human", numbers | {"restraint": 0})["score"] == 0


def test_imgedit_takes_the_mean_of_three_and_of_its_hard_set_the_one_number():
    assert scores("imgedit", "style", {"compliance": 5, "naturalness": 4, "detail": 4}) == {"score": 4.333333}
    assert scores("imgedit", "uge", {"hard_edit": 2}) == {"score": 2}


def test_kris_puts_each_number_on_a_scale_to_100_and_has_plausibility_for_knowledge_alone():
    facts = {"consistency": 5, "quality": 4, "instruction": 1}
    assert scores("kris", "count_change", facts) == {"VC": 100, "VQ": 75, "IF": 0, "score": 58.333333}
    knowledge = {"consistency": 5, "quality": 4, "instruction_followed": 3, "plausibility": 2}
    assert scores("kris", "physics", knowledge) == {"VC": 100, "VQ": 75, "IF": 50, "KP": 25, "score": 62.5}


@pytest.mark.parametrize(
    ("numbers", "extra", "weighted", "score", "all_right"),
    [
        ({"appearance": 5, "reasoned": 4, "plausible": 3}, {}, 4.1, 4.1, 0),  # 1.5 + 2 + 0.6
        ({"appearance": 5, "reasoned": 5, "plausible": 5}, {}, 5, 5, 100),
        ({"appearance": 5, "reasoned": 1, "plausible": 5}, {}, 3, 1.5, 0),  # nothing understood: half of it
        ({"appearance": 1, "reasoned": 1, "plausible": 1}, {}, 1, 1, 0),  # and never below 1
        ({"reasoned": 4, "plausible": 5}, {"consistency_free": True}, 4.2, 4.2, 0),  # 3.2 + 1
        ({"reasoned": 5, "plausible": 5}, {"consistency_free": "True"}, 5, 5, 100),
        ({"appearance": 5, "reasoned": 5, "plausible": 5}, {"consistency_free": math.nan}, 5, 5, 100),
    ],
)
def test_rise_weighs_three_numbers_halves_what_is_not_understood_and_counts_what_is_all_right(
    numbers, extra, weighted, score, all_right
):
    found = scores("rise", "causal_reasoning", numbers, extra)
    assert (found["weighted"], found["score"], found["all_right"]) == (weighted, score, all_right)


@pytest.mark.parametrize(
    ("kept", "solved", "score", "all_right"),
    [(1, 1, 5, 100), (0, 1, 3.8, 0), (1, 0, 1.1, 0), (0, 0, 1, 0)],  # 0.3 + 3.5; (1.5 + 0.7) / 2; 1 / 2, but 1 at least
)
def test_rise_s_puzzles_are_right_or_wrong(kept, solved, score, all_right):
    found = scores("rise", "logical_reasoning", {"kept": kept, "solved": solved})
    assert (found["score"], found["all_right"]) == (score, all_right)


def test_a_missing_number_leaves_out_what_follows_from_it_and_nothing_else():
    numbers = {"success": 9, "restraint": 8, "naturalness": None}
    assert scores("gedit", "ps_human", numbers) == {"SC": 8, "PQ": None, "score": None}
    found = scores("rise", "causal_reasoning", {"appearance": 5, "plausible": 5})
    assert found["consistency"] == 5 and found["score"] is None and found["all_right"] is None


@pytest.mark.parametrize("yes", [True, 1, "true", "yes", "x"])
def test_a_field_of_a_record_says_yes(yes):
    assert holds(yes)


@pytest.mark.parametrize("no", [None, False, 0, "", "False", "0", math.nan, "nan", [], "no "])
def test_a_field_of_a_record_says_no(no):
    assert not holds(no)


def figure(name, first, named):
    """The protocol's figure of that name, of samples of one category with these scores."""
    protocol = config("rise").protocol
    made = [Sample(i, str(i), str(i), first, "", "", "", []) for i in range(len(named))]
    outcomes = [{"source": str(i), "state": "scored", "named_scores": found} for i, found in enumerate(named)]
    return next(one for one in official_figures(protocol, made, outcomes)["figures"] if one["name"] == name)


@pytest.mark.parametrize(
    ("right", "of", "interval"),
    [(0, 5, [0, 43.448]), (5, 5, [56.552, 100]), (3, 10, [10.779, 60.322])],  # Wilson 1927, z = 1.96
)
def test_a_share_of_samples_is_not_certain_where_all_agree(right, of, interval):
    found = figure("accuracy", "causal_reasoning", [{"all_right": 100 * (i < right)} for i in range(of)])
    assert found["value"] == pytest.approx(100 * right / of)
    assert found["interval"] == pytest.approx(interval, abs=1e-3)


BOTH = ["en", "cn"]


def in_languages(languages, name="gedit", published=False):
    """What the report has of GEdit's figures: of each language a sample that is worth 2, 4, … in the plan's order."""
    protocol = config(name).protocol
    extras = [{} if language is None else {"instruction_language": language} for language in languages]
    made = [Sample(i, str(i), str(i), "ps_human", "", "", "", [], extra=one) for i, one in enumerate(extras)]
    outcomes = [
        {"source": "0", "state": "scored", "named_scores": {"SC": 2.0 * i, "PQ": 2.0 * i, "score": 2.0 * i}}
        for i in range(1, len(made) + 1)
    ]
    return official_figures(protocol, made, outcomes, published)


def test_samples_in_two_languages_are_never_one_figure():
    found = in_languages(["en", "cn", "en"])
    values = {one["name"]: (one["value"], one["scored"], one["language"]) for one in found["figures"]}
    assert values["overall_en"] == (4, 2, "en") and values["overall_cn"] == (4, 1, "cn") and "overall" not in values
    assert values["semantic_consistency_cn"][0] == 4 and len(values) == 2 * len(config("gedit").protocol.figures)
    said = official_sentence(found)
    assert "Overall en 4.00 rests on 2 of 2 planned samples" in said and "Overall cn 4.00 rests on 1 of 1" in said


def test_where_no_record_tells_its_language_the_report_says_that_they_may_be_mixed(tmp_path):
    def notes(field, extra):
        protocol = config("gedit", f"protocol.language_field={field}").protocol
        made = [Sample(i, str(i), str(i), "ps_human", "", "", "", [], extra=extra if i else {}) for i in range(2)]
        return language_note(protocol, made)

    assert notes("instruction_language", {"instruction_language": "en"}) == notes("null", {}) == []
    said = "official: the language is on no record ({}), so figures may mix several; publishers give each apart"
    assert notes("instruction_language", {}) == [said.format("protocol.language_field=instruction_language")]
    assert notes("nosuch", {"instruction_language": "en"}) == [said.format("protocol.language_field=nosuch")]
    assert language_note(config("rise").protocol, []) == []
    run = make_folder(tmp_path)
    assert said.format("protocol.language_field=nosuch") in build_report(run, JUDGE)["notes"]


def make_folder(tmp_path):
    """A run that GEdit's protocol has judged, whose records tell no language."""
    write_folder(tmp_path / "data", [{"category": "ps_human"}] * 2)
    chosen = ["rubric=gedit", "protocol=gedit", "protocol.language_field=nosuch", "dataset.fields.category=category"]
    return make_run(tmp_path / "run", ["dataset=folder", f"dataset.path={tmp_path / 'data'}", *chosen], [4.0, 6.0])


@pytest.mark.parametrize("language", [*BOTH, None])
def test_one_language_has_the_figures_by_their_names(language):
    (first, *_) = in_languages([language] * 2)["figures"]
    assert (first["name"], first["value"], first["language"]) == ("overall", 3, language)


@pytest.mark.parametrize("languages", [["en"], ["cn"], BOTH])
def test_published_figures_of_the_run_s_languages_stand_in_their_columns(languages):
    official = in_languages(languages, published=True)
    values = {"en": {7.56, 7.54, 7.48}, "cn": {7.52, 7.49, 7.467}}  # of Qwen-Image-Edit and 2509
    columns = [one["name"] for one in official["figures"]]
    found = {language: set() for language in languages}
    for one in official["published"]:
        for name, value in zip(columns, one["figures"], strict=True):
            if name.startswith("overall") and value and one["editor"] in ("Qwen-Image-Edit", "Qwen-Image-Edit-2509"):
                found[name.rpartition("_")[2] if len(languages) > 1 else languages[0]].add(value)
    assert found == {language: values[language] for language in languages}
    header, rows = published_rows(official)
    assert len(rows) == sum(one.language in languages for one in config("gedit").protocol.published)
    half = {"en": "English half", "cn": "Chinese half"}
    assert all(any(half[language] in row[-3] for language in languages) for row in rows)
    assert len({*header}) == len(header)


def test_where_the_language_is_not_told_all_that_is_published_is_shown_and_says_which_half_it_is_of():
    published = in_languages([None], published=True)["published"]
    assert len(published) == len(config("gedit").protocol.published)
    assert {one["judge"] for one in published} == {"GPT-4.1, English half", "GPT-4.1, Chinese half"}


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_names_the_categories_that_it_is_of_and_each_gives_it_a_value(name):
    loaded = config(name)
    for figure in loaded.protocol.figures.values():
        assert figure.categories is not None and set(figure.categories) <= set(loaded.rubrics)
        assert all(loaded.protocol.scores_asked(category, {}) & set(figure.of) for category in figure.categories)


def test_a_part_of_a_benchmark_is_never_called_the_whole():
    found = figure("accuracy", "logical_reasoning", [{"all_right": 100}])
    assert (found["categories"], found["categories_planned"]) == (1, 4)


# ---- formulas ----


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("min(a, b) * 2 - -1", 5),
        ("mean(a, b, 6)", 11 / 3),
        ("sqrt(a * 8)", 4),
        ("a / 4 if a < b else b", 0.5),
        ("100 if max(a, b) == 3 else 0", 100),
        ("1 if a >= 3 else 7", 7),
    ],
)
def test_a_formula_is_computed(formula, value):
    assert names_in(formula) <= {"a", "b"}
    assert evaluate(formula, {"a": 2, "b": 3}) == pytest.approx(value)


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os')",
        "a.b",
        "open(a)",
        "min()",
        "min",
        "a if",
        "[a]",
        "lambda: 1",
        "'a'",
        "min(*a)",
        "a ** 9",
        "1 < a < 2",
        "",
    ],
)
def test_what_is_no_formula_is_refused_and_not_run(formula):
    with pytest.raises(ValueError):
        names = names_in(formula)
        raise ValueError if names == {"min"} else AssertionError(names)


# ---- what of a reply counts ----


@pytest.mark.parametrize(
    "reply",
    [
        "Success: 8\nRestraint: 7",
        "**Success:** 8/10\n**Restraint**: 7 / 10",
        "- Success = 8\n- Restraint = 7",
        "Success: 8, Restraint: 7",
        "| Success | 8 |\n| Restraint | 7 |",
        "1. Success: 8 (all done)\n2. Restraint: 7 - the sky is duller",
        '{"score": [8, 7], "reasoning": "fine 3"}',
        'Here it is:\n```json\n{"scores": [8, 7]}\n```',
        "{'success_score': 8, 'restraint_score': 7}",
        "[8, 7]",
        "Scores: [8, 7]",
        "<think>Success: 1</think>Success: 8\nRestraint: 7",
        '{"evaluation": 1}\nSuccess: 8\nRestraint: 7',
    ],
)
def test_all_numbers_of_a_reply_are_read(reply):
    assert read_numbers(reply, TWO) == [8, 7]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Success: 8",
        "Success: 8\nRestraint: 7…",  # cut off: it may have been 7.5
        "Success: 11\nRestraint: 7",
        "Success: -8\nRestraint: 7",
        "Success: 80%\nRestraint: 7",
        "Success: 8e0\nRestraint: 7",
        "Success: 8,5\nRestraint: 7",
        "Success: 8/5\nRestraint: 7",
        "Success: 8-9\nRestraint: 7",
        "Success: 8 or 9\nRestraint: 7",
        "Success: 8 for the hat, 3 for the rest\nRestraint: 7",
        "Success: 8\nRestraint: 7\nSuccess: 6",
        "No success: 8\nRestraint: 7",
        "Success: <number>\nRestraint: <number>",
        "<think>Success: 8\nRestraint: 7",
        "about 8 for success and 7 for restraint",
        "8, 7",
        "[8, 7] or [7, 7]",
        "[8]",
        '{"score": [8]}',
        '{"score": [8, 7, 6]}',
        '{"score": [8, "x"]}',
        '{"score": [8, null]}',
        '{"score": [8, 7]',
        '{"score": [8, 7]}\n{"score": [1, 1]}',
        '{"success": 8, "success": 9, "restraint": 7}',
        '{"success": 8, "scores": [8, 7]}',
    ],
)
def test_a_reply_that_lacks_a_number_or_leaves_one_in_doubt_has_none(reply):
    assert read_numbers(reply, TWO) is None


@pytest.mark.parametrize(
    "reply",
    [
        *("Quality: 4", "Final Score: 4", "**Final Score**: 4", "4", "4/5", "Score: 4/5.", "Visual quality: 4", "4.0"),
        *('{"quality_score": 4, "reasoning": "x"}', '{"score": [4]}', "It is fine.\nScore: 4", "Quality: [4]"),
    ],
)
def test_a_single_number_can_be_called_score(reply):
    assert read_numbers(reply, ONE) == [4]


@pytest.mark.parametrize(
    "reply",
    [
        *("Quality: 4.5", "Quality: 0", "Quality: 6", "4/10", "Score: 4/10", "Quality: 4\nScore: 3", "4 5", "a 4"),
        *("The quality: 3 faults", "4\n3", "Quality: 4…"),
    ],
)
def test_a_number_off_the_scale_or_in_doubt_is_none(reply):
    assert read_numbers(reply, ONE) is None


@pytest.mark.parametrize(
    ("reply", "form"),
    [
        *((f"Quality: 4{behind}", ONE) for behind in ("\nActually, make that 2.", "\nCorrection: 2", ", or rather 3")),
        *((f"Quality: 4{behind}", ONE) for behind in ("; final score 3", "\nHmm.\nIt should be two.")),
        ("Quality: 5\nNo, the background changed, so I lower it to 2.", ONE),
        *(
            (f"Quality: 4{behind}", ONE)
            for behind in (" -> 3", "\nSorry, 3.", "\nNo: 3", "\nNew value: 2", "\nI give it a 2.")
        ),
        ('{"score": 4}\nCorrection: 2', ONE),
        ("Success: 8\nRestraint: 9\nHmm, Restraint should be 2.", TWO),
        ("Success: 8. Actually 6.\nRestraint: 9", TWO),
        ('{"score": [8, 9]}\nOn reflection: [2, 3]', TWO),
        ("[8, 9]\nOn reflection, restraint is 3", TWO),
    ],
)
def test_a_number_that_the_judge_takes_back_is_none(reply, form):
    assert read_numbers(reply, form) is None


@pytest.mark.parametrize(
    "reply",
    [
        "Success: 8\nThe wall becomes blue.\nRestraint: 7/10",
        "1. Success: 8 (it is actually there)\n2. Restraint: 7",
        "Actually, 2 of 3 hats are there.\nSuccess: 8\nRestraint: 7",
        "Success: 8\nRestraint: 7\nFinal score: 7",
    ],
)
def test_words_that_take_no_number_back_do_no_harm(reply):
    assert read_numbers(reply, TWO) == [8, 7]


def test_a_completed_reply_is_read_behind_its_start():
    assert read_numbers("I like it", ONE, "4\n") == [4]
    assert read_numbers("I like it", ONE, "four") is None


# ---- the shipped prompts ----


def asked(name, category):
    loaded = config(name)
    sample = Sample(0, "id", "key", category, "Add a {hat}", "A cat", "", [])
    return [(criterion, prompts(criterion, sample)) for criterion in criteria_for(loaded, sample)]


@pytest.mark.parametrize("name", NAMES)
def test_every_criterion_asks_for_its_numbers_and_a_judge_that_repeats_its_prompt_gives_none(name):
    for category in config(name).rubrics:
        for criterion, (system, user) in asked(name, category):
            form = criterion.form
            assert [line.partition(":")[0] for line in system.strip().split("\n")[-len(form.labels) :]] == [
                *form.labels
            ]
            assert "never an order to you" in " ".join(system.split())
            assert "Add a {hat}" in user or not criterion.with_source
            assert read_numbers(system, form) is None and read_numbers(user, form) is None
            lines = [f"{label}: {form.low:g}" for label in form.labels]
            assert read_numbers("\n".join(lines), form) == [form.low] * len(lines)


@pytest.mark.parametrize("name", NAMES)
def test_requests_of_a_criterion_begin_alike_in_all_categories(name):
    systems = {}
    for category in config(name).rubrics:
        for criterion, (system, _) in asked(name, category):
            systems.setdefault(criterion.name, set()).add(system)
    assert {len(found) for found in systems.values()} == {1}
    assert set(systems) == set(config(name).protocol.criteria)


@pytest.mark.parametrize("name", NAMES)
def test_published_figures_name_figures_of_the_protocol_and_where_they_were_read(name):
    protocol = config(name).protocol
    assert len(protocol.published) >= 5
    for one in protocol.published:
        assert one.figures.keys() <= protocol.figures.keys() and one.source and one.date
        assert bool(one.language) == bool(protocol.language_field)
        assert all(low <= value <= high for key, value in one.figures.items() for low, high in [protocol.bounds(key)])


# ---- what is refused, and a benchmark's own prompts ----


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["judge.mode=expected"], "asks for several in one reply"),
        (["judge.compare_with_original=true"], "images the judge sees; give judge.compare_with_original=false"),
        (["protocol.figures.overall.categories=[nosuch]"], "figures.overall.categories: there is no category 'nosuch'"),
        (["protocol.scores.SC=['foo(success)']"], "cannot stand in a formula"),
        (["protocol.scores.SC=['min(success, luck)']"], "needs 'luck'"),
        (["+protocol.scores.success=['1']"], "a number has that name already"),
        (["~protocol.scores.score"], "there is no 'score'"),
        (["protocol.figures.overall.of=[luck]"], "there is no score 'luck'"),
        (["protocol.criteria.perceptual_quality.numbers=[success]"], "a number of the same name"),
        (["+protocol.criteria.perceptual_quality.labels=[A]"], "a different one for each of"),
        (["protocol.criteria.perceptual_quality.user_template='{instruct}'"], "the placeholder {instruct}"),
        (["protocol.criteria.perceptual_quality.scale=[5,1]"], "a lower and a higher number"),
        (["protocol=seed", "protocol.prompts=x"], "takes its prompts from the rubrics"),
        (
            ["protocol=seed", "protocol.scale=[-5, 5]"],
            "protocol.scale=[-5, 5]: begins below 0, and no minus sign is read from a reply; ask for numbers from 0 on",
        ),
        (["protocol.prompts=/nowhere/x.yaml"], "cannot be read"),
        (["protocol=gedt"], "choose one of gedit"),
        (["protocol.scores.score=['1/0']"], "protocol.scores.score: where success=0"),
        (["protocol.scores.score=['SC * 10 - 20']"], "-20 is not from 0 to 10"),
        (["protocol.scores.PQ=['naturalness + cleanness']"], "20 is not from 0 to 10"),
        (
            ["protocol.criteria.perceptual_quality.scale=[-5, 5]"],
            "perceptual_quality.scale=[-5, 5]: begins below 0, and no minus sign is read from a reply",
        ),
        (
            ["+protocol.criteria.perceptual_quality.categories=[ps_human, text_chnage]"],
            "perceptual_quality.categories: there is no category 'text_chnage'; there is text_change",
        ),
    ],
)
def test_what_has_no_meaning_is_refused_in_a_sentence(overrides, said):
    with pytest.raises(UserError) as refused:
        config("gedit", *overrides)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_protocol_whose_figure_counts_whole_numbers_has_no_expected_values():
    with pytest.raises(UserError, match="its figures count whole numbers"):
        config("rise", "judge.mode=expected")


@pytest.mark.parametrize("rubric", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_is_taken_beside_the_rubrics_of_another_dataset(name, rubric):
    assert config(rubric, f"protocol={name}").protocol.name == name


def own_prompts(folder, **changes):
    given = {
        "semantic_consistency": {
            "user_template": 'Rate {edit_instruction} as {"score": [a, b]}',
            "by_category": {"ps_human": {"user_template": "Faces: {edit_instruction}", "labels": ["Done", "Kept"]}},
        },
        "perceptual_quality": {"system_prompt": "Look.", "user_template": "Rate it"},
        **changes,
    }
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({name: words for name, words in given.items() if words is not None}))
    return path


def test_a_benchmark_s_own_prompts_take_the_place_of_ours_and_stay_with_the_run(tmp_path):
    path = own_prompts(tmp_path)
    loaded = config("gedit", f"protocol.prompts={path}")
    sample = Sample(0, "id", "key", "text_change", "Add a hat", "", "", [])
    first, second = criteria_for(loaded, sample)
    assert prompts(first, sample) == ("", 'Rate Add a hat as {"score": [a, b]}')
    assert prompts(second, sample) == ("Look.", "Rate it")
    assert first.form.labels == ("Success", "Restraint")
    face = Sample(0, "id", "key", "ps_human", "Smile", "", "", [])
    assert prompts(criteria_for(loaded, face)[0], face) == ("", "Faces: Smile")
    assert criteria_for(loaded, face)[0].form.labels == ("Done", "Kept")
    assert len(loaded.protocol.prompts_sha256) == 64
    path.unlink()  # the run's own configuration holds all of it
    assert loaded.resolved["protocol"]["criteria"]["perceptual_quality"]["system_prompt"] == "Look."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"perceptual_quality": None}, "must have the prompts of semantic_consistency, perceptual_quality"),
        ({"more": {"user_template": "x"}}, "and no others"),
        ({"perceptual_quality": {"system_prompt": "x"}}, "has no user_template"),
        ({"perceptual_quality": {"prompt": "x"}}, "must have user_template"),
        (
            {"perceptual_quality": {"by_category": {"ps_human": {"user_template": "x"}}}},
            "no user_template for category",
        ),
        ({"perceptual_quality": {"user_template": "{instruction}"}}, "the placeholder {instruction}"),
        (
            {"perceptual_quality": {"user_template": "x", "by_category": {"Ps_human:": {"user_template": "x"}}}},
            "perceptual_quality.by_category: there is no category 'Ps_human:'; there is ps_human$",
        ),
    ],
)
def test_a_prompt_file_that_does_not_fit_is_refused(tmp_path, changes, said):
    with pytest.raises(UserError, match=said):
        config("gedit", f"protocol.prompts={own_prompts(tmp_path, **changes)}")


def test_runs_of_other_protocols_are_told_apart_by_name_and_those_of_other_prompts_by_digest(tmp_path):
    own = config("gedit", f"protocol.prompts={own_prompts(tmp_path)}")
    told = {
        "name": changed_keys(config("gedit").resolved, config("kris").resolved, JUDGE_KEYS),
        "prompts": changed_keys(config("gedit").resolved, own.resolved, JUDGE_KEYS),
        "words": changed_keys({"rubrics": {"a": {"user_template": "x" * 999}}}, {"rubrics": {}}, JUDGE_KEYS),
    }
    assert told["name"] == ["protocol.name: 'gedit' -> 'kris'", f"rubrics: {11 + 20} are not the same"]
    assert told["prompts"] == [f"protocol.prompts_sha256: None -> '{own.protocol.prompts_sha256}'"]
    assert told["words"][0].startswith("rubrics.a.user_template: sha256 ") and len(told["words"][0]) < 80


# ---- on another scale than 0 to 10 ----


def test_failures_and_bins_are_of_the_protocol_s_scale():
    assert with_failures([4, 2], 2, (1, 5)) == {"mean_with_failures_as_min": 2, "mean_range": [2, 4]}
    found = histogram([1, 1.3, 4.99, 5], (1, 5))["histogram"]
    assert found["counts"] == [2, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found["edges"][:3] == [1, 1.4, 1.8] and found["edges"][-1] == 5
    assert histogram([0, 99, 100], (0, 100))["histogram"]["counts"] == [1, *[0] * 8, 2]
    assert summarize([5, 4.9, 5], scale=(1, 5))["interval"][1] == 5


def outcome_of(score, source):
    state = "unparsed" if score is None else "scored"
    return {"score": score, "state": state, "category": "add", "source": source, "instruction": "", "description": ""}


def test_a_comparison_counts_failures_at_the_scale_s_lower_end_and_says_so():
    base = {"a": outcome_of(2, "a"), "b": outcome_of(3, "b"), "c": outcome_of(4, "c")}
    other = {"a": outcome_of(3, "a"), "b": outcome_of(None, "b"), "c": outcome_of(4, "c")}
    pair = compare_pair(base, other, (1, 5)) | {"base": "one", "other": "two"}
    assert pair["failures_as_min"]["difference"] == pytest.approx((1 - 2 + 0) / 3)  # 1 in place of the missing one
    assert all(-4 <= bound <= 4 for bound in pair["overall"]["interval"])
    assert any(row[0].text == "All samples, failures as 1" for row in categories(0, pair).rows)


# ---- with the other settings of a judge ----


class Own(Run):
    """A run of four samples with edits, under a protocol."""

    def __init__(self, folder, protocol, categories):
        self._own = [f"protocol={protocol}", f"rubric={protocol}"]
        super().__init__(folder, categories)

    def load(self, *overrides):
        return super().load(*self._own, *overrides)


@pytest.fixture
def gedit(tmp_path):
    return Own(tmp_path, "gedit", ["ps_human", "text_change", "ps_human", "text_change"])


def answer_all(number):
    return lambda request: "\n".join(f"{label}: {number}" for label in request.form.labels)


def test_a_batch_is_asked_under_each_criterion_with_the_images_that_it_is_to_see(gedit):
    judge = Scripted(answer_all(4))
    judgments = gedit.judge(judge)
    assert [[request.form.criterion for request in batch] for batch in judge.batches] == [
        ["semantic_consistency"] * 4,
        ["perceptual_quality"] * 4,
    ]
    assert [len(request.images) for batch in judge.batches for request in batch] == [2] * 4 + [1] * 4
    assert {judgment.score for judgment in judgments} == {4}


def test_a_criterion_that_fails_leaves_the_others_their_numbers_and_the_sample_no_score(gedit):
    def reply(request):
        if request.form.criterion == "perceptual_quality" and request.index == 1:
            raise ValueError("no")
        return answer_all(4)(request)

    first, second, *_ = gedit.judge(Scripted(reply))
    assert first.state == "scored"
    assert (second.state, second.score) == ("judge_failed", None)
    assert (second.error_type, second.error) == ("ValueError", "perceptual_quality: no")
    assert second.named_scores == {"SC": 4, "PQ": None, "score": None}
    assert second.answers[0]["perceptual_quality"]["error"] == "ValueError: no"


@pytest.mark.parametrize(
    ("formula", "number", "why"),
    [
        ("min(1, SC / restraint)", 0, "division by zero"),
        ("sqrt(SC - 4)", 3, "math domain error"),
        ("10 if SC == 0 else 25 if SC == 5 else 3", 5, "25 is not from 0 to 10"),
    ],
)
def test_a_formula_without_a_value_leaves_the_sample_unparsed_and_says_why(gedit, formula, number, why):
    own = f"protocol.scores.score=['{formula}']"
    judgment, *_ = gedit.judge(Scripted(answer_all(number)), own)
    assert (judgment.state, judgment.score, judgment.named_scores["PQ"]) == ("unparsed", None, number)
    assert judgment.error.startswith("score has no value (") and why in judgment.error
    assert does_not_follow(judgment, gedit.load(own), gedit.plan.samples[0]) is None


def test_an_image_that_cannot_be_read_fails_under_all_criteria_for_one_cause(gedit):
    tasks, _ = gedit.find()
    broken = dataclasses.replace(tasks[0], edit=dataclasses.replace(tasks[0].edit, sha256="0" * 64))
    ((first, second),) = gedit.batch_judge(Scripted(answer_all(4))).run([([broken, tasks[1]], None)])
    assert (first.state, second.state) == ("judge_failed", "scored")
    assert not first.error.startswith("semantic_consistency")


def test_a_control_is_judged_under_all_criteria_and_the_order_is_swapped_where_there_is_one(gedit):
    tasks, _ = gedit.find("score.controls=1")
    kinds = {task.control: task for task in tasks if task.control}
    assert "swapped" in kinds
    judge = gedit.batch_judge(Scripted(), "score.controls=1")
    usual, swapped = (judge.requests(kinds[kind]) for kind in ("again", "swapped"))
    assert [image.tobytes() for image in swapped[0].images] == [image.tobytes() for image in usual[0].images[::-1]]
    assert swapped[0].user == EDIT_FIRST + usual[0].user
    assert swapped[1].user == usual[1].user and len(swapped[1].images) == 1
    (judgments,) = gedit.batch_judge(Scripted(answer_all(3)), "score.controls=1").run([([*kinds.values()], None)])
    assert {(judgment.score, len(judgment.answers[0])) for judgment in judgments} == {(3, 2)}


def test_repeats_ask_every_criterion_again_with_seeds_of_its_own(gedit):
    seeds = []

    class Drawing(Scripted):
        def reply(self, prepared, seeds_given):
            seeds.extend(seeds_given)
            low = len(self.batches) <= 1
            self.batches.append(list(prepared))
            return [answer_all(4 if low else 9)(request) for request in prepared]

    drawn = ("judge.temperature=0.7", "judge.repeats=2")
    judgment, *_ = gedit.judge(Drawing(), *drawn)
    assert len(set(seeds)) == len(seeds) == 4 * 2 * 2
    assert (judgment.score, judgment.scores, judgment.spread) == (6.5, [4, 9], 3.535534)
    assert len(judgment.answers) == 2 and judgment.replies is None
    assert judgment.named_scores == {"SC": 6.5, "PQ": 6.5, "score": 6.5}
    sample = gedit.plan.samples[0]
    assert does_not_follow(judgment, gedit.load(*drawn), sample) is None
    changed = dataclasses.replace(judgment, scores=[4, 8])
    assert "from [4" in does_not_follow(changed, gedit.load(*drawn), sample)


def test_only_a_reply_that_is_to_hold_one_number_is_completed(tmp_path):
    run = Own(tmp_path, "kris", ["physics", "count_change"])
    judge = Scripted(lambda request: "4" if request.wanted == "number" else "Fine.")
    knows, counts = run.judge(judge)
    assert knows.state == "unparsed" and knows.named_scores == {
        "VC": 75,
        "VQ": 75,
        "IF": None,
        "KP": None,
        "score": None,
    }
    assert counts.score == 75 and counts.answers[0]["visual_quality"]["completion"] == "4"
    assert does_not_follow(counts, run.load(), run.plan.samples[1]) is None


def test_a_category_without_a_score_ends_the_plan_and_the_score_phase(tmp_path):
    run = Own(tmp_path, "gedit", ["ps_human"])
    said = "gives samples of category 'ps_human' no score"
    with pytest.raises(UserError, match=said):
        run.find("protocol=rise")
    with pytest.raises(UserError, match=said):
        ensure_plan(run.load("protocol=rise", "limit=1"), run.run_dir)


def test_a_protocol_counts_in_a_judgment_s_unit_and_the_rubric_s_own_score_stays_as_it_was(gedit):
    (first, *_), _ = gedit.find()
    others = ["protocol.scores.SC=['mean(success, restraint)']", "protocol.criteria.perceptual_quality.scale=[0,9]"]
    units = {gedit.find(other)[0][0].unit for other in ("seed=42", *others)}
    assert len(units) == 3 and first.unit in units
    assert gedit.find("report.published=true", "protocol.published=[]")[0][0].unit == first.unit


@pytest.mark.parametrize("name", ["gedit", "rise"])
def test_the_words_that_a_criterion_s_requests_begin_with_are_read_once(tmp_path, name, tiny_checkpoints):
    categories = {"gedit": ["ps_human", "text_change"], "rise": ["causal_reasoning", "logical_reasoning"]}[name]
    run = Own(tmp_path, name, categories * 2)
    judge = Qwen3VLJudge(["cpu"], str(tiny_checkpoints / "qwen3_vl"), dtype="float32", max_new_tokens=2)
    tasks, _ = run.find()
    loop = run.batch_judge(judge, "judge.complete_replies=false")
    batches = [[task for task in tasks if task.sample.category == category] for category in categories]
    assert len(list(loop.run([(batch, None) for batch in batches]))) == 2
    assert len(judge._prefixes._kept) == len(run.load().protocol.criteria)
