"""What a run does when something outside a sample goes wrong: signals, ranks that raise, hang or die, full disks."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from benchmark_file import make_picture, write_benchmark
from PIL import Image
from running import Job, Outcome, run_phase, run_python, torchrun

from editbench.components.load import open_dataset
from editbench.config import load as configuration
from editbench.config.schema import SourceConfig
from editbench.datasets.sources import Sources
from editbench.editors.one_sample import edit_one
from editbench.errors import UserError
from editbench.judges.base import Request
from editbench.judges.halving import ask
from editbench.run.folder import RunDir
from editbench.run.records import Edit, EditTask, Sample
from editbench.run.shards import read_image
from editbench.todo import find_edit_tasks, find_judge_tasks

SAMPLES = 10
TIMEOUT_S = 5
FAKES = ["editor=fake", "judge=fake", "judge.batch_size=2"]

FAULTY = '''
import os
import signal
import time
from pathlib import Path

from PIL import Image

from editbench.datasets.json_file import JsonFile
from editbench.editors.fake import FakeEditor
from editbench.judges.fake import FakeJudge

RANK = int(os.environ.get("RANK", 0))


def note(line):
    file = os.open("begun.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, f"{line}\\n".encode())
    os.close(file)


def wait(signalled=False):
    """Until the test says so, or until this process has taken note of a signal."""
    deadline = time.monotonic() + 120
    while not Path("go").exists():
        noted = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        if signalled and noted and noted.requested:
            return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hang():
    while not Path("go").exists():
        time.sleep(0.1)


class WaitingEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        note(seed)
        wait()
        return super().edit(source, instruction, seed, on_step)


class SignalledEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        note(seed)
        wait(signalled=True)
        return super().edit(source, instruction, seed, on_step)


class SignalledJudge(FakeJudge):
    def reply(self, requests):
        note(requests[0].index)
        wait(signalled=True)
        return super().reply(requests)


class CountedFile(JsonFile):
    def read(self, locator):
        note("read")
        return super().read(locator)


class FreezingEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        if RANK == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        return super().edit(source, instruction, seed, on_step)


class InterruptedEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        if RANK == 1:
            raise KeyboardInterrupt("out of nowhere")
        return super().edit(source, instruction, seed, on_step)


class ExitingJudge(FakeJudge):
    def reply(self, requests):
        if RANK == 1:
            raise SystemExit("a library that leaves")
        return super().reply(requests)


class LoadingEditor(FakeEditor):
    def __init__(self, device, latency_s=0.0, fail_every=0):
        note("loading")
        wait()
        super().__init__(device)


class LoadingJudge(FakeJudge):
    def __init__(self, devices, replies=None, latency_s=0.0, temperature=0.0):
        note("loading")
        wait()
        super().__init__(devices)


class BrokenEditor(FakeEditor):
    def __init__(self, device, latency_s=0.0, fail_every=0):
        if RANK == 1:
            raise RuntimeError("this card has no room for the model")
        super().__init__(device)


class BrokenDataset(JsonFile):
    def __init__(self, path, language="en", on_bad_record="stop", images=None):
        if RANK == 1:
            raise RuntimeError("this node does not see the file")
        super().__init__(path, language, on_bad_record, images)


class HangingEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        if RANK == 1:
            hang()
        return super().edit(source, instruction, seed, on_step)


class HangingJudge(FakeJudge):
    def reply(self, requests):
        if RANK == 1:
            hang()
        return super().reply(requests)


class EditorThatDies(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        note(seed)
        if RANK == 1 and not Path("died").exists():
            Path("died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().edit(source, instruction, seed, on_step)


class NoiseEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        import numpy

        pixels = numpy.random.default_rng(seed).integers(0, 256, (512, 512, 3), dtype=numpy.uint8)
        return Image.fromarray(pixels)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a benchmark and the faulty classes; commands started in it find them."""
    write_benchmark(tmp_path / "bench.json", ["物理", "环境", "社会", "因果", "指代"] * (SAMPLES // 5))
    (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
    return tmp_path


def faulty(folder: Path, **classes: str) -> list[str]:
    """Overrides that put these classes in place of the fakes."""
    chosen = [f"{group}._target_=faulty.{name}" for group, name in classes.items()]
    return [*FAKES, f"dataset.path={folder / 'bench.json'}", *chosen]


def begun(folder: Path) -> list[str]:
    path = folder / "begun.txt"
    return path.read_text().splitlines() if path.exists() else []


def status(folder: Path) -> tuple[str, str]:
    read = json.loads((folder / "run" / "status.json").read_text())
    return read["phase"], read["state"]


def edit_unhindered(folder: Path, overrides: list[str]) -> None:
    """Edit all samples with nothing that waits, and forget that it was noted."""
    (folder / "go").touch()
    run_phase("edit", folder / "run", overrides, world_size=1)
    (folder / "go").unlink()
    (folder / "begun.txt").unlink()


def check_complete(run_dir: Path, judged: bool = False) -> None:
    """Every sample is edited (and scored) with one line, and every image is readable."""
    run = RunDir(run_dir)
    edits = run.read_edits()
    assert len(run.edits_index.read_bytes().splitlines()) == len(edits) == SAMPLES
    assert {edit.state for edit in edits.values()} == {"edited"}
    for edit in edits.values():
        read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
    if judged:
        judgments = run.read_judgments("fake")
        assert len(run.judgments_of("fake").read_bytes().splitlines()) == len(judgments) == SAMPLES
        assert {judgment.state for judgment in judgments.values()} == {"scored"}


def test_a_second_start_says_who_holds_the_run_and_waits_for_ranks_that_lost_torchrun(folder: Path) -> None:
    overrides = faulty(folder, editor="WaitingEditor")
    with Job("edit", folder / "run", overrides) as job:
        assert job.wait_until(lambda: len(begun(folder)) == 2), job.output
        holder = re.search(r"process (\d+)", (folder / "run" / ".lock").read_text()).group(1)
        assert int(holder) in {worker.pid for worker in job.workers()}
        for phase in ("edit", "score"):
            second = run_python(["-m", f"editbench.{phase}", f"run_dir={folder / 'run'}", *overrides], folder)
            assert second.code == 2, second.tail
            (said,) = second.errors
            assert f"is in use by phase edit, process {holder} on " in said and "another run_name" in said
            assert "Traceback" not in second.output
        assert status(folder) == ("edit", "running")
        orphans = job.workers()
        job.kill(job.torchrun)
        with Job("edit", folder / "run", overrides, world_size=1) as restarted:
            said = "waiting up to 30 s for phase edit"  # unless they ended before it came to that
            restarted.wait_until(lambda: said in restarted.output or not psutil.wait_procs(orphans, timeout=0)[1])
            (folder / "go").touch()
            outcome = restarted.wait()
            assert outcome.code == 0, outcome.tail
        assert not psutil.wait_procs(orphans, timeout=30)[1]
    check_complete(folder / "run")


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("edit", signal.SIGTERM),
        pytest.param("edit", signal.SIGUSR1, marks=pytest.mark.slow),
        pytest.param("score", signal.SIGTERM, marks=pytest.mark.slow),
        ("score", signal.SIGUSR1),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_schedulers_warning_ends_a_phase_within_the_image_in_progress(
    folder: Path, phase: str, number: signal.Signals
) -> None:
    """SIGTERM goes to torchrun, which passes it on; SIGUSR1 to the workers, as `scancel --signal` does."""
    overrides = faulty(folder, editor="SignalledEditor", judge="SignalledJudge")
    run_dir = folder / "run"
    if phase == "score":
        edit_unhindered(folder, overrides)
    with Job(phase, run_dir, overrides) as job:
        assert job.wait_until(lambda: len(begun(folder)) == 2), job.output
        for process in [job.torchrun] if number == signal.SIGTERM else job.workers():
            os.kill(process.pid, number)
        outcome = job.wait(60)
    assert outcome.code != 0
    assert len(begun(folder)) == 2, "samples were started after the signal"
    assert status(folder) == (phase, "preempted"), outcome.tail
    assert "preempted: no more" in outcome.output and "Traceback (most" not in ours(outcome), outcome.tail
    if number == signal.SIGUSR1:
        assert re.search(r"exitcode *: 75", outcome.output), outcome.tail
    done = RunDir(run_dir).edits_index if phase == "edit" else RunDir(run_dir).judgments_of("fake")
    before = done.read_bytes()
    assert before.count(b"\n") == (2 if phase == "edit" else 4)

    (folder / "go").touch()
    run_phase(phase, run_dir, overrides, world_size=1)
    assert done.read_bytes().startswith(before)
    check_complete(run_dir, judged=phase == "score")
    assert len(begun(folder)) == (SAMPLES if phase == "edit" else SAMPLES // 2), "finished work was done again"


@pytest.mark.parametrize(
    ("phase", "number"),
    [("edit", signal.SIGUSR1), pytest.param("score", signal.SIGTERM, marks=pytest.mark.slow)],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_schedulers_warning_while_a_model_is_loaded_ends_the_phase_behind_it(
    folder: Path, phase: str, number: signal.Signals
) -> None:
    """One of three ranks is loading, the others wait for their turns in a barrier, and load nothing then."""
    section = {"edit": "edit", "score": "judge"}[phase]
    overrides = [*faulty(folder, editor="LoadingEditor", judge="LoadingJudge"), f"{section}.max_concurrent_loads=1"]
    run_dir = folder / "run"
    if phase == "score":
        edit_unhindered(folder, overrides)
    with Job(phase, run_dir, overrides, 3) as job:
        assert job.wait_until(lambda: begun(folder)), job.output
        for process in [job.torchrun] if number == signal.SIGTERM else job.workers():
            os.kill(process.pid, number)
        (folder / "go").touch()
        outcome = job.wait(60)
    assert outcome.code != 0
    assert begun(folder) == ["loading"]
    assert status(folder) == (phase, "preempted"), outcome.tail
    assert "preempted: no more" in outcome.output and "Traceback (most" not in ours(outcome), outcome.tail
    if number == signal.SIGUSR1:
        assert re.search(r"exitcode *: 75", outcome.output), outcome.tail
    run_phase(phase, run_dir, overrides, world_size=2)
    check_complete(run_dir, judged=phase == "score")


def test_after_the_warning_no_more_sources_are_read(folder: Path) -> None:
    write_benchmark(folder / "bench.json", ["物理"] * 40)
    overrides = faulty(folder, editor="SignalledEditor", dataset="CountedFile")
    with Job("edit", folder / "run", overrides) as job:
        assert job.wait_until(lambda: len([line for line in begun(folder) if line != "read"]) == 2), job.output
        os.kill(job.torchrun.pid, signal.SIGTERM)
        outcome = job.wait(60)
    assert status(folder) == ("edit", "preempted"), outcome.tail
    assert begun(folder).count("read") <= 6  # of each rank the one at work, and up to two ahead


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["strided", "dynamic"])
def test_rank_0_that_freezes_is_named_by_another(folder: Path, schedule: str) -> None:
    overrides = [*faulty(folder, editor="FreezingEditor"), f"edit.schedule={schedule}"]
    arguments = [f"run_dir={folder / 'run'}", *overrides, f"distributed.timeout_s={TIMEOUT_S}"]
    outcome = torchrun(3, ["-m", "editbench.edit", *arguments], folder, timeout_s=90)
    assert outcome.code != 0
    (said,) = outcome.errors
    assert "rank 0 " in said and f"distributed.timeout_s={TIMEOUT_S}" in said, outcome.tail


def ours(outcome: Outcome) -> str:
    """What the workers said, before torchrun tells its own story."""
    return outcome.output.partition("torch/distributed/elastic")[0].partition("SignalException")[0]


@pytest.mark.parametrize(
    ("phase", "classes", "said"),
    [
        pytest.param(
            *("edit", {"editor": "InterruptedEditor"}, "KeyboardInterrupt: out of nowhere"), marks=pytest.mark.slow
        ),
        ("edit", {"editor": "BrokenEditor"}, "RuntimeError: this card has no room for the model"),
        pytest.param(
            *("edit", {"dataset": "BrokenDataset"}, "RuntimeError: this node does not see the file"),
            marks=pytest.mark.slow,
        ),
        pytest.param(*("score", {"judge": "ExitingJudge"}, "a library that leaves"), marks=pytest.mark.slow),
    ],
    ids=["editor interrupted", "editor cannot load", "dataset cannot open", "judge exits"],
)
def test_a_rank_that_raises_ends_the_job_with_its_traceback(
    folder: Path, phase: str, classes: dict[str, str], said: str
) -> None:
    """The limit of time lies far below distributed.timeout_s: nobody may wait for the dead rank."""
    if phase == "score":
        run_phase("edit", folder / "run", faulty(folder), world_size=1)
    arguments = ["-m", f"editbench.{phase}", f"run_dir={folder / 'run'}", *faulty(folder, **classes)]
    outcome = torchrun(3, arguments, folder, timeout_s=60)
    assert outcome.code != 0
    assert said in outcome.output, outcome.tail
    assert status(folder) == (phase, "failed"), outcome.tail
    cause = outcome.output.find("Traceback (most recent call last)")
    assert -1 < cause < outcome.output.index(said), outcome.tail
    assert not re.search("lost its connection|ended before the others", outcome.output[:cause]), outcome.tail
    assert {edit.state for edit in RunDir(folder / "run").read_edits().values()} <= {"edited"}


@pytest.mark.parametrize(
    ("phase", "classes", "sync_every", "said"),
    [
        ("edit", {"editor": "HangingEditor"}, 1, "rank 1 did not reach the end of the round within"),
        pytest.param(
            *("edit", {"editor": "HangingEditor"}, 0, "nothing came from rank 1 within"), marks=pytest.mark.slow
        ),
        pytest.param(
            *("score", {"judge": "HangingJudge"}, 1, "nothing came from rank 1 within"), marks=pytest.mark.slow
        ),
    ],
    ids=["edit, synchronized", "edit, not synchronized", "score"],
)
def test_a_rank_that_hangs_is_named(
    folder: Path, phase: str, classes: dict[str, str], sync_every: int, said: str
) -> None:
    run_dir = folder / "run"
    if phase == "score":
        run_phase("edit", run_dir, faulty(folder), world_size=1)
    overrides = faulty(folder, **classes)
    limits = [f"distributed.timeout_s={TIMEOUT_S}", f"edit.sync_every={sync_every}"]
    with Job(phase, run_dir, [*overrides, *limits], 3) as job:
        assert job.wait_until(lambda: "error: " in job.output, 60)
        if phase == "score":  # once is enough: torchrun gives the hanging process half a minute before it kills it
            assert job.wait(60).code != 0
        (error,) = Outcome(1, job.output).errors
    assert said in error and f"distributed.timeout_s={TIMEOUT_S}" in error, error
    (folder / "go").touch()
    run_phase(phase, run_dir, overrides, world_size=1)
    check_complete(run_dir, judged=phase == "score")


def test_torchruns_own_restart_goes_on_where_the_dead_worker_left_off(folder: Path) -> None:
    overrides = faulty(folder, editor="EditorThatDies")
    with Job("edit", folder / "run", overrides, 2, ("--max-restarts=2",)) as job:
        outcome = job.wait(120)
    assert outcome.code == 0, outcome.tail
    assert (folder / "died").exists()
    check_complete(folder / "run")
    assert len(begun(folder)) - SAMPLES <= 4  # two rounds of two


@pytest.mark.slow
def test_a_restart_across_hosts_goes_on_where_the_dead_worker_left_off(folder: Path) -> None:
    """Two torchrun agents that find each other by a rendezvous, as on two hosts, and one worker that dies."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ["--nnodes=2", "--nproc_per_node=1", "--rdzv-backend=c10d", "--rdzv-id=hosts", "--max-restarts=2"]
    arguments += [f"--rdzv-endpoint={endpoint}", "--local-addr=127.0.0.1", "-m", "editbench.edit", "edit.sync_every=0"]
    arguments += [f"run_dir={folder / 'run'}", *faulty(folder, editor="EditorThatDies")]

    def host(number: int) -> Outcome:
        conf = f"--rdzv-conf=is_host={number == 0},join_timeout=60,read_timeout=60"
        command = ["-m", "torch.distributed.run", conf, *arguments]
        return run_python(command, folder, real=True, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")

    with ThreadPoolExecutor(2) as hosts:
        outcomes = list(hosts.map(host, range(2)))
    assert [outcome.code for outcome in outcomes] == [0, 0], "".join(outcome.tail for outcome in outcomes)
    assert (folder / "died").exists()
    check_complete(folder / "run")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError as error:
        pytest.skip(f"there is no mount here: {error}")
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=20)


def test_a_full_disk_stops_the_phase_and_damages_nothing(folder: Path, small_disk: Path) -> None:
    overrides = faulty(folder, editor="NoiseEditor")
    run_dir = small_disk / "run"
    run = RunDir(run_dir)
    arguments = ["-m", "editbench.edit", f"run_dir={run_dir}", *overrides]
    for _ in range(2):  # a start on a disk that is full already does no harm either
        outcome = torchrun(2, arguments, folder, timeout_s=60)
        assert outcome.code != 0
        (said,) = outcome.errors
        assert "No space left on device" in said and "make room and start again" in said, outcome.tail
        assert "Traceback" not in ours(outcome) and re.search(r"exitcode *: 2\b", outcome.output), outcome.tail
        edits = run.read_edits()
        assert 0 < len(edits) < SAMPLES
        assert {edit.state for edit in edits.values()} == {"edited"}
        for edit in edits.values():
            read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
    before = run.edits_index.read_bytes()
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True, timeout=20)
    outcome = torchrun(2, arguments, folder)
    assert outcome.code == 0, outcome.tail
    assert run.edits_index.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    check_complete(run_dir)


class Raises:
    """An editor and judge that raises for requests and pictures beyond what it has room for."""

    def __init__(self, error: Exception, room: int = 0) -> None:
        self.error, self.room, self.asked = error, room, []

    def edit(self, source: Image.Image, instruction: str, seed: int, on_step: Any) -> Image.Image:
        raise self.error

    def prepare(self, requests: list[Request]) -> list[Request]:
        return requests

    def reply(self, prepared: list[Request]) -> list[str]:
        self.asked.append(len(prepared))
        if len(prepared) > self.room:
            raise self.error
        return [f"Score: {request.index}" for request in prepared]

    def describe(self) -> dict[str, Any]:
        return {}


def edit_with(editor: Any, dataset: Any, task: EditTask) -> tuple[Edit, Image.Image | None]:
    source = Sources(dataset, SourceConfig()).take(task.sample, then=None)
    return edit_one(editor, task, source, lambda _done, _total: None)


def one_task(folder: Path) -> tuple[Any, EditTask]:
    config = configuration.load([*FAKES, f"dataset.path={folder / 'bench.json'}"])
    dataset = open_dataset(config.dataset)
    record = next(iter(dataset.scan()))
    digest = hashlib.sha256(record.source).hexdigest()
    sample = Sample(0, record.sample_id, "a", "physical", record.instruction, "a cat", digest, record.locator)
    return config.dataset, EditTask(sample, 1, "unit")


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.OutOfMemoryError("CUDA out of memory")])
def test_out_of_memory_fails_one_sample_and_halves_a_batch(
    folder: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied = []
    monkeypatch.setattr("editbench.distributed.devices.empty_cache", lambda: emptied.append(True))
    dataset, task = one_task(folder)
    edit, image = edit_with(Raises(error), dataset, task)
    assert (edit.state, edit.error_type, edit.error, image) == ("edit_failed", type(error).__name__, str(error), None)
    assert emptied

    judge = Raises(error, room=2)
    requests = [Request(index, "s", "u", (make_picture(index),)) for index in range(8)]
    assert ask(requests, judge.prepare, judge.reply) == [f"Score: {index}" for index in range(8)]
    assert judge.asked == [8, 4, 2, 2, 4, 2, 2]
    assert ask(requests[:1], judge.prepare, Raises(error).reply) == [error]


def test_a_lost_device_ends_the_process(folder: Path) -> None:
    dataset, task = one_task(folder)
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(torch.AcceleratorError):
        edit_with(Raises(error), dataset, task)
    with pytest.raises(torch.AcceleratorError):
        ask([Request(0, "s", "u", (make_picture(0),))], list, Raises(error).reply)


@pytest.mark.slow
def test_other_settings_are_refused_by_name_and_redone_on_request(folder: Path) -> None:
    """Units, keys and sentences in one process; a start of each phase as a user sees it."""
    run_dir = folder / "run"
    overrides = [*FAKES, f"dataset.path={folder / 'bench.json'}", f"run_dir={run_dir}"]
    for phase in ("edit", "score"):
        run_phase(phase, run_dir, overrides, world_size=1)
    run = RunDir(run_dir)
    plan = run.read_plan()
    assert plan is not None

    def missing(phase: str, *changed: str) -> list[int]:
        find = find_edit_tasks if phase == "edit" else find_judge_tasks
        return [task.sample.index for task in find(configuration.load([*overrides, *changed]), run, plan, None)[0]]

    rubric = "rubrics.physical.system_prompt"
    refused = [
        ("edit", "seed=7", "seed: 42 -> 7", list(range(SAMPLES))),
        ("edit", "editor.fail_every=50", "editor.fail_every: 0 -> 50", list(range(SAMPLES))),
        ("score", f"{rubric}=other", f"{rubric}: ", [0, 5]),
        ("score", "judge.complete_replies=false", "judge.complete_replies: True -> False", list(range(SAMPLES))),
        ("score", "judge.latency_s=0.5", "judge.latency_s: 0.0 -> 0.5", list(range(SAMPLES))),
    ]
    for phase, changed, said, redone in refused:
        with pytest.raises(UserError, match=re.escape(said)) as refusal:
            missing(phase, changed)
        assert f"{len(redone)} {'edits' if phase == 'edit' else 'judgments'} of this run" in str(refusal.value)
        assert "another run_name" in str(refusal.value) and "on_change=redo" in str(refusal.value)
        assert missing(phase, changed, "on_change=redo") == redone
    harmless = ("log_level=DEBUG", "distributed.timeout_s=9", "edit.sync_every=0", "max_failed=1", "limit=null")
    for phase in ("edit", "score"):
        assert missing(phase, *harmless) == []

    before = run.edits_index.read_bytes(), run.judgments_of("fake").read_bytes()
    started = torchrun(3, ["-m", "editbench.edit", *overrides, "seed=7"], folder, timeout_s=60)
    (said,) = started.errors
    assert "seed: 42 -> 7" in said and started.code != 0
    assert (run.edits_index.read_bytes(), run.judgments_of("fake").read_bytes()) == before
    run_phase("score", run_dir, [*overrides, f"{rubric}=other", "on_change=redo", "log_level=ERROR"], world_size=3)
    assert run.edits_index.read_bytes() == before[0]
    added = run.judgments_of("fake").read_bytes().removeprefix(before[1]).splitlines()
    states = [(record["category"], record["state"]) for record in map(json.loads, added)]
    # the outdated judgments are taken back first, so that a redo that is cut short shows none of them
    assert states == [("physical", "edited")] * 2 + [("physical", "scored")] * 2
