"""The run folder's files: written whole or not at all, read without ever inventing or losing a record."""

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from editbench.errors import UserError
from editbench.run.folder import Plan, RunDir, utc_now
from editbench.run.lines import JsonLines, read_json, read_lines, write_atomic
from editbench.run.records import Edit, Judgment, Sample, to_dict
from editbench.run.sealed_json import seal
from editbench.run.session import Session, SilentSession
from editbench.run.shards import sample_end, shard_name
from editbench.run.tally import Tally


def sample(index=0, sample_id="00000_物理", instruction="Add a hat"):
    return Sample(index, sample_id, f"key-{index}", "physical", instruction, "A cat", "ab" * 32, [index, 1, 99])


def edit(sample_id, **fields):
    return Edit(
        **{
            "sample_id": sample_id,
            "category": "physical",
            "state": "edited",
            "unit": "u",
            "input": "i",
            "seed": 1,
            **fields,
        }
    )


def image_at(sample_id, shard, offset, length):
    return edit(sample_id, shard=shard, offset=offset, length=length, sha256="ab" * 32)


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path / "run")
    run.create()
    return run


def write_index(run, *edits):
    lines = JsonLines(run.edits_index)
    for one in edits:
        lines.append(one)
        if one.shard is not None:
            with (run.edits / shard_name(one.shard)).open("ab") as shard:
                shard.truncate(max(shard.tell(), sample_end(one.offset, one.length)))
    lines.close()


def test_create_may_be_called_by_every_rank(tmp_path):
    run = RunDir(tmp_path / "deep" / "run")
    assert run.create() == run.create() == run.root / "logs"
    assert {path.name for path in run.root.iterdir()} == {"edits", "judgments", "logs"}


def test_a_place_that_cannot_be_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"run_dir=.*file/run: cannot be made \(Not a directory\)"):
        RunDir(tmp_path / "file" / "run").create()


def test_a_new_run_folder_holds_nothing(tmp_path):
    run = RunDir(tmp_path)
    assert run.read_plan() is None
    assert run.read_edits() == {}
    assert run.read_judgments("tiny") == {}
    assert run.read_sessions() == []
    assert run.read_config() == {}
    assert run.committed_shard_end() is None


# ---- whole files ----


def test_an_atomic_write_replaces_the_old_text_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "status.json"
    write_atomic(path, "old")
    write_atomic(path, "新")
    assert path.read_text(encoding="utf-8") == "新"
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_a_write_that_fails_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "plan.json"
    write_atomic(path, "old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"


def test_any_number_of_writers_and_readers_may_be_at_one_file(tmp_path):
    path = tmp_path / "report.json"
    texts = [str(number) * 5000 for number in range(8)]

    def write_and_read(text):
        for _ in range(25):
            write_atomic(path, text)
            assert path.read_text() in texts

    with ThreadPoolExecutor(len(texts)) as pool:
        assert list(pool.map(write_and_read, texts)) == [None] * len(texts)
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed_by_the_next_phase_once_it_is_old(run):
    old, older, young = (
        folder / f".{name}.tmp" for folder, name in ((run.root, "a"), (run.judgments, "b"), (run.root, "c"))
    )
    for path in (old, older, young, run.status_file):
        path.write_text("half")
    for path in (old, older, run.status_file):
        os.utime(path, (1e9, 1e9))
    run.lock("edit")
    assert [path.exists() for path in (old, older, young, run.status_file)] == [False, False, True, True]


def test_a_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text('{"samples": [')
    with pytest.raises(UserError, match=r"plan.json is no JSON .* remove it"):
        read_json(path)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.tuples(TEXT, TEXT), max_size=4), made_from=st.dictionaries(TEXT, TEXT, max_size=3))
def test_a_plan_round_trips_whatever_its_texts_hold(tmp_path_factory, texts, made_from):
    run = RunDir(tmp_path_factory.mktemp("run"))
    plan = Plan(made_from, [sample(i, *pair) for i, pair in enumerate(texts)], [{"index": 1, "problem": "x"}])
    run.write_plan(plan)
    assert run.read_plan() == plan


def test_a_plan_is_readable_json_with_one_sample_a_line_as_people_wrote_it(run):
    plan = Plan({}, [sample(0, "猫", 'Say "喵"\nloudly'), sample(1)], [])
    run.write_plan(plan)
    text = run.plan_file.read_text(encoding="utf-8")
    assert list(json.loads(text)) == ["made_from", "skipped", "samples", "check"]
    assert sum('"sample_id"' in line for line in text.splitlines()) == 2
    assert '"猫"' in text
    assert run.read_plan() == plan


def dropped(lines):
    return [*lines[:2], *lines[3:]]


def doubled(lines):
    return [*lines[:2], lines[1], *lines[2:]]


def swapped(lines):
    return [lines[0], lines[2], lines[1], *lines[3:]]


def changed(lines):
    return [line.replace("physical", "social") for line in lines]


def with_ids_swapped(lines):
    return [line.translate(str.maketrans("ab", "ba")) if "sample_id" in line else line for line in lines]


def without_its_end(lines):
    return lines[:-1]


def with_something_behind(lines):
    return [*lines, "{}\n"]


def without_its_seal(lines):
    return [*lines[:-1], "]}\n"]


def of_an_earlier_version(lines):
    return [f"{json.dumps(json.loads(''.join(lines)), indent=1)}\n"]


@pytest.mark.parametrize(
    "damage",
    [
        dropped,
        doubled,
        swapped,
        changed,
        with_ids_swapped,
        without_its_end,
        with_something_behind,
        without_its_seal,
        of_an_earlier_version,
    ],
)
def test_a_plan_that_is_not_the_one_that_was_written_is_refused(run, damage):
    run.write_plan(Plan({}, [sample(index, sample_id) for index, sample_id in enumerate("abc")], []))
    lines = run.plan_file.read_text().splitlines(keepends=True)
    run.plan_file.write_text("".join(damage(lines)))
    assert damage in (without_its_end, with_something_behind) or json.loads(run.plan_file.read_text())
    with pytest.raises(
        UserError, match=r"plan\.json is no plan, or no longer the one that was written .* restore it, or"
    ):
        run.read_plan()


def test_the_configuration_round_trips_and_stays_readable(run):
    resolved = {"run_name": "猫", "editor": {"negative_prompt": " ", "height": None, "true_cfg_scale": 4.0}, "x": "yes"}
    run.write_config(resolved)
    assert run.read_config() == resolved
    assert "猫" in run.config_file.read_text(encoding="utf-8")
    assert yaml.safe_load(run.config_file.read_bytes()) == resolved


def test_status_tells_phase_state_and_counts(run):
    run.write_status(Tally("edit", 12, Counter(edited=2, invalid_output=1), 1.0), "running")
    status = read_json(run.status_file)
    assert {k: status[k] for k in ("phase", "state", "done", "failed", "total")} == {
        "phase": "edit",
        "state": "running",
        "done": 3,
        "failed": 1,
        "total": 12,
    }
    assert status["time"].endswith("+00:00")


def test_a_session_is_replaced_by_its_later_self_and_kept_beside_others(run):
    first = {"phase": "edit", "started": "t1", "samples": 0}
    run.write_session(first)
    run.write_session({"phase": "edit", "started": "t2", "samples": 1})
    run.write_session({"phase": "score", "started": "t1", "samples": 2})
    run.write_session(first | {"samples": 9})
    sessions = run.read_sessions()
    assert sorted((s["phase"], s["started"], s["samples"]) for s in sessions) == [
        ("edit", "t1", 9),
        ("edit", "t2", 1),
        ("score", "t1", 2),
    ]


def test_sessions_stand_in_the_order_of_their_starts(run):
    for started in ("t1", "t2", "t3"):
        run.write_session({"phase": "edit", "started": started, "state": "running"})
        run.write_session({"phase": "edit", "started": started, "state": "done"})
    assert [s["started"] for s in run.read_sessions()] == ["t1", "t2", "t3"]


def test_utc_now_sorts_as_text_and_names_its_zone():
    first, second = utc_now(), utc_now()
    assert first <= second
    assert len(first) == len("2026-01-01T00:00:00.000+00:00")
    assert first.endswith("+00:00")


# ---- sessions ----


def test_a_session_that_is_not_begun_leaves_no_trace(run):
    Session(run, Tally("edit", 3, Counter(), 1.0), {"name": "fake", "class": "Fake"})
    assert not run.status_file.exists() and not run.sessions_file.exists()


def test_a_session_tells_how_it_goes_and_ends(run):
    tally = Tally("edit", 3, Counter(edited=1), 1.0)
    with Session(run, tally, {"name": "fake", "class": "Fake"}) as session:
        assert read_json(run.status_file)["state"] == "running"
        session.loaded({"note": "no model"}, load_s=0.5)
        session.count("edited")
        assert session.is_preempted(stopped=True)
    status, (entry,) = read_json(run.status_file), run.read_sessions()
    assert (status["state"], status["done"], status["total"]) == ("preempted", 2, 3)
    assert (entry["samples"], entry["load_s"], entry["component"]["note"]) == (1, 0.5, "no model")
    with pytest.raises(UserError, match="1 of 3 samples were not done by any rank"):
        session.is_preempted(stopped=False)


def test_the_silent_session_takes_the_same_calls_and_does_nothing():
    public = {name for name in vars(Session) if not name.startswith("_")}
    assert public == {name for name in vars(SilentSession) if not name.startswith("_")} - {"preempted"}
    with SilentSession() as session:
        session.loaded({}, load_s=1.0)
        session.count("edit_failed", "mean 3")
        session.step(1, 2)
        session.fail()
        assert session.is_preempted(True) and not session.is_preempted(False)


# ---- JSON lines ----


def test_records_round_trip_and_the_latest_of_a_sample_counts(run):
    old, new = edit("猫", state="edit_failed", error="no\nimage"), edit("猫", width=3)
    other = edit("b")
    write_index(run, old, other, new)
    assert run.read_edits() == {"猫": new, "b": other}
    assert list(read_lines(run.edits_index, Edit)) == [old, other, new]


def test_each_judge_has_a_file_of_its_own(run):
    one = Judgment("a", "physical", "scored", "u", "sha", score=7.5, reply="Score: 7.500", completion="7.5")
    lines = JsonLines(run.judgments_of("qwen3_vl"))
    lines.append(one)
    lines.close()
    assert run.read_judgments("qwen3_vl") == {"a": one}
    assert run.read_judgments("tiny") == {}


def test_a_record_is_on_the_disk_once_append_returns(run):
    lines = JsonLines(run.edits_index)
    lines.append(edit("a"))
    assert list(run.read_edits()) == ["a"]
    lines.close()


def test_fields_of_a_later_version_are_left_out(run):
    run.edits_index.write_bytes(seal(to_dict(edit("a")) | {"new": 2}) + b"\n")
    assert list(run.read_edits()) == ["a"]


def test_a_file_torn_at_any_byte_is_read_and_cut_to_its_whole_lines(run):
    records = [edit("猫"), edit("b", error='a "quoted"\nline'), edit("c")]
    write_index(run, *records)
    whole = run.edits_index.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        run.edits_index.write_bytes(whole[:size])
        complete = sum(end <= size for end in ends)
        assert list(read_lines(run.edits_index, Edit)) == records[:complete]
        write_index(run, edit("d"))
        assert list(read_lines(run.edits_index, Edit)) == [*records[:complete], edit("d")]
        assert run.edits_index.read_bytes().startswith(whole[: ends[complete - 1] if complete else 0])


def test_a_torn_line_longer_than_the_block_it_is_searched_in_is_cut(run):
    write_index(run, edit("a"))
    with run.edits_index.open("ab") as file:
        file.write(b'{"sample_id": "' + b"x" * 200_000)
    write_index(run, edit("b"))
    assert list(run.read_edits()) == ["a", "b"]


@pytest.mark.parametrize(
    "damage",
    [
        b"not json",
        b'{"sample_id": "a"',
        b"[1, 2]",
        b"7",
        b'{"sample_id": "a"}',
        b"",
        b"\xff\xfe\x00",
        b'{"sample_id": "a", "category": "c", "state": "ed',
    ],
)
def test_a_damaged_line_in_the_middle_is_an_error_that_names_file_and_line(run, damage):
    write_index(run, edit("a"), edit("b"))
    first, second = run.edits_index.read_bytes().splitlines(keepends=True)
    run.edits_index.write_bytes(first + damage + b"\n" + second)
    with pytest.raises(UserError, match=r"index\.jsonl, line 2 is damaged"):
        run.read_edits()


# ---- where the shards' committed part ends ----


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], None),
        ([(0, 1024, 512)], (0, 1536)),
        ([(0, 1024, 513)], (0, 2048)),
        ([(0, 1024, 512), (0, 4096, 1)], (0, 4608)),
        ([(0, 9000, 512), (1, 1024, 512)], (1, 1536)),
        ([(1, 1024, 512), (0, 9000, 512)], (1, 1536)),
    ],
)
def test_committed_end_is_that_of_the_last_image_in_the_last_shard(run, places, expected):
    write_index(run, *(image_at(f"s{i}", *place) for i, place in enumerate(places)))
    assert run.committed_shard_end() == expected


def test_committed_end_counts_images_that_were_edited_anew_since_and_no_failures(run):
    write_index(run, image_at("a", 0, 8192, 512), image_at("a", 0, 1024, 512), edit("b", state="edit_failed"))
    assert run.committed_shard_end() == (0, 8704)


@pytest.mark.parametrize("size", [None, 0, 8703])
def test_behind_a_shard_that_is_lost_or_cut_a_new_one_begins(run, size):
    write_index(run, image_at("a", 0, 1024, 512), image_at("b", 1, 8192, 512))
    shard = run.edits / shard_name(1)
    if size is None:
        shard.unlink()
    else:
        os.truncate(shard, size)
    assert run.committed_shard_end() == (2, 0)


def test_paths_are_as_documented(tmp_path):
    run = RunDir(tmp_path)
    paths = (run.config_file, run.plan_file, run.status_file, run.edits_index, run.judgments_of("tiny"), run.logs)
    found = {os.path.relpath(path, tmp_path) for path in paths}
    assert found == {"config.yaml", "plan.json", "status.json", "edits/index.jsonl", "judgments/tiny.jsonl", "logs"}


def test_each_phase_keeps_the_other_s_part_of_the_configuration(run):
    run.write_config({"seed": 1, "editor": {"name": "a"}, "judge": {"name": "x"}, "rubrics": {}})
    run.write_config({"seed": 2, "editor": {"name": "b"}, "judge": {"name": "y"}, "rubrics": {"p": 1}}, "y")
    assert run.read_config() == {"seed": 1, "editor": {"name": "a"}, "judge": {"name": "y"}, "rubrics": {"p": 1}}
    run.write_config({"seed": 3, "editor": {"name": "c"}, "judge": {"name": "z"}, "rubrics": {}})
    assert run.read_config() == {"seed": 3, "editor": {"name": "c"}, "judge": {"name": "y"}, "rubrics": {"p": 1}}


@pytest.mark.parametrize("text", ["null", "[1]", "a: ["])
def test_a_config_file_that_holds_no_settings_is_told_in_one_line(run, text):
    run.config_file.write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml (holds no settings|is no YAML)") as caught:
        run.read_config()
    assert "\n" not in str(caught.value)
