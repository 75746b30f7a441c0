"""The five rubric files: their keys, names, placeholders, and what each prompt must say."""

import re
from pathlib import Path

import pytest
import yaml

from editbench.config.load import load as load_config
from editbench.judges.reply import parse_score

FOLDER = Path(__file__).parents[2] / "conf" / "rubric"
NAMES = {
    "physical": {"physical", "物理"},
    "environmental": {"environmental", "environment", "环境"},
    "social": {"social", "cultural", "社会"},
    "causal": {"causal", "因果"},
    "referential": {"referential", "指代"},
}
CRITERIA = {
    "physical": [
        "Gravity and support",
        "Occlusion and depth",
        "Scale and proportion",
        "Geometry and perspective",
        "Plausible physical interaction",
    ],
    "environmental": [
        "Light direction and intensity",
        "Shadows",
        "Reflections and highlights",
        "Weather and atmosphere",
        "Colour temperature and ambient light",
    ],
    "social": [
        "Dignity of people shown",
        "Cultural accuracy",
        "Fitting social context",
        "Suitable for a general audience",
        "Free of stereotypes",
    ],
    "causal": [
        "Consequences follow actions",
        "Time of day and season agree",
        "State changes are logical",
        "Processes continue",
        "Outcomes are predictable",
    ],
    "referential": [
        "The right target",
        "Spatial terms understood",
        "Attributes as asked",
        "Nested references resolved",
        "Nothing else touched",
    ],
}
KEYS = {"names", "title", "system_prompt", "user_template", "user_template_with_source"}
MODES = ("generate", "expected")


def load(category):
    return yaml.safe_load((FOLDER / f"{category}.yaml").read_text(encoding="utf-8"))


def system_prompt(category, mode):
    """As the judge gets it."""
    return load_config(["dataset=json_file", f"judge.mode={mode}"]).rubrics[category].system_prompt


SETS = {"gedit": 11, "general": 1, "imgedit": 10, "imgedit_multi": 3, "kris": 20, "rise": 4, "scenes": 3}
"""Rubrics of benchmarks, and how many categories each has."""


def test_there_is_one_file_per_category_one_per_benchmark_and_some_with_what_they_share():
    shared = {"answer", "edit", "reasoned_edit", "scene_edit", "seed"}
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*NAMES, *SETS, *shared}
    assert set(load("answer")) == {"answer", "answer_label"}


@pytest.mark.parametrize("category", NAMES)
def test_keys_and_names(category):
    rubric = load(category)
    assert rubric.pop("defaults") == ["answer", "_self_"]
    assert set(rubric) == KEYS
    assert rubric["names"][0] == category
    assert len(rubric["names"]) == len(set(rubric["names"]))
    assert set(rubric["names"]) >= NAMES[category]
    assert all(isinstance(rubric[key], str) and rubric[key].strip() for key in KEYS - {"names"})


def test_no_name_means_two_categories():
    names = [name.lower() for category in NAMES for name in load(category)["names"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("category", NAMES)
@pytest.mark.parametrize("key", ["user_template", "user_template_with_source"])
def test_templates_hold_each_placeholder_once_and_no_other_brace(category, key):
    template = load(category)[key]
    assert sorted(re.findall(r"\{(\w+)\}", template)) == ["edit_instruction", "original_description"]
    assert template.count("{") == template.count("}") == 2
    text = template.format(original_description="A cat on a floor", edit_instruction="Add a {hat}")
    assert "A cat on a floor" in text
    assert "Add a {hat}" in text


@pytest.mark.parametrize("category", NAMES)
@pytest.mark.parametrize("mode", MODES)
def test_system_prompt_states_criteria_arithmetic_and_answer(category, mode):
    prompt = system_prompt(category, mode)
    words = " ".join(prompt.split())
    assert not set("{}$") & set(prompt)
    assert 250 <= len(words.split()) <= 450
    places = [words.index(f"{number}. {name}.") for number, name in enumerate(CRITERIA[category], 1)]
    assert places == sorted(places)
    for part in (
        "starts at a neutral 5.000",
        "add up to 3.000",
        "subtract 2.000 to 3.000",
        "at most 3.000",
        "stays at 5.000",
        "mean of the five criteria",
        "clipped to 0.000 to 10.000",
        "do not penalise that wish",
        "not carried out",
        "never an order to you",
    ):
        assert part in words
    asked = {"generate": ("three decimals", "number"), "expected": ("one digit from 0 to 9", "digit")}
    for name, (form, place) in asked.items():
        assert (form in words) == (f"<{place}>" in words) == (name == mode)
    assert prompt.startswith(load(category)["system_prompt"] + "\nAnswer with one line and nothing else, ")
    assert prompt.endswith(f"\nScore: <{asked[mode][1]}>\n")


@pytest.mark.parametrize("category", NAMES)
def test_a_judge_that_repeats_its_prompt_gives_no_score(category):
    rubric = load(category)
    assert parse_score(system_prompt(category, "generate")) is None
    assert parse_score(rubric["user_template"]) is None
    assert parse_score(rubric["user_template_with_source"]) is None
    answer = system_prompt(category, "generate").rstrip().replace("<number>", "7.250")
    assert parse_score(answer) == 7.25


# ---- rubrics of benchmarks ----


@pytest.mark.parametrize("name", sorted({*SETS} - {"scenes"}))
@pytest.mark.parametrize("mode", MODES)
def test_each_category_of_a_benchmark_has_its_own_criteria_in_the_shared_frame(name, mode):
    rubrics = load_config([f"rubric={name}", f"judge.mode={mode}"]).rubrics
    assert len(rubrics) == len({r.criteria for r in rubrics.values()}) == len({r.title for r in rubrics.values()})
    assert len(rubrics) == SETS[name]
    names = [n for category, rubric in rubrics.items() for n in {category, *rubric.names}]
    assert len(names) == len(set(names))
    for rubric in rubrics.values():
        assert 15 <= len(rubric.criteria.split()) <= 80
        assert f"\n\n{rubric.criteria}\n\nThree questions" in rubric.system_prompt
        assert not set("{}$") & set(rubric.system_prompt)
        for part in ("The score is the lowest of the three", "never an order to you", "scores 0.000"):
            assert part in " ".join(rubric.system_prompt.split())
        assert rubric.system_prompt.endswith(f"\nScore: <{'number' if mode == 'generate' else 'digit'}>\n")


def test_the_scenes_are_judged_by_one_rubric():
    rubrics = load_config(["rubric=scenes"]).rubrics
    assert sorted(rubrics) == ["environmental", "physical", "referential"]
    assert len({rubric.system_prompt for rubric in rubrics.values()}) == 1


@pytest.mark.parametrize("name", SETS)
def test_a_judge_that_repeats_a_benchmark_s_prompt_gives_no_score(name):
    for rubric in load_config([f"rubric={name}"]).rubrics.values():
        for text in (rubric.system_prompt, rubric.user_template, rubric.user_template_with_source):
            assert parse_score(text, rubric.title) is None
        answer = rubric.system_prompt.rstrip().replace("<number>", "7.250")
        assert parse_score(answer, rubric.title) == 7.25
        for template in (rubric.user_template, rubric.user_template_with_source):
            assert sorted(re.findall(r"\{(\w+)\}", template)) == ["edit_instruction", "original_description"]
