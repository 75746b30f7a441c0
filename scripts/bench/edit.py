"""Edit phase: how much of the time the editors work, and what the phase takes beside two other designs."""

import itertools
import json
import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import Row, alternate, at_least, lower_bound, ratios, row, spread
from bench.pictures import write_benchmark
from bench.running import Outcome, Settings, phase, read_logs, run, torchrun

FASTER = ("> 1", lambda value: value > 1)


@dataclass(frozen=True)
class Work:
    """Edits to be made: how many, how large, how long each takes, on how many ranks."""

    edits: int
    size: int
    duration_s: float
    ranks: int
    sigma: float = 0.0
    load_s: float = 0.0

    def __str__(self) -> str:
        spread = f" lognormal (sigma {self.sigma:g}), mean" if self.sigma else ""
        return f"{self.edits} edits of{spread} {self.duration_s:g} s, {self.size}x{self.size}, {self.ranks} ranks"


@dataclass(frozen=True)
class Times:
    """What one edit phase took, in seconds.

    Attributes:
        working_s: From the start of the first edit to the last write of image or index.
        bound_s: The least it could be with these durations.
        before_s: From the command to the first edit.
        between_s: Mean from the end of an edit to the start of the same rank's next.
        last_s: From the end of the last edit to the last write.
        after_s: From the last write to the command's end.
        wall_s: Of the whole command.
    """

    working_s: float
    bound_s: float
    before_s: float
    between_s: float
    last_s: float
    after_s: float
    wall_s: float


def efficiency_512(settings: Settings) -> list[Row]:
    """Edits of 0.3 s, barrier each round."""
    work = Work(12, 64, 0.05, 2) if settings.quick else Work(270, 512, 0.3, 6)
    return [_efficiency(settings, work)]


def efficiency_1024(settings: Settings) -> list[Row]:
    """Large pictures on two ranks."""
    work = Work(4, 128, 0.05, 2) if settings.quick else Work(60, 1024, 1.0, 2)
    return [_efficiency(settings, work)]


def dynamic(settings: Settings) -> list[Row]:
    """Unequal durations: dynamic against strided with a barrier each round."""
    work = Work(12, 64, 0.05, 2, sigma=0.6) if settings.quick else Work(270, 512, 0.3, 6, sigma=0.6)
    benchmark = _benchmark(settings, work)
    times = alternate(
        {
            "strided": lambda: edit_phase(settings, work, benchmark, ["edit.schedule=strided", "edit.sync_every=1"]),
            "dynamic": lambda: edit_phase(settings, work, benchmark, ["edit.schedule=dynamic"]),
        },
        settings.repeats,
    )
    strided, drawn = ([run.working_s for run in times[side]] for side in ("strided", "dynamic"))
    bounds = [run.bound_s for run in times["dynamic"]]
    note = f"strided {min(strided):.1f} s, dynamic {min(drawn):.1f} s, bound {bounds[0]:.1f} s (best of each)"
    details = {side: [vars(run) for run in runs] for side, runs in times.items()}
    return [
        row(
            f"{work}: dynamic", "strided, barrier each round", ratios(strided, drawn), at_least(1.3), "x", note, details
        ),
        row(
            f"{work}: dynamic",
            "lower bound max(sum / ranks, longest)",
            ratios(drawn, bounds),
            ("<= 1.05", lambda value: value <= 1.05),
        ),
    ]


def designs(settings: Settings) -> list[Row]:
    """The whole phase, starts of processes and models included, beside two other designs."""
    work = Work(10, 64, 0.02, 2, load_s=0.02) if settings.quick else Work(270, 512, 0.3, 6, load_s=0.3)
    benchmark = _benchmark(settings, work)
    switches: list[dict] = []

    def original() -> float:
        outcome = _original(settings, work, benchmark)
        switches.append(json.loads(outcome.output.splitlines()[-1])["switching_s"])
        return outcome.wall_s

    times = alternate(
        {
            "ours": lambda: edit_phase(settings, work, benchmark, []).wall_s,
            "original": original,
            "accelerate": lambda: _accelerate(settings, work, benchmark).wall_s,
        },
        settings.repeats,
    )
    ours = times["ours"]
    editing = [total - spent["judge"] for total, spent in zip(times["original"], switches, strict=True)]
    without = spread(ratios(editing, ours))
    seconds = {side: spread(values) for side, values in times.items()}
    loads = f"a model loads in {work.load_s:g} s"
    return [
        row(
            f"whole edit phase, {work}",
            "original design",
            ratios(times["original"], ours),
            FASTER,
            "x",
            f"{seconds['original']} s against {seconds['ours']} s; {loads}, its judge replies at once; {without} "
            "without its judge's loads",
            times | {"original_switching_s": switches},
        ),
        row(
            f"whole edit phase, {work}",
            "accelerate's split_between_processes",
            ratios(times["accelerate"], ours),
            FASTER,
            "x",
            f"{seconds['accelerate']} s against {seconds['ours']} s; {loads}; it reads all into memory on every rank",
        ),
    ]


FIGURES = (efficiency_512, efficiency_1024, dynamic, designs)


def edit_phase(settings: Settings, work: Work, benchmark: Path, overrides: list[str]) -> Times:
    """Run our edit phase on a new run folder and take its times from the editors' logs and the files' times."""
    folder = settings.folder / "edit"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began = time.time()
    outcome = phase(
        "edit", work.ranks, folder / "run", [*editor_overrides(work, folder), *_plain(benchmark), *overrides]
    )
    edits = _edits_of(work, folder)
    first = min(edit["began"] for edit in edits)
    last = max(file.stat().st_mtime for file in (folder / "run" / "edits").iterdir())
    bound = lower_bound([edit["wanted_s"] for edit in edits], work.ranks)
    return Times(
        working_s=last - first,
        bound_s=bound,
        before_s=first - began,
        between_s=_between(edits),
        last_s=last - max(edit["ended"] for edit in edits),
        after_s=began + outcome.wall_s - last,
        wall_s=outcome.wall_s,
    )


def _edits_of(work: Work, folder: Path) -> list[dict[str, Any]]:
    """The log of a run's edits, each made once."""
    edits = read_logs(folder / "log", "edit")
    assert len(edits) == work.edits, f"{len(edits)} edits were made, {work.edits} wanted"
    return edits


def _between(edits: list[dict[str, Any]]) -> float:
    """Mean seconds from the end of an edit to the start of the same editor's next."""
    gaps: list[float] = []
    for editor in {edit["file"] for edit in edits}:
        own = sorted((edit["began"], edit["ended"]) for edit in edits if edit["file"] == editor)
        gaps += [after[0] - before[1] for before, after in itertools.pairwise(own)]
    return statistics.fmean(gaps)


def editor_overrides(work: Work, folder: Path) -> list[str]:
    """Overrides that put the stand-in in the place of the editor."""
    return ["editor=timed", *(f"editor.{key}={value}" for key, value in _arguments(work, folder).items())]


def _arguments(work: Work, folder: Path) -> dict[str, object]:
    keys = ("size", "duration_s", "sigma", "load_s")
    return {"log": str(folder / "log"), **{key: getattr(work, key) for key in keys}}


def _plain(benchmark: Path) -> list[str]:
    return [f"dataset.path={benchmark}", "judge=fake", "log_level=WARNING"]


def _efficiency(settings: Settings, work: Work) -> Row:
    benchmark = _benchmark(settings, work)
    runs = [edit_phase(settings, work, benchmark, ["edit.sync_every=1"]) for _ in range(settings.repeats)]
    before, after = spread([run.before_s for run in runs]), spread([run.after_s for run in runs])
    between, last = spread([run.between_s * 1000 for run in runs]), spread([run.last_s * 1000 for run in runs])
    return row(
        f"{work}, barrier each round: efficiency",
        f"ideal {runs[0].bound_s:.1f} s",
        [run.bound_s / run.working_s for run in runs],
        at_least(0.97),
        note=f"{between} ms from a rank's edit to its next, {last} ms from the last edit to the last write; outside of "
        f"this, {before} s from the command to the first edit and {after} s from the last write to its end",
        details=[vars(run) for run in runs],
    )


def _benchmark(settings: Settings, work: Work) -> Path:
    path = settings.folder / f"benchmark-{work.edits}-{work.size}.json"
    return path if path.exists() else write_benchmark(path, work.edits, work.size)


def _original(settings: Settings, work: Work, benchmark: Path) -> Outcome:
    folder = _empty(settings.folder / "original")
    arguments = {"benchmark": str(benchmark), "out": str(folder), "devices": work.ranks, "judge_load_s": work.load_s}
    outcome = run(["-m", "bench.original_design", json.dumps(arguments | {"editor": _arguments(work, folder)})], folder)
    _edits_of(work, folder)
    return outcome


def _accelerate(settings: Settings, work: Work, benchmark: Path) -> Outcome:
    folder = _empty(settings.folder / "accelerate")
    arguments = {"benchmark": str(benchmark), "out": str(folder), "editor": _arguments(work, folder)}
    outcome = torchrun(work.ranks, ["-m", "bench.accelerate_loop", json.dumps(arguments)], folder)
    _edits_of(work, folder)
    return outcome


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
