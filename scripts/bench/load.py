"""Loading: how often models are loaded in a run, and what it costs when several ranks load one checkpoint at once."""

import json
import os
import shutil
from pathlib import Path

from bench.edit import Work, editor_overrides
from bench.measure import Row, alternate, at_most, ratios, row, spread
from bench.pictures import write_benchmark
from bench.running import Settings, phase, read_logs, run, torchrun

MB = 1e6


def model_loads(settings: Settings) -> list[Row]:
    """Constructions of editor and judge in a run of five categories."""
    work = Work(10, 64, 0.0, 2)
    folder = _empty(settings.folder / "loads")
    benchmark = write_benchmark(folder / "benchmark.json", work.edits, work.size)
    overrides = [
        *editor_overrides(work, folder),
        "judge=timed",
        f"judge.log={folder / 'log'}",
        f"dataset.path={benchmark}",
    ]
    phase("edit", work.ranks, folder / "run", overrides)
    phase("score", work.ranks, folder / "run", overrides)
    loads = [len(read_logs(folder / "log", event)) / work.ranks for event in ("load_editor", "load_judge")]
    out = _empty(folder / "original")
    editor = {"log": str(out / "log"), "size": work.size}
    arguments = {"benchmark": str(benchmark), "out": str(out), "devices": 2, "editor": editor, "judge_load_s": 0}
    original = json.loads(run(["-m", "bench.original_design", json.dumps(arguments)], out).output)["loads"]
    return [
        row(
            "model loads per rank in a 5-category run, edit + score",
            f"original design: {original['editor']} + {original['judge']}",
            [sum(loads)],
            ("1 + 1", lambda _: loads == [1, 1]),
            note=f"counted: {loads[0]:g} + {loads[1]:g}",
        )
    ]


def checkpoint(settings: Settings) -> list[Row]:
    """Four ranks load 1 GB of the real pipeline class at once, against one alone."""
    folder = _empty(settings.folder / "checkpoint")
    layers, encoder_layers = (1, 1) if settings.quick else (10, 10)
    run(["-m", "bench.load_worker", "build", str(folder / "wide"), str(layers), str(encoder_layers)], folder)
    size = sum(file.stat().st_size for file in (folder / "wide").rglob("*.safetensors"))
    many = 2 if settings.quick else 4
    few = min(many, os.cpu_count() or 1)
    sides = {f"{ranks}": lambda ranks=ranks: _load(folder, ranks) for ranks in sorted({1, few, many})}
    sides["1"]()  # so that all sides find the weights in the page cache
    results = alternate(sides, settings.repeats)
    alone, as_cores, together = results["1"], results[f"{few}"], results[f"{many}"]
    what = f"{many} ranks load {size / 1e9:.2f} GB at once"
    seconds = [f"{spread([r['load_s'] for r in side])} s" for side in (alone, together)]
    memory = [f"{spread([r['memory_bytes'] / MB for r in side])} MB" for side in (alone, together)]
    shutil.rmtree(folder)
    return [
        row(
            f"{what}: time",
            "one rank alone, weights in the page cache",
            ratios([r["load_s"] for r in together], [r["load_s"] for r in alone]),
            at_most(1.3),
            "x",
            f"{seconds[1]} against {seconds[0]}, libraries imported before",
            {"alone": alone, "together": together},
        ),
        row(
            f"{few} ranks, no more than the machine has cores, load it at once: time",
            "one rank alone, weights in the page cache",
            ratios([r["load_s"] for r in as_cores], [r["load_s"] for r in alone]),
            unit="x",
            note="loading mapped weights is nearly all Python, so ranks beyond the cores wait for a core",
        ),
        row(
            f"{what}, then read every weight once, as a copy to a device does: time",
            "one rank alone, weights in the page cache",
            ratios([r["read_s"] for r in together], [r["read_s"] for r in alone]),
            unit="x",
            note=f"from the start of loading; bound by the {many} ranks' share of the machine's cores",
        ),
        row(
            f"{what}: host memory (PSS over all ranks, less what it was before)",
            "one rank's",
            ratios([r["memory_bytes"] for r in together], [r["memory_bytes"] for r in alone]),
            at_most(1.1),
            "x",
            f"{memory[1]} against {memory[0]}",
        ),
        row(
            f"{what}: peak of one rank's own memory (RSS less file pages) while loading",
            "the checkpoint",
            [r["private_peak_bytes"] / size for r in together],
            unit="x",
        ),
    ]


FIGURES = (model_loads, checkpoint)


def _load(folder: Path, ranks: int) -> dict[str, float]:
    torchrun(ranks, ["-m", "bench.load_worker", "load", str(folder / "wide"), str(folder / "result.json")], folder)
    result: dict[str, float] = json.loads((folder / "result.json").read_text())
    return result


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
