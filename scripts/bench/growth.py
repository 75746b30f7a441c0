"""Growth: whether time per sample and rank 0's memory stay the same from 270 to 27,000 samples, and the report then."""

import itertools
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from bench.edit import Work, editor_overrides
from bench.measure import Row, at_most, row
from bench.pictures import write_benchmark
from bench.running import CONF_DIR, Settings, phase, phase_arguments, read_logs, run

RANKS = 2
MIB = 2**20
ONCE = 10_000
"""Runs with more samples than this run once."""

Facts = dict[str, dict[str, float]]


def samples(settings: Settings) -> list[Row]:
    """Time per sample and rank 0's memory at 270, 2,700 and 27,000 samples, and the report of the largest run."""
    counts = (20, 60) if settings.quick else (270, 2700, 27_000)
    facts: dict[int, list[Facts]] = {count: [] for count in counts}
    for repeat in range(settings.repeats):
        for count in counts:
            if repeat == 0 or count <= ONCE:
                facts[count].append(_run_of(settings, count))

    def median(count: int, name: str, key: str) -> float:
        return statistics.median(one[name][key] for one in facts[count])

    rows = []
    for name in ("plan", "edit", "score"):
        if name != "plan":
            per_sample = {count: median(count, name, "per_sample_s") * 1000 for count in counts}
            rows.append(_growth(f"phase {name}: time per sample, first work to last write", per_sample, "ms"))
        peaks = {count: median(count, name, "peak_bytes") / MIB for count in counts}
        own = {count: median(count, name, "own_bytes") / MIB for count in counts}
        added = f"without the pages of files: {_listed(own, 'MiB')}"
        rows.append(_growth(f"phase {name}: rank 0's peak memory", peaks, "MiB", added))
        if len(counts) > 2:
            walls = {count: median(count, name, "wall_s") for count in counts}
            steps = itertools.pairwise(counts)
            more = {f"{a:,} to {b:,}": 1000 * (walls[b] - walls[a]) / (b - a) for a, b in steps}
            rows.append(_growth(f"phase {name}: what one more sample adds to the whole of it", more, "ms"))
    before = {count: median(count, "edit", "before_s") for count in counts}
    details = {str(count): listed for count, listed in facts.items()}
    rows.append(
        row(
            f"edit phase of {counts[-1]:,} samples: command to first edit",
            _listed({count: before[count] for count in counts[:-1]}, "s"),
            [before[counts[-1]]],
            unit="s",
            note="reading the benchmark and making the plan is part of `plan` above",
            details=details,
        )
    )
    return rows + _report(settings, counts[-1])


def prepare(folder: Path, count: int) -> list[str]:
    """Write a benchmark of small pictures into an empty folder; returns the overrides for its run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    benchmark = write_benchmark(folder / "benchmark.json", count, 16)
    editor = editor_overrides(Work(count, 16, 0.0, RANKS), folder)
    judge = ["judge=timed", f"judge.log={folder / 'log'}", "judge.batch_size=4"]
    return [*editor, *judge, f"dataset.path={benchmark}", "log_level=WARNING"]


def _run_of(settings: Settings, count: int) -> Facts:
    """Plan, edit and judge so many samples."""
    folder = settings.folder / f"scale-{count}"
    overrides = prepare(folder, count)
    run_dir = folder / "run"
    arguments = ["-m", "bench.plan_worker", "--config-dir", str(CONF_DIR), f"run_dir={run_dir}", *overrides]
    plan = run(arguments, folder)
    facts: Facts = {"plan": {"wall_s": float(plan.output.splitlines()[-1])} | _memory(plan)}
    for name, event, files in (("edit", "edit", run_dir / "edits"), ("score", "judge", run_dir / "judgments")):
        began = time.time()
        outcome = phase(name, RANKS, run_dir, overrides)
        first = min(entry["began"] for entry in read_logs(folder / "log", event))
        last = max(file.stat().st_mtime for file in files.iterdir())
        times = {"per_sample_s": (last - first) / count, "before_s": first - began, "wall_s": outcome.wall_s}
        facts[name] = times | _memory(outcome)
    return facts


def _memory(outcome: Any) -> dict[str, float]:
    return {"peak_bytes": outcome.peak_bytes, "own_bytes": outcome.own_bytes}


def _growth(what: str, values: dict[Any, float], unit: str, note: str = "") -> Row:
    growth = max(values.values()) / min(values.values())
    return row(f"{what}: most over least", _listed(values, unit), [growth], at_most(1.1), "x", note)


def _listed(values: dict[Any, float], unit: str) -> str:
    def name(key: Any) -> str:
        return f"{key:,}" if isinstance(key, int) else str(key)

    return ", ".join(f"{name(key)}: {value:.3g} {unit}" for key, value in values.items())


def _report(settings: Settings, count: int) -> list[Row]:
    folder = settings.folder / f"scale-{count}"
    overrides = [
        f"dataset.path={folder / 'benchmark.json'}",
        "judge=timed",
        "judge.log=unused",
        "report.pictures=false",
    ]
    outcomes = [run(phase_arguments("report", folder / "run", overrides), folder) for _ in range(settings.repeats)]
    scored = json.loads((folder / "run" / "report.json").read_text())["counts"]["scored"]
    shutil.rmtree(folder)
    assert scored == count, f"the report tells of {scored} scored samples, {count} were scored"
    megabytes = [outcome.peak_bytes / 1e6 for outcome in outcomes]
    return [
        row(f"report of {count:,} samples: time", "15 s", [o.wall_s for o in outcomes], at_most(15), "s"),
        row(f"report of {count:,} samples: peak memory", "1 GB", megabytes, at_most(1000), "MB"),
    ]
