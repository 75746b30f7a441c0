"""Chains: samples that edit what an earlier one has become; planned, grouped, found missing, edited, judged."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_file import make_picture, make_record, png_bytes

from editbench.components.load import open_dataset
from editbench.config import load as configuration
from editbench.config.schema import Config
from editbench.datasets.base import read_sources
from editbench.editors.chains import ChainSources, chains_of, edit_by_edit
from editbench.editors.fake import FakeEditor
from editbench.editors.one_sample import edit_one
from editbench.errors import EarlierTurnError, UserError
from editbench.judges.prompts import by_rubric, prompts
from editbench.plan import ensure_plan
from editbench.run.folder import Plan, RunDir
from editbench.run.identity import sample_input
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, EditTask, to_dict
from editbench.todo import Todo, find_edit_tasks, find_judge_tasks, withdraw_edits


def record(number: int, sample_id: str, follows: str | None = None) -> dict[str, Any]:
    made = make_record(number, "物理", sample_id)
    return made if follows is None else {**made, "src_img_b64": None, "follows": follows}


def write(folder: Path, records: list[dict[str, Any]]) -> None:
    (folder / "bench.json").write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two chains, turn by turn, and a sample by itself: a1 a2 a3, b1 b2, c."""
    write(
        tmp_path,
        [
            *(record(0, "a1"), record(1, "b1"), record(2, "a2", "a1")),
            *(record(3, "c"), record(4, "b2", "b1"), record(5, "a3", "a2")),
        ],
    )
    return tmp_path


def load(folder: Path, *overrides: str) -> Config:
    places = [f"dataset.path={folder / 'bench.json'}", f"run_dir={folder / 'run'}"]
    return configuration.load([*places, "dataset=json_file", "editor=fake", "judge=fake", *overrides])


def plan(folder: Path, *overrides: str) -> Plan:
    config = load(folder, *overrides)
    RunDir(config.run_dir).create()
    return ensure_plan(config, RunDir(config.run_dir))


def find(folder: Path, *overrides: str) -> Todo[EditTask, Edit]:
    config = load(folder, *overrides)
    return find_edit_tasks(config, RunDir(config.run_dir), plan(folder, *overrides), None)


def put_on_record(folder: Path, **digests: str | None) -> None:
    """Record edits of these samples, each made of what is on record before it; None: it failed."""
    run_dir = RunDir(folder / "run")
    samples = {sample.sample_id: sample for sample in plan(folder).samples}
    units = {task.sample.sample_id: task.unit for task in find(folder / "..", *_elsewhere(folder)).tasks}
    lines = JsonLines(run_dir.edits_index)
    for sample_id, digest in digests.items():
        sample = samples[sample_id]
        before = run_dir.read_edits().get(sample.follows or "")
        lines.append(
            Edit(
                *(sample_id, sample.category, "edited" if digest else "edit_failed", units[sample_id]),
                *(sample_input(sample), 0),
                sha256=digest,
                follows_sha256=before.sha256 if before else None,
            )
        )
    lines.close()
    run_dir.write_config(load(folder).resolved)


def _elsewhere(folder: Path) -> list[str]:
    """A run of the same dataset in which nothing has been done, for the units."""
    return [f"dataset.path={folder / 'bench.json'}", f"run_dir={folder / 'empty'}"]


def ids(tasks: list[EditTask]) -> list[str]:
    return [task.sample.sample_id for task in tasks]


# ---- plan ----


def test_a_sample_that_follows_has_the_first_ones_digest_and_the_instructions_before(folder: Path) -> None:
    samples = {sample.sample_id: sample for sample in plan(folder).samples}
    last = samples["a3"]
    assert (last.follows, last.turn, last.earlier) == ("a2", 3, ["Change picture 0.", "Change picture 2."])
    assert {samples[name].source_sha256 for name in ("a1", "a2", "a3")} == {samples["a1"].source_sha256}
    assert len({sample_input(sample) for sample in samples.values()}) == 6
    assert not {"follows", "earlier"} & set(to_dict(samples["c"]))
    assert RunDir(folder / "run").read_plan() == plan(folder)


def test_the_source_of_a_later_turn_is_never_read_from_the_dataset(folder: Path) -> None:
    write(folder, [record(0, "a1"), {**record(1, "a2", "a1"), "src_img_b64": record(7, "x")["src_img_b64"]}])
    _, second = plan(folder).samples
    assert second.source_sha256 == plan(folder).samples[0].source_sha256
    with pytest.raises(ValueError, match="its source is what becomes of 'a1'"):
        read_sources(open_dataset(load(folder).dataset), second)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        ([record(0, "a2", "a1"), record(1, "a1")], "(id 'a2'): follows 'a1', which is no sample before it"),
        ([record(0, "a1", "a1")], "(id 'a1'): follows 'a1', which is no sample before it"),
        ([record(0, "a1"), record(1, "a2", "a1") | {"follows": ["a1"]}], "follows is a list, must be text"),
        (
            [record(0, "a1") | {"subset": "?"}, record(1, "a2", "a1"), record(2, "a3", "a2")],
            "(id 'a3'): follows 'a2', which is no sample before it",
        ),
    ],
)
def test_what_nobody_stands_before_is_a_bad_record(folder: Path, records: list[dict[str, Any]], says: str) -> None:
    write(folder, records)
    with pytest.raises(UserError) as caught:
        plan(folder)
    assert says in str(caught.value)


def test_an_empty_follows_is_none(folder: Path) -> None:
    write(folder, [record(0, "a1") | {"follows": ""}])
    (sample,) = plan(folder).samples
    assert sample.follows is None and "follows" not in sample.extra
    write(folder, [record(0, "a1", "")])
    with pytest.raises(UserError, match="src_img_b64 is missing"):
        plan(folder)


def test_categories_that_cut_a_chain_are_refused(folder: Path) -> None:
    write(folder, [record(0, "a1"), record(1, "a2", "a1") | {"subset": "社会"}])
    with pytest.raises(UserError, match="categories: 'a2' follows 'a1', which they leave out"):
        plan(folder, "categories=[social]")
    assert len(plan(folder, "limit=1").samples) == 1


def test_a_table_row_can_hold_all_turns_of_a_chain(tmp_path: Path) -> None:
    for name in ("memory", "trace"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png_bytes(make_picture(1)))
        rows = [{"id": "1.png", "turn1": "Add", "turn2": "Move", **({"turn3": "Undo"} if name == "trace" else {})}]
        (tmp_path / name / "annotation.json").write_text(json.dumps(rows), encoding="utf-8")
    settings = ["dataset=folder", f"dataset.path={tmp_path}", "dataset.table='*/annotation.json'"]
    settings += ["dataset.fields.image=id", "dataset.fields.id=[_folder,_stem]", "dataset.fields.category=null"]
    settings += ["dataset.fields.instruction=[turn1,turn2,turn3]", "editor=fake", "judge=fake"]
    config = configuration.load([*settings, f"run_dir={tmp_path / 'run'}"])
    samples = ensure_plan(config, RunDir(tmp_path / "run")).samples
    assert [(sample.sample_id, sample.follows, sample.instruction) for sample in samples] == [
        ("memory/1/1", None, "Add"),
        ("memory/1/2", "memory/1/1", "Move"),
        ("trace/1/1", None, "Add"),
        ("trace/1/2", "trace/1/1", "Move"),
        ("trace/1/3", "trace/1/2", "Undo"),
    ]
    (tmp_path / "memory" / "annotation.json").write_text('[{"id": "1.png", "turn1": "Add", "turn3": "x"}]')
    with pytest.raises(UserError, match="of turn1, turn2, turn3 one before the last is missing"):
        ensure_plan(config, RunDir(tmp_path / "run"))


@pytest.mark.parametrize("what", ["instruction", "image"])
def test_a_field_of_several_that_no_row_has_is_refused(tmp_path: Path, what: str) -> None:
    (tmp_path / "1.png").write_bytes(png_bytes(make_picture(1)))
    (tmp_path / "t.json").write_text('[{"image": "1.png", "instruction": "Add"}]', encoding="utf-8")
    settings = ["dataset=folder", f"dataset.path={tmp_path / 't.json'}", f"dataset.fields.{what}=[{what},turn_3]"]
    config = configuration.load([*settings, "editor=fake", "judge=fake", f"run_dir={tmp_path / 'run'}"])
    with pytest.raises(UserError, match=f"fields.{what}: no row has a field 'turn_3'; there are _folder, image"):
        ensure_plan(config, RunDir(tmp_path / "run"))


def test_turns_of_rows_with_the_same_stem_stay_apart(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png_bytes(make_picture(1)))
    rows = [{"image": f"{name}/1.png", "t1": f"Add {name}", "t2": f"Move {name}"} for name in ("x", "y")]
    (tmp_path / "t.json").write_text(json.dumps(rows), encoding="utf-8")
    settings = ["dataset=folder", f"dataset.path={tmp_path / 't.json'}", "dataset.fields.instruction=[t1,t2]"]
    config = configuration.load([*settings, "editor=fake", "judge=fake", f"run_dir={tmp_path / 'run'}"])
    first, second, third, fourth = ensure_plan(config, RunDir(tmp_path / "run")).samples
    assert (second.follows, fourth.follows) == (first.sample_id, third.sample_id)
    assert (second.earlier, fourth.earlier) == (["Add x"], ["Add y"])
    assert len({sample.sample_id for sample in (first, second, third, fourth)}) == 4


# ---- what is to be done ----


def test_chains_are_dealt_as_a_whole_in_the_order_of_their_first_turns(folder: Path) -> None:
    assert [ids(chain) for chain in chains_of(find(folder).tasks)] == [["a1", "a2", "a3"], ["b1", "b2"], ["c"]]


def test_two_samples_that_follow_the_same_one_are_of_one_chain(folder: Path) -> None:
    write(folder, [record(0, "a1"), record(1, "a2", "a1"), record(2, "back", "a1")])
    assert [ids(chain) for chain in chains_of(find(folder).tasks)] == [["a1", "a2", "back"]]


def test_a_resumed_chain_goes_on_from_the_edit_that_is_there(folder: Path) -> None:
    put_on_record(folder, a1="11")
    todo = find(folder)
    assert [ids(chain) for chain in chains_of(todo.tasks)] == [["b1", "b2"], ["a2", "a3"], ["c"]]
    before = {task.sample.sample_id: task.before and task.before.sha256 for task in todo.tasks}
    assert before == {"a2": "11", "a3": None, "b1": None, "b2": None, "c": None}
    assert [edit.sample_id for edit in todo.kept] == ["a1"]


def test_a_turn_is_made_anew_with_the_one_before_and_when_it_was_made_of_another_image(folder: Path) -> None:
    put_on_record(folder, a1="11", a2="12", a3="13")
    assert "a3" not in ids(find(folder).tasks)
    put_on_record(folder, a2="new")  # as a restored file could have it: a3 was made of another image
    assert ids(find(folder).tasks) == ["b1", "c", "b2", "a3"]
    put_on_record(folder, a1=None, a2=None, a3=None)
    assert "a1" not in ids(find(folder).tasks), "failed turns are kept"
    assert ids(find(folder, "retry_failed=true").tasks) == ["a1", "b1", "a2", "c", "b2", "a3"]


def test_other_settings_count_for_all_of_a_chain(folder: Path) -> None:
    put_on_record(folder, a1="11", a2="12", a3="13")
    with pytest.raises(UserError, match="3 edits of this run were made with other settings"):
        find(folder, "seed=9")
    todo = find(folder, "seed=9", "on_change=redo")
    assert ids(todo.tasks) == ["a1", "b1", "a2", "c", "b2", "a3"]
    withdraw_edits(todo.tasks, RunDir(folder / "run"))
    assert {edit.state for edit in RunDir(folder / "run").read_edits().values()} == {"pending"}


def test_a_signal_ends_a_chain_between_two_of_its_edits(folder: Path) -> None:
    first, *others = chains_of(find(folder).tasks)
    seen = []
    for task, then in edit_by_edit([(first, others[0]), (others[0], None)], lambda: len(seen) == 2):
        seen.append((task.sample.sample_id, then and then.sample.sample_id))
    assert seen == [("a1", "a2"), ("a2", "a3"), ("b1", "b2"), ("b2", None)]


# ---- edit ----


class Fails(FakeEditor):
    """Fails at one instruction."""

    def __init__(self, instruction: str) -> None:
        super().__init__("cpu")
        self.instruction, self.sizes = instruction, []

    def edit(self, source: Any, instruction: str, seed: int, on_step: Any) -> Any:
        self.sizes.append(source.tobytes())
        if instruction == self.instruction:
            raise RuntimeError("no")
        return super().edit(source, instruction, seed, on_step)


def edit_chain(folder: Path, editor: FakeEditor) -> list[tuple[Edit, bytes | None]]:
    config, tasks = load(folder), chains_of(find(folder).tasks)[0]
    sources = ChainSources(config, RunDir(config.run_dir), tasks)
    made = []
    for drawn, then in edit_by_edit([(tasks, None)], lambda: False):
        task, read = sources.take(drawn, then)
        edit, image = edit_one(editor, task, read, lambda _done, _total: None)
        made.append(sources.keep(edit, image)())
    return made


def test_each_turn_edits_the_image_before_and_says_which(folder: Path) -> None:
    editor = Fails("")
    (first, _), (second, _), (third, png) = edit_chain(folder, editor)
    assert (first.follows_sha256, second.follows_sha256, third.follows_sha256) == (None, first.sha256, second.sha256)
    assert first.sha256 and second.sha256 and png and len(set(editor.sizes)) == 3
    assert editor.sizes[0] == make_picture(0).tobytes()


@pytest.mark.parametrize(("number", "states"), [(0, ["x", "x", "x"]), (2, ["ok", "x", "x"])])
def test_turns_behind_a_failed_one_fail_with_that_cause_and_edit_nothing(
    folder: Path, number: int, states: list[str]
) -> None:
    editor = Fails(f"Change picture {number}.")
    made = [edit for edit, _ in edit_chain(folder, editor)]
    assert [edit.state for edit in made] == [{"ok": "edited", "x": "edit_failed"}[state] for state in states]
    last = made[-1]
    assert last.error_type == EarlierTurnError.__name__
    assert last.error is not None and last.error.startswith("'a2', which it follows, has no edited image (edit_failed")
    assert len(editor.sizes) == states.index("x") + 1, "the editor is asked no more"


# ---- judge ----


def test_a_turn_is_judged_against_the_result_before_and_told_the_instructions_before(folder: Path) -> None:
    put_on_record(folder, a1="11", a2="12", a3="13")
    config = load(folder, "judge.compare_with_original=true")
    tasks = {t.sample.sample_id: t for t in find_judge_tasks(config, RunDir(config.run_dir), plan(folder), None).tasks}
    assert [task.before and task.before.sha256 for task in tasks.values()] == [None, "11", "12"]
    user = prompts(by_rubric(config.rubrics["physical"], True), tasks["a3"].sample)[1]
    assert user.startswith("This edit is step 3 of a series")
    assert "were:\n1. Change picture 0.\n2. Change picture 2.\nJudge" in user
    assert not prompts(by_rubric(config.rubrics["physical"], True), tasks["a1"].sample)[1].startswith("This edit")
    unit = tasks["a3"].unit
    put_on_record(folder, a2="other", a3="13")
    tasks = {t.sample.sample_id: t for t in find_judge_tasks(config, RunDir(config.run_dir), plan(folder), None).tasks}
    assert tasks["a3"].unit != unit, "the same edit beside another source is another judgment"


def test_an_edit_of_an_earlier_image_is_not_judged(folder: Path) -> None:
    put_on_record(folder, a1="11", a2="12", a3="13")
    put_on_record(folder, a2="new")
    config = load(folder)
    tasks = find_judge_tasks(config, RunDir(config.run_dir), plan(folder), None).tasks
    assert [task.sample.sample_id for task in tasks] == ["a1", "a2"]
