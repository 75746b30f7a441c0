"""Scale: what a finished run costs when it is started again, the way to rank 0, and growth (see `growth.py`)."""

import socket
import statistics
from pathlib import Path

from bench import growth
from bench.growth import RANKS
from bench.measure import Row, alternate, at_most, ratios, row, spread
from bench.running import Settings, phase, phase_arguments, run, torchrun

PAYLOAD_BYTES = 1_500_000
ROUNDS = 8
EDIT_S = 30.0


def finished(settings: Settings) -> list[Row]:
    """Phases of a finished run, started again."""
    count = 10 if settings.quick else 270
    folder = settings.folder / "finished"
    overrides = growth.prepare(folder, count)
    for name in ("edit", "score"):
        phase(name, RANKS, folder / "run", overrides)
    (folder / "only_torch.py").write_text("import torch\n")
    names = ("plan", "edit", "score", "report")
    sides = {"torch": lambda: run(["-c", "import torch"], folder).wall_s}
    for name in names:
        arguments = phase_arguments(name, folder / "run", overrides)
        sides[name] = lambda arguments=arguments: run(arguments, folder).wall_s
    sides["torchrun"] = lambda: phase("edit", RANKS, folder / "run", overrides).wall_s
    sides["torchrun of torch"] = lambda: torchrun(RANKS, ["only_torch.py"], folder).wall_s
    times = alternate(sides, settings.repeats)
    seconds = {name: f"{spread(values)} s" for name, values in times.items()}
    rows = [
        row(
            f"a finished run of {count} samples started again: {name}, the process alone",
            "python -c 'import torch'",
            ratios(times[name], times["torch"]),
            at_most(1.5),
            "x",
            f"{seconds[name]} against {seconds['torch']}",
            times if name == names[0] else None,
        )
        for name in names
    ]
    through = row(
        f"the same through torchrun, {RANKS} ranks: edit",
        f"torchrun of import torch, {RANKS} ranks",
        ratios(times["torchrun"], times["torchrun of torch"]),
        unit="x",
        note=f"{seconds['torchrun']} against {seconds['torchrun of torch']}",
    )
    return [*rows, through]


def gather(settings: Settings) -> list[Row]:
    """PNGs of 1.5 MB gathered and written, per round."""
    sizes, rounds = ((2,), 2) if settings.quick else ((2, 4, 8, 16, 32), ROUNDS)
    folder = settings.folder / "gather"
    folder.mkdir(exist_ok=True)
    sides = {str(size): lambda size=size: _gather(folder, size, rounds) for size in sizes}
    rows = []
    per_png = 0.0
    for name, seconds in alternate(sides, settings.repeats).items():
        ranks = int(name)
        per_png = statistics.median(seconds) / ranks
        rate = spread([ranks * PAYLOAD_BYTES / 1e6 / value for value in seconds])
        rows.append(
            row(
                f"gather and write, {ranks} ranks here, a PNG of {PAYLOAD_BYTES / 1e6:g} MB of each: per round",
                "",
                [value * 1000 for value in seconds],
                unit="ms",
                note=f"{rate} MB/s, {per_png * 1000:.1f} ms a PNG",
            )
        )
    needed = 256 * PAYLOAD_BYTES / 1e6 / EDIT_S
    meaning = row(
        "what it means for 256 ranks: gather and write of a round",
        f"an edit of {EDIT_S:g} s",
        [256 * per_png],
        unit="s",
        note=f"256 x {per_png * 1000:.1f} ms, {256 * per_png / EDIT_S:.0%} of the edit that it happens behind; the "
        f"network into rank 0's node has to carry {needed:.0f} MB/s",
    )
    return [*rows, meaning]


FIGURES = (finished, gather, growth.samples)


def _gather(folder: Path, ranks: int, rounds: int) -> float:
    """Seconds per round."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [str(ranks), str(rounds), str(PAYLOAD_BYTES), str(port), str(folder)]
    return float(run(["-m", "bench.gather_worker", *arguments], folder).output.splitlines()[-1])
