"""The plan: which samples in which order, made once, and every bad record told before a model loads."""

import base64
import hashlib
import json
import re

import pytest

from editbench.config.load import load
from editbench.datasets.json_file import JsonFile
from editbench.errors import UserError
from editbench.plan import ensure_plan
from editbench.run.folder import RunDir
from editbench.run.identity import sample_key

PNG = base64.b64encode(b"an image").decode()


def record(category, name, **changes):
    fields = {
        "subset": category,
        "original_description_en": f"Picture {name}",
        "edit_instruction_en": f"Change {name}",
        "edit_instruction": f"改变 {name}",
        "src_img_b64": PNG,
        "original_image_path": f"{name}.png",
    }
    return {key: value for key, value in (fields | changes).items() if value is not None}


class Bench:
    """A benchmark file and the run folder that is planned from it."""

    def __init__(self, folder):
        self.path = folder / "bench.json"
        self.run_dir = RunDir(folder / "run")

    def write(self, records):
        self.path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")

    def plan(self, *overrides):
        config = load(
            [
                "editor=fake",
                "judge=fake",
                f"dataset.path={self.path}",
                f"run_dir={self.run_dir.root}",
                *overrides,
            ]
        )
        return ensure_plan(config, self.run_dir)

    def refusal(self, *overrides):
        with pytest.raises(UserError) as caught:
            self.plan(*overrides)
        assert self.run_dir.read_plan() is None
        return str(caught.value)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    bench.write(
        [
            record("物理", "a"),
            record("environment", "b"),
            record("physical", "c"),
            record("社会", "d"),
            record("环境", "e"),
        ]
    )
    return bench


@pytest.fixture
def scans(monkeypatch):
    """Counts how often a dataset is read through."""
    counted = []
    original = JsonFile.scan

    def scan(self):
        counted.append(self.path)
        return original(self)

    monkeypatch.setattr(JsonFile, "scan", scan)
    return counted


def ids(plan):
    return [sample.sample_id for sample in plan.samples]


def test_samples_are_planned_in_the_order_of_the_file_under_their_rubrics_names(bench):
    plan = bench.plan()
    assert [(s.index, s.sample_id, s.category) for s in plan.samples] == [
        (0, "a", "physical"),
        (1, "b", "environmental"),
        (2, "c", "physical"),
        (3, "d", "social"),
        (4, "e", "environmental"),
    ]
    first = plan.samples[0]
    assert (first.instruction, first.description, first.key) == ("Change a", "Picture a", sample_key("a"))
    assert first.source_sha256 == hashlib.sha256(b"an image").hexdigest()
    assert plan.skipped == []


def test_the_plan_is_kept_in_the_run_folder(bench):
    assert bench.run_dir.read_plan() is None
    plan = bench.plan()
    assert bench.run_dir.read_plan() == plan
    assert bench.run_dir.logs.is_dir()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("categories=[physical]", ["a", "c"]),
        ("categories=['物理']", ["a", "c"]),
        ("categories=[environment]", ["b", "e"]),
        ("categories=[social,'环境']", ["b", "d", "e"]),
        ("limit=2", ["a", "b"]),
        ("limit=99", ["a", "b", "c", "d", "e"]),
    ],
)
def test_selected_samples_are_counted_anew(bench, override, expected):
    plan = bench.plan(override)
    assert ids(plan) == expected
    assert [sample.index for sample in plan.samples] == list(range(len(expected)))


def test_limit_counts_within_the_selected_categories(bench):
    assert ids(bench.plan("categories=[environmental]", "limit=1")) == ["b"]


def test_a_selection_without_samples_is_an_error(bench):
    assert "no sample is left" in bench.refusal("categories=[causal]")


def test_an_unknown_category_to_select_is_named_with_the_known_ones(bench):
    message = bench.refusal("categories=[phisical]")
    assert "categories: category 'phisical' has no rubric" in message
    assert "causal, environmental, physical, referential, social" in message


# ---- made once ----


def test_an_unchanged_plan_is_read_not_made(bench, scans):
    first = bench.plan()
    assert bench.plan() == first
    assert bench.plan("seed=7", "editor.latency_s=1", "judge.batch_size=3") == first
    assert len(scans) == 1


@pytest.mark.parametrize(
    "override",
    ["limit=3", "categories=[physical]", "dataset.language=zh", "rubrics.physical.names=[physical,'物理',physics]"],
)
def test_a_plan_is_made_anew_when_what_it_depends_on_changes(bench, scans, override):
    bench.plan()
    changed = bench.plan(override)
    assert len(scans) == 2
    assert bench.run_dir.read_plan() == changed


def test_a_plan_is_made_anew_when_the_file_changes(bench, scans):
    bench.plan()
    bench.write([record("物理", "new")])
    assert ids(bench.plan()) == ["new"]
    assert len(scans) == 2


def test_a_dry_run_plans_and_writes_nothing(bench):
    assert ids(bench.plan("dry_run=true")) == ["a", "b", "c", "d", "e"]
    assert not bench.run_dir.root.exists()


def test_a_dry_run_leaves_an_older_plan_as_it_is(bench):
    plan = bench.plan()
    assert ids(bench.plan("dry_run=true", "limit=1")) == ["a"]
    assert bench.run_dir.read_plan() == plan


# ---- bad records ----


def test_an_empty_dataset_is_an_error(bench):
    bench.write([])
    assert "the dataset holds no records" in bench.refusal()


def test_a_duplicate_id_names_the_record_that_had_it_first(bench):
    bench.write([record("物理", "a"), record("物理", "b"), record("环境", "a")])
    message = bench.refusal()
    assert "1 bad record in the dataset (1 kind of problem)" in message
    assert "record 2 (id 'a'): has the same id as record 0" in message
    assert "dataset.on_bad_record=skip" in message


def test_an_unknown_category_tells_how_to_add_a_rubric(bench):
    bench.write([record("物理", "a"), record("美学", "b")])
    message = bench.refusal()
    assert "record 1 (id 'b'): category '美学' has no rubric (known: causal, environmental, physical" in message
    assert "+rubric@rubrics.mine=mine" in message
    assert "with '美学' among its names" in message


def test_the_rubric_for_any_edit_is_not_told_to_be_chosen_where_it_is_but_how_it_takes_a_category(bench):
    bench.write([record("物理", "a")])
    general = ["rubric=general", "editor=fake", f"dataset.path={bench.path}", f"run_dir={bench.run_dir.root}"]
    with pytest.raises(UserError, match="category '物理' has no rubric") as raised:
        ensure_plan(load(general), bench.run_dir)
    assert "such as rubric=general" not in str(raised.value)
    told = re.search(r"'(rubrics\.general\.names=\S+)'", str(raised.value))[1]
    assert [sample.category for sample in ensure_plan(load([*general, told]), bench.run_dir).samples] == ["general"]


def test_a_rubric_added_as_told_makes_the_category_known(bench):
    bench.write([record("美学", "b")])
    config_dir = bench.path.parent / "conf"
    (config_dir / "rubric").mkdir(parents=True)
    (config_dir / "rubric" / "mine.yaml").write_text(
        "names: [aesthetic, 美学]\ntitle: T\nsystem_prompt: S\n"
        "user_template: '{edit_instruction}'\nuser_template_with_source: '{edit_instruction}'\n",
        encoding="utf-8",
    )
    overrides = ["editor=fake", f"dataset.path={bench.path}", f"run_dir={bench.run_dir.root}"]
    config = load([*overrides, "+rubric@rubrics.mine=mine"], str(config_dir))
    assert [sample.category for sample in ensure_plan(config, bench.run_dir).samples] == ["mine"]


def test_two_rubrics_cannot_claim_one_name(bench):
    message = bench.refusal("+rubric@rubrics.mine=causal", "rubrics.mine.names=[aesthetic,physical]")
    assert re.fullmatch("rubrics.mine.names: 'physical' already belongs to rubric '?physical'?", message)


def test_every_bad_record_is_told_at_once(bench):
    bench.write(["text", record("物理", "a", edit_instruction_en=None), record("物理", "a"), record("?", "x")])
    message = bench.refusal()
    assert message.startswith("3 bad records in the dataset (3 kinds of problem)")
    lines = message.splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == [
        "record 0 (id '?')",
        "record 1 (id 'a')",
        "record 3 (id 'x')",
    ]
    assert "edit_instruction_en is missing" in lines[1]


@pytest.mark.parametrize(("count", "more"), [(20, None), (21, "  … and 1 more"), (270, "  … and 250 more")])
def test_at_most_20_bad_records_are_shown_and_the_count_of_all(bench, count, more):
    bench.write([record("物理", f"s{i}", src_img_b64=5) for i in range(count)])
    lines = bench.refusal().splitlines()
    assert lines[0].startswith(f"{count} bad records in the dataset (1 kind of problem)")
    assert [line for line in lines if "record " in line and "(id" in line] == [
        f"  record {i} (id 's{i}'): src_img_b64 is an int, must be text" for i in range(20)
    ]
    assert lines[21:] == ([more] if more else [])


def test_ids_cannot_act_in_the_terminal_the_problems_are_printed_on(bench):
    bench.write([record("物理", "a\x1b[2Jb", src_img_b64=None), record("\x1b]0;x\x07", "c")])
    assert "\x1b" not in bench.refusal()


def test_with_skip_the_rest_is_planned_and_the_skipped_are_on_record(bench):
    bench.write(
        ["text", record("物理", "a"), record("物理", "a"), record("?", "x"), record("环境", "b", src_img_b64="!")]
    )
    plan = bench.plan("dataset.on_bad_record=skip")
    assert ids(plan) == ["a", "b"]
    assert [sample.index for sample in plan.samples] == [0, 1]
    assert [(bad["index"], bad["sample_id"]) for bad in plan.skipped] == [(0, "?"), (2, "a"), (3, "x")]
    assert plan.skipped[0]["problem"] == "is a str, must be an object"
    assert bench.run_dir.read_plan() == plan


def test_half_a_surrogate_pair_can_be_skipped(bench):
    bench.path.write_text(json.dumps([record("物理", "a\ud800"), record("物理", "b")]))
    plan = bench.plan("dataset.on_bad_record=skip")
    assert ids(plan) == ["b"]
    assert len(bench.run_dir.read_plan().skipped) == 1


def test_with_nothing_but_bad_records_skip_is_an_error_too(bench):
    bench.write(["text"])
    assert "no sample is left" in bench.refusal("dataset.on_bad_record=skip")


def test_a_picture_that_cannot_be_read_is_planned_and_fails_later_alone(bench):
    bench.write([record("物理", "a", src_img_b64="!!!"), record("物理", "b")])
    assert ids(bench.plan()) == ["a", "b"]


def test_hostile_ids_are_shown_as_given_and_get_keys_that_differ(bench):
    names = ["..\\..\\x", "CON", "con", "y" * 300, "🐈", "a b", "<b>"]
    bench.write([record("物理", "", original_image_path=name + ".png") for name in names])
    plan = bench.plan()
    assert ids(plan) == ["x", *names[1:]]
    assert len({sample.key.lower() for sample in plan.samples}) == len(names)


def test_a_damaged_plan_file_is_named(bench):
    bench.plan()
    bench.run_dir.plan_file.write_text("{")
    with pytest.raises(UserError, match=r"plan.json is no plan"):
        bench.plan()


# ---- ids ----


def digest(path, instruction):
    return hashlib.sha256(f"{path}\n{instruction}".encode()).hexdigest()[:8]


def test_of_several_samples_on_one_image_each_has_a_digest_behind_the_stem_whatever_the_order(bench):
    records = [
        record("物理", "a", edit_instruction_en="Add a hat"),
        record("物理", "b"),
        record("物理", "a", edit_instruction_en="Remove it"),
    ]
    bench.write(records)
    first, second = f"a-{digest('a.png', 'Add a hat')}", f"a-{digest('a.png', 'Remove it')}"
    assert ids(bench.plan()) == [first, "b", second]
    bench.write(records[::-1])
    assert ids(bench.plan()) == [second, "b", first]
    assert ids(bench.plan("limit=1")) == [second]  # a selection changes no id


def test_equal_names_in_two_folders_are_told_apart_by_their_path(bench):
    paths = ["cats/1.png", "dogs/1.png"]
    bench.write([record("物理", "", original_image_path=path, edit_instruction_en="Add a hat") for path in paths])
    assert ids(bench.plan()) == [f"1-{digest(path, 'Add a hat')}" for path in paths]


def test_a_true_duplicate_is_told_with_the_rule_that_ids_follow(bench):
    bench.write([record("物理", "a"), record("环境", "a")])
    message = bench.refusal()
    assert "record 1 (id 'a'): has the same id as record 0: an id is the record's own" in message
    assert "the image's file name without its ending" in message
    bench.write([record("物理", "a", id="x"), record("物理", "b", id="x")])
    assert "record 1 (id 'x'): has the same id as record 0" in bench.refusal()


def test_an_id_made_longer_can_meet_one_that_was_given(bench):
    given = f"a-{digest('a.png', 'Change a')}"
    bench.write([record("物理", "b", id=given), record("物理", "a"), record("物理", "a", edit_instruction_en="More")])
    assert f"record 1 (id {given!r}): has the same id as record 0" in bench.refusal()


# ---- what else a record holds, and images that the scan does not read ----


def test_other_fields_are_kept_in_the_plan_but_no_long_ones(bench):
    bench.path.write_text(
        json.dumps([record("物理", "a", difficulty="hard", tags=["x", 1.5, None], mask="A" * 5000, odd=float("nan"))])
    )
    bench.plan()
    (sample,) = bench.run_dir.read_plan().samples
    kept = {"difficulty": "hard", "tags": ["x", 1.5, None], "odd": None, "original_image_path": "a.png"}
    assert sample.extra == {"edit_instruction": "改变 a"} | kept


def test_images_by_path_are_read_for_planned_samples_alone(bench, monkeypatch):
    for name in "abc":
        (bench.path.parent / f"{name}.png").write_bytes(name.encode())
    bench.write([record("物理", name, src_img_b64=None) for name in "abc"])
    read, original = [], JsonFile.read
    monkeypatch.setattr(JsonFile, "read", lambda self, locator: read.append(locator[0]) or original(self, locator))
    plan = bench.plan("limit=2")
    assert read == [0, 1]
    assert [s.source_sha256 for s in plan.samples] == [hashlib.sha256(name).hexdigest() for name in (b"a", b"b")]
