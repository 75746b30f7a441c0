"""Edits from a server on real starts, several at a time: the same whatever the number, killed, stopped, resumed."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from benchmark_file import make_record, write_benchmark
from edit_server import Answer, Painter, painting
from running import CHECKOUT, Job, run_phase, run_python

from editbench.run.folder import RunDir
from editbench.run.records import to_dict
from editbench.run.shards import read_image

SAMPLES = 18


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Samples by themselves, and a chain of three turns."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    records = [make_record(number, "物理", str(number)) for number in range(SAMPLES)]
    for number, before in ((5, "4"), (9, "5")):
        records[number] |= {"src_img_b64": None, "follows": before}
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def settings(bench: Path, painter: Painter, concurrency: int, *more: str) -> list[str]:
    server = ["editor=images_edits", "editor.model=painter", f"editor.base_url={painter.url}", "editor.send_seed=true"]
    data = ["dataset=json_file", f"dataset.path={bench}", "judge=fake"]
    return [*server, *data, f"editor.concurrency={concurrency}", *more]


def made(run_dir: Path) -> dict[str, Any]:
    """Records and pictures by sample, without what tells of time and place."""
    run, found = RunDir(run_dir), {}
    for name, edit in run.read_edits().items():
        assert edit.sha256, edit.error
        png = read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        record = to_dict(edit)
        for elsewhere in ("latency_s", "shard", "offset"):
            del record[elsewhere]
        found[name] = (record, png)
    return found


def lines(run_dir: Path) -> list[str]:
    """Ids of the edits on record."""
    path = RunDir(run_dir).edits_index
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line)["sample_id"] for line in data[: data.rfind(b"\n") + 1].splitlines()]


@pytest.mark.parametrize("schedule", ["strided", "dynamic"])
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_an_ended_run_goes_on_and_asks_for_no_edit_again_that_is_there(
    bench: Path, tmp_path: Path, schedule: str, end: str
) -> None:
    with painting() as painter:
        painter.latency_s = 0.1
        run_phase("edit", tmp_path / "one", settings(bench, painter, 1), world_size=1)
        assert max(painter.beside) == 1 and len(painter.asked) == SAMPLES
    run_dir = tmp_path / "several"
    with painting() as painter:
        painter.latency_s = 0.3
        overrides = settings(bench, painter, 3, f"edit.schedule={schedule}")
        with Job("edit", run_dir, overrides, world_size=2) as job:
            assert job.wait_until(lambda: len(lines(run_dir)) >= 4), job.output
            if end == "kill":
                job.kill(*job.family())
            else:
                job.torchrun.send_signal(signal.SIGTERM)
            job.wait()
        there, answered = lines(run_dir), set(painter.answered)
        assert 4 <= len(there) < SAMPLES and max(painter.beside) <= 6
        if end == "stop":
            assert {f"Change picture {name}." for name in there} == answered
        before = len(painter.asked)
        run_phase("edit", run_dir, overrides, world_size=1)
        again = painter.asked[before:]
    assert not {f"Change picture {name}." for name in there} & set(again)
    assert sorted(lines(run_dir)) == sorted(map(str, range(SAMPLES)))
    assert made(run_dir) == made(tmp_path / "one")


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_was_answered_before_the_server_refused_is_written(tmp_path: Path, concurrency: int) -> None:
    write_benchmark(tmp_path / "bench.json", ["物理"] * 6)
    answered = threading.Event()

    def refuse(_painter: Painter, instruction: str) -> Answer | None:
        if instruction == "Change picture 0.":
            return None
        answered.wait(20)
        return Answer(401, {})

    with painting(refuse) as painter:
        painter.size = (2000, 1500)  # takes longer to encode than the next answer to come
        original = painter.answer

        def answer(form: dict[str, bytes]) -> Any:
            found = original(form)
            answered.set()
            return found

        painter.answer = answer
        command = ["-m", "editbench.edit", f"run_dir={tmp_path / 'run'}"]
        outcome = run_python([*command, *settings(tmp_path / "bench.json", painter, concurrency)], tmp_path)
    assert outcome.code == 2, outcome.tail
    (error,) = outcome.errors
    assert "the server wants a key" in error
    assert lines(tmp_path / "run") == ["00000_物理"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda value: value.name)
def test_a_schedulers_warning_ends_the_wait_for_a_server(bench: Path, tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM goes to torchrun, which kills its workers 30 s later; SIGUSR1 to the workers."""
    run_dir, before = tmp_path / "run", 4

    def put_off(painter: Painter, _instruction: str) -> Answer | None:
        with painter.lock:
            return Answer(429, {"Retry-After": "90"}) if len(painter.answered) >= before else None

    with painting(put_off) as painter:
        overrides = settings(bench, painter, 2)
        with Job("edit", run_dir, overrides, world_size=2) as job:
            assert job.wait_until(lambda: len(painter.asked) > len(painter.answered) + 1), job.output
            assert job.wait_until(lambda: painter.there == 0), job.output
            for process in [job.torchrun] if number == signal.SIGTERM else job.workers():
                process.send_signal(number)
            outcome = job.wait(25)
    assert json.loads((run_dir / "status.json").read_text())["state"] == "preempted", outcome.tail
    assert "preempted: no more" in outcome.output and "error:" not in outcome.output, outcome.tail
    if number == signal.SIGUSR1:
        assert "exitcode  : 75" in outcome.output, outcome.tail
    edits = RunDir(run_dir).read_edits()
    assert {edit.state for edit in edits.values()} == {"edited"}
    assert {f"Change picture {name}." for name in edits} == set(painter.answered)


def test_a_number_of_edits_at_a_time_that_is_none_is_one_sentence(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from editbench.editors.fake import FakeEditor\n\n\nclass Own(FakeEditor):\n    concurrency = None\n"
    )
    command = ["-m", "editbench.edit", f"run_dir={tmp_path / 'run'}", "editor=fake", "editor._target_=own.Own"]
    data = ["dataset=json_file", f"dataset.path={bench}", "judge=fake"]
    outcome = run_python([*command, *data], tmp_path, PYTHONPATH=f"{CHECKOUT}{os.pathsep}{tmp_path}")
    assert outcome.code == 2, outcome.tail
    assert outcome.errors == [
        "error: editor: own.Own has concurrency=None; make it a whole number from 1, or leave it out"
    ]
