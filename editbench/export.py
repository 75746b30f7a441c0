"""Brings a run into the form that another tool reads.

    python -m editbench.export run=<run> to=folder out=pictures side_by_side=true
    python -m editbench.export run=<run> to=gedit out=results
    python -m editbench.export run=<run> to=parquet out=mine.parquet

`to` is folder (pictures under their ids, with metadata.jsonl); gedit, imgedit, kris or rise (what the official scorer
of that benchmark reads); csv or parquet (a row per sample); lm_eval or inspect (into a folder of results or logs);
hf (a YAML for .eval_results, with dataset_id=… and task_id=…). A run is given by its folder or its name
under runs/. Writes nothing over what is there unless force=true, and changes no run. docs/export.md tells more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from editbench import cli, logs
from editbench.config.schema import Name
from editbench.errors import UserError
from editbench.exports.figures import Report
from editbench.exports.hub import eval_results
from editbench.exports.inspect_log import inspect_log
from editbench.exports.lm_eval import lm_eval_files
from editbench.exports.pictures import Written, write_folder, write_layout
from editbench.exports.tables import to_csv, to_parquet
from editbench.exports.writing import check_free, write_file
from editbench.loaded_run import LoadedRun, load_run
from editbench.report import build_report
from editbench.results import only_judge

ENDINGS = {"csv": (".csv",), "parquet": (".parquet",), "hf": (".yaml", ".yml")}
"""Of the file that `out` is, where it is one."""


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, as what, and where to.

    Attributes:
        run: A run, by folder or name.
        to: The form.
        out: The folder or file to write.
        judge: Whose judgments count, where the run has several.
        side_by_side: Of to=folder: each picture has the sources on its left.
        name: Of to=gedit, kris and rise: what the scorer calls the editor; by default the run's name.
        dataset_id, task_id, source_url: Of to=hf: the benchmark on the hub, its task, and where the report can be read.
        figure: Of to=hf: which figure of the run's protocol is the value, by default its headline.
        force: Whether to write over what is there.
    """

    run: str
    to: Literal["folder", "gedit", "imgedit", "kris", "rise", "csv", "parquet", "lm_eval", "hf", "inspect"]
    out: Path
    judge: str | None = None
    side_by_side: bool = False
    name: Name | None = None
    dataset_id: str | None = None
    task_id: str | None = None
    source_url: str | None = None
    figure: str | None = None
    force: bool = False


_ONLY_FOR = {
    "side_by_side": ("folder",),
    "name": ("gedit", "kris", "rise"),
    "dataset_id": ("hf",),
    "task_id": ("hf",),
    "source_url": ("hf",),
    "figure": ("hf",),
}


def main(options: ExportOptions) -> None:
    """Write, and say what was written."""
    written = export(options)
    logs.console().print(
        f"{written.path.absolute()}: {written.sentence}", markup=False, highlight=False, soft_wrap=True
    )


def export(options: ExportOptions) -> Written:
    """Write a run in another form.

    Raises:
        UserError: an option is wrong, the run lacks what the form needs, or something is in the way.
    """
    _check(options)
    run = load_run(options.run, options.judge)
    if options.to == "folder":
        return write_folder(run, options.out, options.side_by_side, options.force)
    if options.to in ("gedit", "imgedit", "kris", "rise"):
        return write_layout(run, options.to, options.out, options.force, options.name or "")
    if options.to in ("lm_eval", "inspect"):
        return _write_files(run, options, (lm_eval_files if options.to == "lm_eval" else inspect_log)(_report(run)))
    make: dict[str, Callable[[], str | bytes]] = {
        "csv": lambda: to_csv(run),
        "parquet": lambda: to_parquet(run),
        "hf": lambda: eval_results(
            _report(run), options.dataset_id, options.task_id, options.source_url, options.figure
        ),
    }
    content = make[options.to]()
    write_file(options.out, [content] if isinstance(content, bytes) else content, options.force)
    return Written(options.out, _counted(run))


def _check(options: ExportOptions) -> None:
    for name, forms in _ONLY_FOR.items():
        if getattr(options, name) and options.to not in forms:
            raise UserError(f"{name} has no effect with to={options.to}, only with to={' or '.join(forms)}; remove it")
    endings = ENDINGS.get(options.to)
    if endings and options.out.suffix.lower() not in endings:
        raise UserError(f"out={options.out}: to={options.to} writes one file, whose name must end in {endings[0]}")
    if endings:
        check_free(options.out, options.force)


def _report(run: LoadedRun) -> Report:
    folder = run.results.folder
    return build_report(folder, run.judge or only_judge(folder))


def _write_files(run: LoadedRun, options: ExportOptions, files: dict[str, str]) -> Written:
    for name in files:
        check_free(options.out / name, options.force)
    for name, text in files.items():
        write_file(options.out / name, text, options.force)
    return Written(options.out / name, _counted(run))


def _counted(run: LoadedRun) -> str:
    scored = sum(row["score"] is not None for row in run.samples)
    return f"{len(run.samples)} samples, {scored} with a score"


if __name__ == "__main__":
    cli.run_with_options(main, ExportOptions, __doc__)
