"""Keys, seeds and units: made from the content alone, and from all of it."""

import dataclasses
import hashlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editbench.components.checkpoint import Checkpoint
from editbench.config.schema import ComponentConfig
from editbench.run.identity import (
    component_identity,
    edit_unit,
    judgment_unit,
    refuse_changed,
    sample_input,
    sample_key,
    sample_seed,
)
from editbench.run.records import Sample

HOSTILE_IDS = [
    "../../x",
    "/abs",
    "a/b",
    "a\\b",
    "C:\\x",
    "CON",
    "nul",
    "con.txt",
    "x" * 300,
    "x" * 299 + "y",
    "🐈",
    "🐕",
    "",
    " ",
    ".",
    "..",
    "...",
    "-",
    "-rf",
    "A",
    "a",
    "a.png",
    "a_png",
    "a\nb",
    "a\0b",
    "\u202egnp",
    "<script>",
    "00000_物理_medium",
    "00000_环境_medium",
    "%2e%2e%2f",
    "$(id)",
    "*",
    "id",
]


@pytest.mark.parametrize("sample_id", HOSTILE_IDS, ids=ascii)
def test_a_key_is_a_safe_name_everywhere(sample_id):
    key = sample_key(sample_id)
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert 1 <= len(key) <= 51
    assert key[0] not in "-_"
    assert key.upper() not in ("CON", "NUL", "AUX", "PRN", "COM1", "LPT1")


def test_keys_differ_also_where_letter_case_does_not_count():
    keys = {sample_key(sample_id).lower() for sample_id in HOSTILE_IDS}
    assert len(keys) == len(HOSTILE_IDS)


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=20))
def test_keys_of_different_ids_differ(sample_ids):
    assert len({sample_key(sample_id).lower() for sample_id in sample_ids}) == len(sample_ids)


def test_a_key_shows_what_is_harmless_of_its_id():
    assert sample_key("00000_物理_medium").startswith("00000___medium-")
    assert sample_key("../../x").startswith("x-")
    assert sample_key("🐈").startswith("id-")
    digest = hashlib.sha256(json.dumps("astronaut").encode()).hexdigest()
    assert sample_key("astronaut") == f"astronaut-{digest[:10]}"


def test_a_seed_follows_from_the_run_seed_and_the_id_alone():
    digest = hashlib.sha256(json.dumps([42, "00000_物理_medium"], ensure_ascii=False).encode()).digest()
    assert sample_seed(42, "00000_物理_medium") == int.from_bytes(digest[:4], "big")


@given(st.integers(0, 2**63), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_seed_is_one_that_every_generator_takes(run_seed, sample_id):
    seed = sample_seed(run_seed, sample_id)
    assert 0 <= seed < 2**32
    assert seed == sample_seed(run_seed, sample_id)


def test_seeds_differ_between_samples_and_between_runs():
    seeds = {sample_seed(run, f"s{i}") for run in (1, 2, 12) for i in (1, 2, 11, 21)}
    assert len(seeds) == 12


EDIT = {
    "source_sha256": "ab" * 32,
    "instruction": "Add a hat",
    "editor": {"class": "X", "kwargs": {"steps": 50, "size": [1, 2]}, "checkpoint": "f"},
    "seed": 7,
}
OTHER_EDIT = {
    "source_sha256": "cd" * 32,
    "instruction": "Add a hat ",
    "editor": {"class": "X", "kwargs": {"steps": 40, "size": [1, 2]}, "checkpoint": "f"},
    "seed": 8,
}


def unit_of(source_sha256, instruction, editor, seed):
    sample = Sample(0, "a", "a-0", "physical", instruction, "a description", source_sha256, [0, 0, 0])
    return edit_unit(sample_input(sample), editor, seed)


def test_an_edit_unit_differs_with_each_ingredient_and_every_mixture_of_them():
    units = set()
    for choice in itertools.product([False, True], repeat=len(EDIT)):
        units.add(unit_of(**{k: (OTHER_EDIT if c else EDIT)[k] for k, c in zip(EDIT, choice, strict=True)}))
    assert len(units) == 2 ** len(EDIT)
    assert all(len(unit) == 64 for unit in units)


def test_the_order_of_arguments_in_a_yaml_does_not_count():
    shuffled = {"checkpoint": "f", "kwargs": {"size": [1, 2], "steps": 50}, "class": "X"}
    assert unit_of(**EDIT) == unit_of(**EDIT | {"editor": shuffled})


def test_a_judgment_unit_differs_with_images_prompts_judge_and_their_order():
    judge = {"class": "J", "completed": "Score: "}
    units = [
        judgment_unit(["a"], ["s", "u"], judge),
        judgment_unit(["b"], ["s", "u"], judge),
        judgment_unit(["src", "a"], ["s", "u"], judge),
        judgment_unit(["a", "src"], ["s", "u"], judge),
        judgment_unit(["a"], ["u", "s"], judge),
        judgment_unit(["a"], ["su", ""], judge),
        judgment_unit(["a"], ["s", "u", "retry"], judge),
        judgment_unit(["a"], ["s", "u"], judge | {"completed": None}),
        judgment_unit(["a", "s"], ["u"], judge),
    ]
    assert len(set(units)) == len(units)
    assert judgment_unit(iter(["a"]), iter(["s", "u"]), judge) == units[0]


def checkpoint(tmp_path, fingerprint="f1", revision=None):
    return Checkpoint(tmp_path, revision, 10, fingerprint, "note")


def component(**changes):
    fields = {"target": "pkg.Editor", "name": "mine", "kwargs": {"checkpoint": "/a", "revision": None, "steps": 50}}
    return ComponentConfig(**fields | changes)


def test_a_component_is_the_same_under_another_name_in_another_place_by_another_branch(tmp_path):
    identity = component_identity(component(), checkpoint(tmp_path))
    moved = component(name="other", kwargs={"checkpoint": "/b", "revision": "main", "steps": 50})
    assert identity == component_identity(moved, checkpoint(tmp_path / "elsewhere", revision="abc"))


def test_a_component_differs_with_class_arguments_and_the_checkpoint_s_content(tmp_path):
    identities = [
        component_identity(component(), checkpoint(tmp_path)),
        component_identity(component(), checkpoint(tmp_path, "f2")),
        component_identity(component(), None),
        component_identity(component(target="pkg.Other"), checkpoint(tmp_path)),
        component_identity(component(kwargs={"checkpoint": "/a", "steps": 40}), checkpoint(tmp_path)),
        component_identity(component(kwargs={"checkpoint": "/a", "steps": 50, "size": 1}), checkpoint(tmp_path)),
    ]
    assert len({json.dumps(identity, sort_keys=True) for identity in identities}) == len(identities)


def test_a_lora_counts_by_its_content_and_scale_not_by_its_place(tmp_path):
    def identity(fingerprint, **lora):
        found = dataclasses.replace(checkpoint(tmp_path), lora=checkpoint(tmp_path, fingerprint, lora.get("revision")))
        return json.dumps(component_identity(component(kwargs={"checkpoint": "/a", "lora": lora}), found))

    here = identity("l1", path="/here", weight_name="a.safetensors", scale=1.0)
    assert here == identity("l1", path="x/y", weight_name="b.safetensors", revision="main", scale=1.0)
    assert here != identity("l2", path="/here", weight_name="a.safetensors", scale=1.0)
    assert here != identity("l1", path="/here", weight_name="a.safetensors", scale=0.5)
    assert here != json.dumps(component_identity(component(kwargs={"checkpoint": "/a"}), checkpoint(tmp_path)))


BEFORE = {"seed": 1, "editor": {"name": "a", "call": {"scale": 4.0}}, "log_level": "INFO", "seed_of_something": 1}


def test_a_refusal_names_the_keys_that_differ_their_values_and_the_choices():
    after = {"seed": 2, "editor": {"name": "a", "call": {"scale": 3.0}, "steps": 5}, "log_level": "DEBUG"}
    message = str(refuse_changed("edits", 12, BEFORE, after, ("editor.", "seed")))
    assert message.startswith("12 edits of this run were made with other settings (")
    assert "editor.call.scale: 4.0 -> 3.0; editor.steps: None -> 5; seed: 1 -> 2" in message
    assert "log_level" not in message
    assert "another run_name" in message
    assert "on_change=redo" in message


def test_a_refusal_without_a_changed_key_names_the_content():
    message = str(refuse_changed("judgments", 1, BEFORE, BEFORE | {"log_level": "DEBUG"}, ("editor.", "seed")))
    assert "(a checkpoint's files, the dataset's content, pictures, or settings not on record)" in message


def test_a_refusal_can_be_made_without_an_earlier_configuration():
    message = str(refuse_changed("edits", 1, {}, {"seed": 1}, ("seed",)))
    assert "seed" not in message
    assert "on_change=redo" in message


def test_a_whole_number_is_the_same_setting_written_with_or_without_a_point():
    assert judgment_unit([], [], {"scale": 4}) == judgment_unit([], [], {"scale": 4.0})
    assert judgment_unit([], [], {"scale": 4}) != judgment_unit([], [], {"scale": 4.5})


def test_a_part_of_the_configuration_that_is_not_on_record_is_not_what_changed() -> None:
    """A judge's file holds no `distributed`; what changed then are the checkpoint's files."""
    after = {"judge": {"name": "nano"}, "distributed": {"cpu_threads": 1}}
    message = str(refuse_changed("judgments", 2, {"judge": {"name": "nano"}}, after, ("judge.", "distributed.")))
    assert "cpu_threads" not in message and "(a checkpoint's files, " in message
