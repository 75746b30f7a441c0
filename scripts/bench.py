"""Measures how fast editbench is, side by side with what it could be and with other designs.

    python scripts/bench.py [edit|score|load|scale|all]
    python scripts/bench.py gpu [--only judge_8b]

Prints one table and writes the same as JSON. Both sides of a comparison run in the same call, in turn, several
times; a value is the median, with the least and the greatest behind it. A figure that is not reached stays in the
table. All but `gpu` needs no GPU: editors of known duration and tiny models stand in for the large ones, so the
table tells what editbench adds to their time, not what they take. `gpu` builds models of the full size with random
weights, or loads the editor that Hydra overrides name (`editor=qwen_image_edit_2511`), and sets their times beside the
floor that this card allows.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's editbench, installed or not

import psutil
from bench import edit, gpu, load, scale, score
from bench.measure import Row
from bench.running import CommandError, Settings
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from editbench.run.environment import git_commit
from editbench.run.folder import utc_now
from editbench.run.lines import write_atomic

PARTS = {"edit": edit.FIGURES, "score": score.FIGURES, "load": load.FIGURES, "scale": scale.FIGURES}
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "pillow", "numpy")
EXIT_NO_GPU = 2
MOST_OTHER_WORK = 0.1  # cores


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.part == "gpu" and (sentence := gpu.missing(options.quick)):
        print(sentence, file=sys.stderr)
        return EXIT_NO_GPU
    options.out.parent.mkdir(parents=True, exist_ok=True)
    names = list(PARTS) if options.part == "all" else [options.part]
    report: dict[str, Any] = {"part": options.part, "repeats": options.repeats, "quick": options.quick, **_machine()}
    rows: list[tuple[str, Row]] = []
    busy: dict[str, float] = report.setdefault("cores_busy_with_other_work", {})
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="editbench-bench-") as folder:
        settings = Settings(Path(folder), options.repeats, options.quick, tuple(options.overrides))
        for name in names:
            for figure in {**PARTS, "gpu": gpu.figures(options.overrides)}[name]:
                if options.only and options.only not in figure.__name__:
                    continue
                print(f"{time.monotonic() - began:5.0f} s  {name}: {figure.__doc__}", file=sys.stderr, flush=True)
                before = _busy_s()
                rows += [(name, row) for row in _measure(figure, settings)]
                busy[f"{name}: {figure.__doc__}"] = _others(before, _busy_s())
                report["wall_s"] = round(time.monotonic() - began, 1)
                report["rows"] = [{"part": part, **asdict(row)} for part, row in rows]
                write_atomic(options.out, json.dumps(report, indent=1) + "\n")  # what is known so far
    Console(width=None if sys.stdout.isatty() else 200).print(_table(rows, report))
    print(f"written to {options.out}; {report['wall_s']:.0f} s in all")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all", "gpu"])
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, for gpu alone")
    parser.add_argument("--repeats", type=int, default=3, help="how often each side runs (3)")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it works")
    parser.add_argument("--only", help="only the figures whose function's name holds this")
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"), help="JSON file (runs/bench.json)")
    return parser


def _measure(figure: Any, settings: Settings) -> list[Row]:
    """Take one figure; what fails stays in the table with its reason."""
    try:
        rows: list[Row] = figure(settings)
    except CommandError as error:
        return [Row(figure.__doc__, "", None, reach="a result", reached=False, note=f"failed: {error}")]
    return rows


def _busy_s() -> tuple[float, float, float]:
    """Seconds: now, in which cores were at work, and in which they were at work for us."""
    times, ours = psutil.cpu_times(), os.times()
    all_of_it = times.user + times.nice + times.system + times.irq + times.softirq
    return time.monotonic(), all_of_it, ours.user + ours.system + ours.children_user + ours.children_system


def _others(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """How many cores were busy with other work than ours, on average: more than a few hundredths spoil the figures."""
    seconds, all_of_it, ours = (b - a for a, b in zip(before, after, strict=True))
    return round(max(0.0, all_of_it - ours) / seconds, 2)


def _machine() -> dict[str, Any]:
    cpu = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "unknown")
    return {
        "created": utc_now(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "git_commit": git_commit(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _table(rows: list[tuple[str, Row]], report: dict[str, Any]) -> Table:
    title = f"{report['created'][:10]}, {report['cores']} cores ({report['cpu']}), torch {report['versions']['torch']}"
    if report["quick"]:
        title += ", QUICK: these figures mean nothing"
    if (others := max(report["cores_busy_with_other_work"].values(), default=0)) > MOST_OTHER_WORK:
        title += f", up to {others:g} cores were busy with OTHER WORK"
    table = Table(title=title, show_lines=True)
    for column in ("measured", "against", "value", "reach", "reached", "note"):
        table.add_column(column)
    for part, row in rows:
        value = "not measured" if row.value is None else f"{row.value} {row.unit}".strip()
        reached = {None: "", True: "yes", False: "no"}[row.reached]
        table.add_row(
            *(escape(cell) for cell in (f"{part}: {row.measured}", row.against, value, row.reach, reached, row.note))
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
