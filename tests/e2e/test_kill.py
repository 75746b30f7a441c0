"""Kills runs at random moments and starts them again on another number of processes, until they are done.

`RUNS` seeded runs, the first `SHORT` of them without the mark `slow`. Whatever was killed, the run has to end with the
pictures, judgments and report of a run that nobody touched, and with no finished work done a second time.
"""

import json
import random
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmark_file import write_benchmark
from running import Job, run_phase

from editbench.run.folder import RunDir
from editbench.run.shards import read_image, scan

RUNS = 40
SHORT = 2
WORLD_SIZES = (1, 2, 3, 6)
SAMPLES = 18
BATCH_SIZE = 2
END_AFTER_KILL_S = 60

COUNTING = """
import os

from editbench.editors.fake import FakeEditor
from editbench.judges.fake import FakeJudge


def note(name, line):
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, f"{line}\\n".encode())
    os.close(file)


class CountingEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        note("work_edit.txt", seed)
        return super().edit(source, instruction, seed, on_step)


class CountingJudge(FakeJudge):
    def reply(self, requests):
        for request in requests:
            note("work_score.txt", request.index)
        return super().reply(requests)
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark whose edits fill more than one shard."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    write_benchmark(path, (["物理", "环境", "社会", "因果", "指代"] * SAMPLES)[:SAMPLES], size=(520, 390))
    return path


@pytest.fixture(scope="module")
def untouched(bench: Path) -> dict[str, Any]:
    """What a run ends with that nobody kills."""
    run_dir = bench.parent / "untouched"
    overrides = settings(bench, run_dir.parent, latency_s=0)
    for phase in ("edit", "score", "report"):
        run_phase(phase, run_dir, overrides, world_size=2)
    found = results(run_dir)
    assert len(list((run_dir / "edits").glob("shard-*.tar"))) > 1
    assert Counter(edit["state"] for edit in found["edits"].values()) >= Counter(edited=10, edit_failed=1)
    return found


def settings(bench: Path, folder: Path, latency_s: float) -> list[str]:
    (folder / "counting.py").write_text(COUNTING, encoding="utf-8")
    return [
        *("editor=fake", "editor._target_=counting.CountingEditor", "editor.fail_every=7", "max_failed=1"),
        *("judge=fake", "judge._target_=counting.CountingJudge", f"judge.batch_size={BATCH_SIZE}"),
        *(f"editor.latency_s={latency_s}", f"judge.latency_s={latency_s}"),
        *(f"dataset.path={bench}", "edit.shard_size_mib=1"),
    ]


def results(run_dir: Path) -> dict[str, Any]:
    """All that must not depend on what happened to the run; every image is read and checked on the way."""
    run = RunDir(run_dir)
    edits = run.read_edits()
    for edit in edits.values():
        if edit.sha256 is not None:
            read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
    report = json.loads((run_dir / "report.json").read_text(encoding="utf-8"))
    for sample in report["samples"]:
        del sample["edit_latency_s"], sample["judge_latency_s"]
    return {
        "edits": {e.sample_id: {"state": e.state, "sha256": e.sha256, "error": e.error} for e in edits.values()},
        "judgments": {j.sample_id: (j.state, j.score, j.reply) for j in run.read_judgments("fake").values()},
        "report": {key: value for key, value in report.items() if key not in ("created", "run", "phases", "config")},
    }


@dataclass
class Killed:
    """One start that was killed."""

    phase: str
    world_size: int
    target: str
    moment: str
    lines: int
    end_after_s: float


@dataclass
class Harness:
    """One seeded run."""

    run_dir: Path
    overrides: list[str]
    random: random.Random
    killed: list[Killed] = field(default_factory=list)

    def path(self, phase: str) -> Path:
        """The file whose lines are the phase's finished work."""
        return RunDir(self.run_dir).edits_index if phase == "edit" else RunDir(self.run_dir).judgments_of("fake")

    def committed(self, phase: str) -> bytes:
        """Its whole lines."""
        path = self.path(phase)
        return path.read_bytes()[: path.read_bytes().rfind(b"\n") + 1] if path.exists() else b""

    def work(self, phase: str) -> list[str]:
        """What the editor or judge was asked to do so far: seeds, or places in the plan."""
        path = self.run_dir.parent / f"work_{phase}.txt"
        return path.read_text().splitlines() if path.exists() else []

    def start(self, phase: str, kill: bool) -> bool:
        """Start a phase, and kill it if so wanted; returns whether it ended with 0."""
        before, worked = self.committed(phase), len(self.work(phase))
        world_size = self.random.choices(WORLD_SIZES, weights=(3, 4, 4, 2))[0]
        overrides = [*self.overrides, f"edit.sync_every={self.random.choice((0, 1, 1, 3))}"]
        code = 0
        if kill:
            with Job(phase, self.run_dir, overrides, world_size) as job:
                self._kill(job, phase, world_size, before.count(b"\n"))
                code = job.wait(END_AFTER_KILL_S).code
                _, alive = psutil.wait_procs(job.workers(), timeout=20)
                assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        else:
            run_phase(phase, self.run_dir, overrides, world_size)
        after = self.committed(phase)
        assert after.startswith(before), "lines that were on the disk have changed"
        again = set(self.work(phase)[worked:]) & self._done(phase, before)
        assert not again, f"done again: {again}"
        return code == 0

    def _done(self, phase: str, lines: bytes) -> set[str]:
        records = [json.loads(line) for line in lines.splitlines()]
        if phase == "edit":
            return {str(record["seed"]) for record in records}
        places = {sample.sample_id: str(sample.index) for sample in RunDir(self.run_dir).read_plan().samples}
        return {places[record["sample_id"]] for record in records}

    def _kill(self, job: Job, phase: str, world_size: int, lines: int) -> None:
        target = self.random.choice(("worker", "workers", "torchrun", "torchrun, later its workers"))
        if self.random.random() < 0.25:
            moment = f"{self.random.uniform(0, 5):.2f} s after the start"
            pause(job, float(moment.split()[0]))
        else:
            wanted = lines + self.random.randrange(max(1, SAMPLES - lines))
            moment, path = f"after line {wanted}", self.path(phase)
            job.wait_until(self._grown(job, path, lines, wanted))
            pause(job, self.random.uniform(0, 0.15))
        if job.ended:
            return
        killed_at = time.monotonic()
        if target == "worker" and (workers := job.workers()):
            job.kill(self.random.choice(workers))
        elif target == "workers" and (workers := job.workers()):
            job.kill(*workers)
        else:
            torchrun, *workers = job.family()
            job.kill(torchrun)
            if target != "torchrun":
                pause(None, self.random.uniform(0, 0.5))
            job.kill(*workers)
        job.wait(END_AFTER_KILL_S)
        took = round(time.monotonic() - killed_at, 1)
        self.killed.append(Killed(phase, world_size, target, moment, self.committed(phase).count(b"\n"), took))

    def _grown(self, job: Job, path: Path, lines: int, wanted: int) -> Callable[[], bool]:
        """Whether the phase is at work (for nothing wanted), or its file has so many lines."""
        if wanted == lines:
            phase = "edit" if path.name == "index.jsonl" else "score"
            before = len(self.work(phase))
            return lambda: len(self.work(phase)) > before
        return lambda: path.exists() and path.read_bytes().count(b"\n") >= wanted


def pause(job: Job | None, seconds: float) -> None:
    """Let a random time pass: the moment of a kill, not a wait for anything."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not (job and job.ended):
        time.sleep(0.005)


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[] if s < SHORT else pytest.mark.slow) for s in range(RUNS)])
def test_a_run_that_is_killed_and_started_again_ends_like_one_that_was_not(
    bench: Path, untouched: dict[str, Any], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    harness = Harness(run_dir, settings(bench, tmp_path, chance.choice((0.05, 0.1, 0.2))), chance)
    kills = Counter(
        chance.choices(("edit", "score"), weights=(3, 2), k=chance.choices((1, 2, 3), weights=(6, 3, 1))[0])
    )
    for phase in ("edit", "score"):
        for _ in range(kills[phase]):
            if harness.start(phase, kill=True):
                break
        else:
            harness.start(phase, kill=False)
    run_phase("report", run_dir, harness.overrides)
    for killed in harness.killed:
        print(f"seed {seed}: {killed}")

    assert results(run_dir) == untouched
    allowed = Counter()
    for killed in harness.killed:
        allowed[killed.phase] += 2 * killed.world_size * (BATCH_SIZE if killed.phase == "score" else 1)
    for phase in ("edit", "score"):
        lines = [json.loads(line) for line in harness.committed(phase).splitlines()]
        assert len({line["sample_id"] for line in lines}) == len(lines)
        assert len({line["unit"] for line in lines}) == len(lines)
        again = len(harness.work(phase)) - len(set(harness.work(phase)))
        print(f"seed {seed}: {phase}: {again} done again, {allowed[phase]} allowed")
        assert again <= allowed[phase]
    edited = sum(edit["sha256"] is not None for edit in untouched["edits"].values())
    members = Counter()
    for shard in sorted((run_dir / "edits").glob("shard-*.tar")):
        members.update(stored.key for stored in scan(shard))
        with tarfile.open(shard) as tar:
            members.update(name.rsplit(".", 1)[0] for name in tar.getnames())
    assert len(members) == edited and set(members.values()) == {3}  # once by our reader, as .json and .png by tar's
