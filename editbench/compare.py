"""Compares runs sample by sample: which editor scores higher, by how much, and whether that can be told from chance.

    python -m editbench.compare base=<run> other=<run>
    python -m editbench.compare 'runs=[<run>, <run>, <run>]'

A run is given by its folder or its name under runs/. Writes compare.json, compare.md and compare.html into `out`, by
default compare-<base>-<other> beside the base's folder, and prints a table; with single_file=true the pictures are in
the page itself. Runs judged by different judges or rubrics, or whose samples differ, are refused; force=true compares
them nevertheless and says so in the result. Changes no run.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from editbench import __version__, cli, logs
from editbench.analysis.comparison import compare_all, differing_samples, list_samples
from editbench.errors import UserError
from editbench.results import Results, find_run, only_judge, read_results
from editbench.run.folder import utc_now
from editbench.run.identity import PROTOCOL_KEYS, changed_keys
from editbench.run.lines import write_atomic
from editbench.run.thumbs import edited_name, reference_name, source_names
from editbench.views.comparison import comparison_to_markdown, show_comparison
from editbench.views.html import compare_to_html

_NO_MATTER = ("judge.name", "judge.checkpoint", "judge.revision")
"""Keys under which equal judges can differ: what a checkpoint holds is compared by its fingerprint."""

_NO_NAMES = frozenset({"source", "more_sources", "reference"})
"""Names of runs that stand for pictures of a sample."""


@dataclass
class Options:
    """What to compare."""

    base: str | None = None
    """The run that the others are compared with."""
    other: str | None = None
    runs: list[str] = field(default_factory=list)
    """Two runs or more in place of base and other; the first is the base."""
    judge: str | None = None
    """Whose judgments count; None: those of the only judge that each run has."""
    force: bool = False
    """Whether to compare what differs in more than the editor."""
    out: Path | None = None
    """Folder of the results."""
    single_file: bool = False
    """Whether compare.html holds the thumbnails itself."""


def main(options: Options) -> None:
    """Compare, write and print."""
    runs = _read(options)
    comparison = build_comparison(runs, options.force)
    out = options.out or _beside(runs)
    for sample in comparison["samples"]:
        sample["thumbs"] = _thumbs(sample["sample_id"], runs, out)
    show_comparison(logs.console(), comparison, write_comparison(out, comparison, options.single_file))


def build_comparison(runs: Mapping[str, Results], force: bool = False) -> dict[str, Any]:
    """Compare runs with each other.

    Args:
        runs: By name, the base first.
        force: Whether to go on where more than the editor differs.

    Raises:
        UserError: more than the editor differs, or there is nothing to compare.
    """
    (base_name, base), *others = runs.items()
    differing = [f"{name}: {what}" for name, other in others for what in _differing(base, other)]
    if differing and not force:
        raise UserError(
            f"these runs differ from {base_name} in more than the editor ({'; '.join(differing)}); make them alike, or "
            "compare them nevertheless with force=true"
        )
    outcomes = {name: {o["sample_id"]: o for o in run.outcomes} for name, run in runs.items()}
    found = compare_all(outcomes, base.scale)
    for pair in found["pairs"]:
        if not pair["counts"]["shared"]:
            raise UserError(f"{pair['base']} and {pair['other']} have no sample id in common; give runs of one dataset")
    return {
        "editbench": __version__,
        "created": utc_now(),
        "runs": [_describe(name, run, base) for name, run in runs.items()],
        "forced": differing,
        "scale": list(base.scale),
        "notes": [note for name, run in runs.items() for note in _notes(name, run)] + _batch_note(runs),
        **found,
        "samples": list_samples(outcomes),
    }


def write_comparison(out: Path, comparison: dict[str, Any], single_file: bool = False) -> Path:
    """Write compare.json, compare.md and compare.html into a folder, made if needed.

    Args:
        out: The folder.
        comparison: As `build_comparison` makes it, with the paths of thumbnails from there.
        single_file: Whether compare.html holds the thumbnails itself.

    Returns:
        The path of compare.md.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out={out}: cannot be made ({error.strerror}); choose another folder") from error
    write_atomic(out / "compare.json", json.dumps(comparison, indent=1, ensure_ascii=False) + "\n")
    write_atomic(out / "compare.md", comparison_to_markdown(comparison))
    write_atomic(out / "compare.html", compare_to_html(comparison, out if single_file else None))
    return out / "compare.md"


def _read(options: Options) -> dict[str, Results]:
    """Read the runs, by names that tell them apart."""
    given = options.runs or [run for run in (options.base, options.other) if run]
    if len(given) < 2 or (options.runs and (options.base or options.other)):
        raise UserError("give two runs as base=<run> other=<run>, or two and more as 'runs=[<run>, <run>, …]'")
    folders = [find_run(run) for run in given]
    names = [folder.root.resolve().name for folder in folders]
    if not _NO_NAMES.isdisjoint(names) or len(set(names)) < len(names):
        names = [str(folder.root.resolve()) for folder in folders]
    if len(set(names)) < len(names):
        raise UserError(f"the same run is given twice ({', '.join(names)}); give different ones")
    results = [read_results(folder, options.judge or only_judge(folder)) for folder in folders]
    return dict(zip(names, results, strict=True))


def _beside(runs: Mapping[str, Results]) -> Path:
    first, *others = (run.folder.root.resolve() for run in runs.values())
    return first.parent / f"compare-{'-'.join(root.name for root in (first, *others))}"


def _thumbs(sample_id: str, runs: Mapping[str, Results], out: Path) -> dict[str, Any]:
    """Paths, from `out`, of the thumbnails that reports have made of a sample: its `source`, and its edit by run.

    Of several source images `more_sources` has the others in order, None in place of one without a thumbnail;
    `reference` is the sample's, if it has one.
    """
    edited: dict[str, str | None] = {}
    reference: str | None = None
    sources: list[str | None] = [None]
    for name, run in runs.items():
        sample, edit, folder = run.samples.get(sample_id), run.edits.get(sample_id), run.folder.thumbs
        if sample is None or edit is None or edit.sha256 is None:
            continue
        files = [
            folder / file for file in (edited_name(sample, edit), reference_name(sample) or "", *source_names(sample))
        ]
        edited[name], wanted, *here = (os.path.relpath(file, out) if file.is_file() else None for file in files)
        reference = reference or wanted
        sources = max(sources, here, key=lambda paths: sum(map(bool, paths)))  # of one run: another may have others
    first, *more = sources
    found = {"source": first, **edited, "more_sources": more if any(more) else None, "reference": reference}
    return {key: shown for key, shown in found.items() if shown}


def _differing(base: Results, other: Results) -> list[str]:
    """What differs between two runs beside the editor, in words."""
    before, after = (run.folder.read_config(run.judge) for run in (base, other))
    for config, run in ((before, base), (after, other)):
        config["protocol"] = dataclasses.asdict(run.protocol)  # what earlier versions do not name
    under = ("judge.", "rubrics.", *PROTOCOL_KEYS)
    keys = [key for key in changed_keys(before, after, under) if not key.startswith(_NO_MATTER)]
    prints = [(run.model("score") or {}).get("fingerprint") for run in (base, other)]
    if prints[0] != prints[1]:
        keys.append(f"the judge's checkpoint: {prints[0]!r} -> {prints[1]!r}")
    samples = [{o["sample_id"]: o for o in run.outcomes} for run in (base, other)]
    return keys + differing_samples(*samples)


def _describe(name: str, run: Results, base: Results) -> dict[str, Any]:
    """Which run it is, and what of its editing is not as in the base."""
    before, after = (result.folder.read_config() for result in (base, run))
    scores = [o["score"] for o in run.outcomes if o["score"] is not None]
    return {
        "name": name,
        "path": str(run.folder.root),
        "editor": run.model("edit"),
        "judge": run.model("score"),
        "changed": changed_keys(before, after, ("editor.", "seed", "distributed.cpu_threads")),
        "planned": len(run.outcomes),
        "scored": len(scores),
        "mean": sum(scores) / len(scores) if scores else None,
    }


def _notes(name: str, run: Results) -> list[str]:
    """What must be known before the numbers: an unfinished run, and what models say of themselves."""
    left = sum(o["state"] in ("pending", "edited") for o in run.outcomes)
    notes = [f"PARTIAL: {name}: {left} of {len(run.outcomes)} samples are not edited or not judged yet"] if left else []
    models = {"editor": run.model("edit") or {}, "judge": run.model("score") or {}}
    return notes + [
        f"{name}: {what}: {model[key]}"
        for what, model in models.items()
        for key in ("note", "checkpoint_note")
        if model.get(key)
    ]


def _batch_note(runs: Mapping[str, Results]) -> list[str]:
    sizes = {name: {j.batch_size for j in run.judgments.values() if j.batch_size} for name, run in runs.items()}
    if len({frozenset(found) for found in sizes.values()}) < 2:
        return []
    words = "; ".join(f"{name}: {', '.join(map(str, sorted(found))) or 'none'}" for name, found in sizes.items())
    return [f"batches of the judge were cut to different sizes ({words}); in bfloat16 scores can differ by that"]


if __name__ == "__main__":
    cli.run_with_options(main, Options, __doc__)
