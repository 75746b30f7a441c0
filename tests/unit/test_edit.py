"""Phase 1 without processes: what becomes of one sample, what is found missing, what is written."""

import hashlib
import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_file import make_picture, write_benchmark
from PIL import Image
from running import run_python

from editbench.components.checkpoint import Checkpoint
from editbench.components.load import open_dataset
from editbench.config import load as configuration
from editbench.config.schema import Config, SourceConfig
from editbench.datasets.sources import Sources
from editbench.distributed.ranks import Ranks
from editbench.edit import edit_all, find_missing, open_sink
from editbench.editors.fake import FakeEditor
from editbench.editors.one_sample import edit_one, encode
from editbench.errors import InvalidOutputError, UserError
from editbench.images import decode_rgb
from editbench.plan import ensure_plan
from editbench.run.folder import Plan, RunDir
from editbench.run.identity import sample_input, sample_seed
from editbench.run.lines import JsonLines
from editbench.run.records import Edit, EditTask
from editbench.run.recovery import take_up_stored
from editbench.run.session import Session, SilentSession
from editbench.run.shards import read_image
from editbench.run.sinks import EditSink
from editbench.run.tally import Tally
from editbench.todo import all_edited, find_edit_tasks, withdraw_edits
from editbench.verify import verify

CATEGORIES = ["物理", "environmental", "社会", "causal", "指代", "物理"]


class Run:
    """A planned run of six samples on the fakes."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        self.folder = folder
        if not (folder / "bench.json").exists():
            write_benchmark(folder / "bench.json", CATEGORIES)
        self.config = self.load(*overrides)
        self.run_dir = RunDir(self.config.run_dir)
        self.run_dir.create()
        self.plan: Plan = ensure_plan(self.config, self.run_dir)

    def load(self, *overrides: str) -> Config:
        fixed = [f"dataset.path={self.folder / 'bench.json'}", f"run_dir={self.folder / 'run'}"]
        return configuration.load(["editor=fake", "judge=fake", *fixed, *overrides])

    def find(self, *overrides: str, checkpoint: Checkpoint | None = None) -> tuple[list[EditTask], list[Edit]]:
        config = self.load(*overrides)
        return find_edit_tasks(config, self.run_dir, ensure_plan(config, self.run_dir), checkpoint)

    def record(self, tasks: list[EditTask], state: str = "edited") -> None:
        """Put these tasks on record as done, as a phase with this configuration would."""
        index = JsonLines(self.run_dir.edits_index)
        for task in tasks:
            index.append(
                Edit(
                    task.sample.sample_id, task.sample.category, state, task.unit, sample_input(task.sample), task.seed
                )
            )
        index.close()
        self.run_dir.write_config(self.config.resolved)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


class Returns:
    """An editor that returns what it is given, or raises it."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def edit(
        self, source: Image.Image, instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def describe(self) -> dict[str, Any]:
        return {}


def no_step(_done: int, _total: int) -> None:
    pass


def edit_task(run: Run, editor: Any, task: Any) -> tuple[Edit, Image.Image | None]:
    read = Sources(run.config.dataset, SourceConfig()).take(task.sample, then=None)
    return edit_one(editor, task, read, no_step)


def edit_with(run: Run, editor: Any) -> tuple[Edit, Image.Image | None]:
    return edit_task(run, editor, run.find()[0][0])


def test_a_good_edit_is_recorded_with_its_sizes_and_no_error(run: Run) -> None:
    edit, image = edit_with(run, Returns(make_picture(1, (64, 48))))
    task = run.find()[0][0]
    assert image is not None
    assert (edit.state, edit.sample_id, edit.category) == ("edited", "00000_物理", "physical")
    assert (edit.unit, edit.seed) == (task.unit, task.seed)
    assert (edit.source_width, edit.source_height, edit.width, edit.height) == (40, 30, 64, 48)
    assert (edit.error_type, edit.error) == (None, None)
    assert edit.latency_s is not None


def test_an_edit_that_had_no_room_is_tried_once_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr("editbench.distributed.devices.empty_cache", lambda: emptied.append(True))
    results = [torch.OutOfMemoryError("CUDA out of memory"), make_picture(1)]

    class Editor(Returns):
        def edit(self, *args: Any) -> Any:
            self.result = results.pop(0)
            return super().edit(*args)

    edit, image = edit_with(run, Editor(None))
    assert (edit.state, edit.error, len(emptied), results) == ("edited", None, 1, [])
    assert image is not None


@pytest.mark.parametrize(
    ("result", "state", "error_type", "said"),
    [
        (RuntimeError("CUDA out of memory"), "edit_failed", "RuntimeError", "CUDA out of memory"),
        (InvalidOutputError("holds NaN"), "invalid_output", "InvalidOutputError", "holds NaN"),
        (InvalidOutputError("returned (8, 8) pixels"), "invalid_output", "InvalidOutputError", "(8, 8)"),
        (Image.new("RGB", (40, 30), (7, 8, 9)), "invalid_output", "InvalidOutputError", "(7, 8, 9)"),
        (make_picture(1).convert("L"), "invalid_output", "InvalidOutputError", "mode L"),
        (make_picture(1).convert("RGBA"), "invalid_output", "InvalidOutputError", "mode RGBA"),
        (None, "invalid_output", "InvalidOutputError", "the editor returned a NoneType, must be a PIL image"),
    ],
    ids=["exception", "nan", "wrong size", "uniform", "grey", "rgba", "no image"],
)
def test_a_failed_edit_has_state_and_cause_but_never_an_image(
    run: Run, result: Any, state: str, error_type: str, said: str
) -> None:
    edit, image = edit_with(run, Returns(result))
    assert image is None
    assert (edit.state, edit.error_type) == (state, error_type)
    assert edit.error is not None and said in edit.error
    assert (edit.width, edit.height, edit.sha256, edit.shard, edit.offset, edit.length) == (None,) * 6
    assert (edit.source_width, edit.source_height) == (40, 30)


def test_a_source_that_cannot_be_decoded_fails_alone(tmp_path: Path) -> None:
    write_benchmark(tmp_path / "bench.json", CATEGORIES)
    records = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    records[0]["src_img_b64"] = records[0]["src_img_b64"][:80]
    records[1]["src_img_b64"] = "not base64!"
    (tmp_path / "bench.json").write_text(json.dumps(records), encoding="utf-8")
    run = Run(tmp_path)
    tasks, _ = run.find()
    results = [edit_task(run, FakeEditor("cpu"), task) for task in tasks]
    assert [edit.state for edit, _ in results] == ["edit_failed"] * 2 + ["edited"] * 4
    assert [image is None for _, image in results] == [True] * 2 + [False] * 4
    assert "no readable image" in (results[0][0].error or "")
    assert "no base64" in (results[1][0].error or "")


def test_a_source_that_changed_since_the_plan_is_not_edited(run: Run) -> None:
    records = json.loads((run.folder / "bench.json").read_text(encoding="utf-8"))
    task = run.find()[0][0]
    changed = json.dumps(records, ensure_ascii=False, indent=1).replace(records[0]["src_img_b64"][-12:], "A" * 12)
    (run.folder / "bench.json").write_text(changed, encoding="utf-8")
    edit, image = edit_task(run, FakeEditor("cpu"), task)
    assert (edit.state, image) == ("edit_failed", None)
    assert "no longer the planned one" in (edit.error or "")


def test_all_samples_are_missing_at_first_each_with_its_own_seed(run: Run) -> None:
    tasks, kept = run.find()
    assert [task.sample for task in tasks] == run.plan.samples
    assert [task.seed for task in tasks] == [sample_seed(42, sample.sample_id) for sample in run.plan.samples]
    assert len({task.seed for task in tasks}) == len({task.unit for task in tasks}) == 6
    assert kept == []


def test_only_what_has_no_edit_is_missing_afterwards(run: Run) -> None:
    tasks, _ = run.find()
    run.record([tasks[4], tasks[1]])
    missing, kept = run.find()
    assert [task.sample.index for task in missing] == [0, 2, 3, 5]
    assert [edit.sample_id for edit in kept] == [tasks[1].sample.sample_id, tasks[4].sample.sample_id]


def test_failed_edits_are_tried_again_only_if_asked_for(run: Run) -> None:
    tasks, _ = run.find()
    run.record(tasks[:2], "edit_failed")
    run.record(tasks[2:3], "invalid_output")
    run.record(tasks[3:])
    missing, kept = run.find()
    assert (missing, len(kept)) == ([], 6)
    missing, kept = run.find("retry_failed=true")
    assert [task.sample.index for task in missing] == [0, 1, 2]
    assert len(kept) == 3


def test_other_settings_are_refused_by_the_names_of_their_keys(run: Run) -> None:
    run.record(run.find()[0][:3])
    with pytest.raises(UserError) as refusal:
        run.find("editor.latency_s=0.5", "seed=7", "log_level=DEBUG", "edit.sync_every=0")
    said = str(refusal.value)
    assert "3 edits" in said
    assert "editor.latency_s: 0.0 -> 0.5" in said
    assert "seed: 42 -> 7" in said
    assert "on_change=redo" in said
    assert "log_level" not in said and "sync_every" not in said


def test_other_settings_redo_those_edits_if_asked_for(run: Run) -> None:
    run.record(run.find()[0][:3])
    tasks, kept = run.find("seed=7", "on_change=redo")
    assert (len(tasks), kept) == (6, [])


@pytest.mark.parametrize(
    "harmless",
    [
        "edit.sync_every=0",
        "max_failed=1",
        "run_name=other",
        "editor.name=other",
        "limit=2",
        "judge.complete_replies=false",
    ],
)
def test_settings_that_change_no_pixel_keep_the_edits(run: Run, harmless: str) -> None:
    run.record(run.find()[0])
    tasks, kept = run.find(harmless)
    assert (tasks, len(kept)) == ([], 2 if harmless == "limit=2" else 6)


def test_the_number_of_threads_counts_as_a_setting_that_changes_pixels(run: Run) -> None:
    run.record(run.find()[0])
    with pytest.raises(UserError, match=r"distributed\.cpu_threads: 1 -> 2"):
        run.find("distributed.cpu_threads=2")


def test_another_language_makes_other_edits(run: Run) -> None:
    run.record(run.find()[0])
    with pytest.raises(UserError, match=r"dataset\.language: 'en' -> 'zh'"):
        run.find("dataset.language=zh")


def test_a_checkpoint_with_other_weights_makes_other_edits(run: Run) -> None:
    first = Checkpoint(Path("a"), None, 1, "fingerprint-1", "")
    moved = Checkpoint(Path("elsewhere"), None, 1, "fingerprint-1", "")
    trained = Checkpoint(Path("a"), None, 1, "fingerprint-2", "")
    run.record(run.find(checkpoint=first)[0])
    assert run.find(checkpoint=moved)[0] == []
    with pytest.raises(UserError, match="a checkpoint's files"):
        run.find(checkpoint=trained)


def write_edits(run: Run, tasks: list[EditTask], fail: set[int] = frozenset()) -> None:
    """Edit these tasks and write them as rank 0 does; those at the given positions fail."""
    session = Session(run.run_dir, Tally("edit", 6, Counter(), 1.0), {"name": "fake"})
    sink = EditSink(run.run_dir, 1, [task.sample for task in tasks], session)
    with session:
        for position, task in enumerate(tasks):
            editor = Returns(RuntimeError("no")) if position in fail else FakeEditor("cpu")
            edit, image = edit_task(run, editor, task)
            sink.handle(encode(edit, image))
    sink.close()


def test_the_sink_puts_every_image_where_the_index_says(run: Run) -> None:
    tasks, _ = run.find()
    write_edits(run, tasks, fail={1, 4})
    edits = run.run_dir.read_edits()
    assert list(edits) == [sample.sample_id for sample in run.plan.samples]
    members = {}
    for shard in sorted(run.run_dir.edits.glob("*.tar")):
        with tarfile.open(shard) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}
    assert len(members) == 2 * 4
    for position, task in enumerate(tasks):
        edit = edits[task.sample.sample_id]
        key = task.sample.key
        if position in (1, 4):
            assert (edit.state, edit.shard, edit.offset, edit.length, edit.sha256) == ("edit_failed",) + (None,) * 4
            assert f"{key}.png" not in members
            continue
        png = read_image(run.run_dir.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        assert png == members[f"{key}.png"]
        assert hashlib.sha256(png).hexdigest() == edit.sha256
        source = decode_rgb(open_dataset(run.config.dataset).read(task.sample.locator))
        expected = FakeEditor("cpu").edit(source, task.sample.instruction, task.seed, no_step)
        np.testing.assert_array_equal(np.asarray(decode_rgb(png)), np.asarray(expected))
        metadata = json.loads(members[f"{key}.json"])
        assert metadata["sample_id"] == task.sample.sample_id
        assert metadata["instruction"] == task.sample.instruction
        assert metadata["source_sha256"] == task.sample.source_sha256
        assert (metadata["sha256"], metadata["seed"]) == (edit.sha256, task.seed)


def test_the_sink_goes_on_where_an_earlier_one_ended(run: Run) -> None:
    tasks, _ = run.find()
    write_edits(run, tasks[:3])
    before = run.run_dir.read_edits()
    write_edits(run, run.find()[0])
    edits = run.run_dir.read_edits()
    assert len(edits) == len(run.run_dir.edits_index.read_bytes().splitlines()) == 6
    assert {sample_id: edits[sample_id] for sample_id in before} == before
    for edit in edits.values():
        read_image(run.run_dir.edits, edit.shard, edit.offset, edit.length, edit.sha256)


def test_status_and_sessions_tell_what_was_done(run: Run) -> None:
    write_edits(run, run.find()[0], fail={0})
    status = json.loads(run.run_dir.status_file.read_text())
    assert {key: status[key] for key in ("phase", "state", "done", "failed", "total")} == {
        "phase": "edit",
        "state": "done",
        "done": 6,
        "failed": 1,
        "total": 6,
    }
    (session,) = run.run_dir.read_sessions()
    assert (session["samples"], session["state"]) == (6, "done")


def test_more_failures_than_allowed_stop_the_phase(run: Run) -> None:
    session = Session(run.run_dir, Tally("edit", 10, Counter(edited=2, edit_failed=1), 0.2), {"name": "fake"})
    with pytest.raises(UserError, match=r"3 of 10 samples failed in phase edit, more than max_failed=0.2"), session:
        session.count("edit_failed")  # 2 of 10 is allowed
        session.count("edited")
        session.count("invalid_output")
    assert json.loads(run.run_dir.status_file.read_text())["state"] == "failed"


def test_the_fake_editor_depends_on_source_instruction_and_seed_alone(run: Run) -> None:
    def pixels(number: int, instruction: str, seed: int) -> bytes:
        return FakeEditor("cpu").edit(make_picture(number), instruction, seed, no_step).tobytes()

    assert pixels(0, "a", 0) == pixels(0, "a", 0)
    assert len({pixels(0, "a", 0), pixels(1, "a", 0), pixels(0, "b", 0), pixels(0, "a", 1)}) == 4


def test_the_fake_editor_fails_on_about_the_wanted_share(run: Run) -> None:
    def fails(instruction: str) -> bool:
        try:
            FakeEditor("cpu", fail_every=3).edit(make_picture(0), instruction, 0, no_step)
        except RuntimeError:
            return True
        return False

    assert 70 <= sum(fails(f"instruction {number}") for number in range(300)) <= 130


def test_a_run_on_the_fakes_imports_neither_diffusers_nor_transformers(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from editbench import edit, score\nfrom editbench.components import check\nfrom editbench.config import load\n"
        "from editbench.components.load import construct\n"
        "loaded = load.load(['editor=fake', 'judge=fake', 'run_name=x'])\n"
        "check.check_components(loaded)\n"
        "construct(loaded.editor, 'editor', None, device='cpu')\n"
        "construct(loaded.judge, 'judge', None, devices=['cpu'])\n"
        "print([name for name in ('diffusers', 'transformers', 'accelerate') if name in sys.modules])\n"
    )
    outcome = run_python(["-c", code], tmp_path)
    assert outcome.code == 0 and outcome.output.strip().splitlines()[-1] == "[]", outcome.tail


def test_a_lost_index_is_rebuilt_from_the_shards(run: Run) -> None:
    write_edits(run, run.find()[0])
    before = run.run_dir.read_edits()
    run.run_dir.edits_index.unlink()
    assert take_up_stored(run.run_dir) == len(before)
    assert run.run_dir.read_edits() == before
    assert take_up_stored(run.run_dir) == 0


def test_an_image_that_the_index_does_not_know_is_taken_up_not_done_again(run: Run) -> None:
    write_edits(run, run.find()[0])
    before = run.run_dir.read_edits()
    lines = run.run_dir.edits_index.read_bytes().splitlines(keepends=True)
    run.run_dir.edits_index.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # killed within the last line
    assert take_up_stored(run.run_dir) == 1
    assert run.run_dir.read_edits() == before


def test_an_image_that_a_power_cut_left_as_zeros_is_a_torn_end(run: Run) -> None:
    write_edits(run, run.find()[0])
    before = run.run_dir.read_edits()
    last = list(before.values())[-1]
    lines = run.run_dir.edits_index.read_bytes().splitlines(keepends=True)
    run.run_dir.edits_index.write_bytes(b"".join(lines[:-1]))
    shard = run.run_dir.edits / "shard-00000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: last.offset + 40].ljust(len(whole), b"\0"))
    assert take_up_stored(run.run_dir) == 0
    assert list(run.run_dir.read_edits()) == list(before)[:-1]


def test_a_redo_that_is_killed_leaves_no_results_of_the_earlier_settings(run: Run) -> None:
    write_edits(run, run.find()[0])
    tasks, kept = run.find("seed=7", "on_change=redo")
    assert (len(tasks), kept) == (6, [])
    withdraw_edits(tasks, run.run_dir)
    assert {edit.state for edit in run.run_dir.read_edits().values()} == {"pending"}
    assert len(run.find("seed=7")[0]) == 6  # without on_change now
    assert len(run.find()[0]) == 6


def test_images_whose_shard_is_gone_stop_the_phase_or_are_edited_anew(run: Run) -> None:
    write_edits(run, run.find()[0], fail={1})
    (run.run_dir.edits / "shard-00000.tar").unlink()
    with pytest.raises(UserError, match=r"5 images that .* names are not in their shards"):
        run.find()
    tasks, kept = run.find("on_change=redo")
    assert len(tasks) == 5
    assert [edit.state for edit in kept] == ["edit_failed"]
    withdraw_edits(tasks, run.run_dir)
    write_edits(run, tasks)
    assert run.find()[0] == []


def test_an_editor_may_use_its_memory_again(run: Run) -> None:
    reused = Image.new("RGB", (8, 8))

    class Reusing(FakeEditor):
        def edit(self, source, instruction, seed, on_step):
            reused.putpixel((0, 0), (seed % 255, 0, 0))
            return reused

    task = run.find()[0][0]
    _, image = edit_task(run, Reusing("cpu"), task)
    reused.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) == (task.seed % 255, 0, 0)


def test_a_model_that_cannot_be_loaded_costs_no_results(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_edits(run, run.find()[0])
    config = run.load("seed=7", "on_change=redo")
    run.run_dir.write_config(run.config.resolved)
    before = run.run_dir.edits_index.read_bytes(), run.run_dir.config_file.read_bytes()

    def cannot_load(*_: object, **__: object) -> None:
        raise UserError("the weights are torn")

    job = SimpleNamespace(
        folder=run.run_dir,
        checkpoint=None,
        check_failures=lambda _: None,
        begin=lambda _: None,
        ranks=Ranks.from_env(),
        load=cannot_load,
        session=SilentSession(),
    )
    todo = find_missing(config, job)
    assert len(todo.tasks) == 6
    with pytest.raises(UserError, match="torn"):
        edit_all(config, job, todo)
    assert (run.run_dir.edits_index.read_bytes(), run.run_dir.config_file.read_bytes()) == before

    seen: list[set[str]] = []
    monkeypatch.setattr(
        RunDir, "write_config", lambda self, _: seen.append({edit.state for edit in self.read_edits().values()})
    )
    open_sink(config, job, todo).close()
    assert seen == [{"pending"}]  # withdrawn before the new settings are on record


def test_images_edited_anew_after_a_shard_was_cut_never_take_the_place_of_others(run: Run) -> None:
    write_edits(run, run.find()[0])
    shard = run.run_dir.edits / "shard-00000.tar"
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size // 2)
    lost = run.run_dir.lost_images(run.run_dir.read_edits())
    assert 0 < len(lost) < 6
    tasks, _ = run.find("on_change=redo")
    assert {task.sample.sample_id for task in tasks} == lost
    write_edits(run, tasks)
    edits = run.run_dir.read_edits()
    assert {edits[sample_id].shard for sample_id in lost} == {1}
    for edit in edits.values():
        read_image(run.run_dir.edits, edit.shard, edit.offset, edit.length, edit.sha256)
    assert run.run_dir.committed_shard_end()[0] == 1


def test_withdrawn_edits_are_missing_for_verify_and_no_reason_to_call_the_run_edited(run: Run) -> None:
    tasks, _ = run.find()
    write_edits(run, tasks)
    run.run_dir.write_config(run.config.resolved)
    assert all_edited(run.plan, run.run_dir.read_edits())
    withdraw_edits(tasks[:2], run.run_dir)
    assert not all_edited(run.plan, run.run_dir.read_edits())
    findings = verify(run.run_dir)
    assert findings["missing"][:2] == [f"edit of {task.sample.sample_id!r}" for task in tasks[:2]]
    assert not findings["stale"] and not findings["damaged"]
