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
    return load_config([f"judge.mode={mode}"]).rubrics[category].system_prompt


def test_there_is_one_file_per_category_and_one_with_what_they_share():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*NAMES, "answer"}
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
