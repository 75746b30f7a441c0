"""Checks a run folder: every byte that a report rests on, and what is missing, damaged, stale or extra.

    python -m editbench.verify run_name=mine

Compares with the run's own config.yaml, so run_name or run_dir is all it needs. Changes nothing. Exits with 1 if
anything is wrong; an unfinished run is wrong too.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, TypeVar

from editbench import cli, logs
from editbench.components.check import check_arguments
from editbench.components.checkpoint import Checkpoint
from editbench.components.load import component_class, find_checkpoint
from editbench.config import load as configuration
from editbench.config.schema import ComponentConfig, Config
from editbench.errors import UserError
from editbench.judges.reread import does_not_follow
from editbench.run.folder import Plan, RunDir
from editbench.run.lines import is_temporary, read_lines
from editbench.run.records import Control, Edit, JudgeTask, Judgment
from editbench.run.shards import read_image, scan, shard_name
from editbench.todo import find_edit_tasks, find_judge_tasks
from editbench.views.console import show_findings

KINDS = ("missing", "damaged", "stale", "extra")

Findings = dict[str, list[str]]
Item = TypeVar("Item")


def main(config: Config) -> int:
    """Check and print what was found; returns 1 if anything is wrong, else 0."""
    run_dir = RunDir(config.run_dir)
    if not run_dir.plan_file.exists():
        raise UserError(f"{run_dir.root}: there is no run here (no plan.json); give its run_name or run_dir")
    findings = verify(run_dir)
    show_findings(logs.console(), findings)
    return 1 if any(findings.values()) else 0


def verify(run_dir: RunDir) -> Findings:
    """Check the plan, edits, shards and the judgments of every judge.

    Returns:
        For each of `missing`, `damaged`, `stale` and `extra` a sentence per thing found.
    """
    findings: Findings = {kind: [] for kind in KINDS}
    latest = _check_edits(run_dir, findings)
    plan = _read(findings, run_dir.read_plan)
    if plan is None:  # what is planned is not known
        return findings
    planned = {sample.sample_id for sample in plan.samples}
    findings["extra"] += [f"edit of {edit!r}, which is not planned" for edit in latest.keys() - planned]
    judges = sorted(path.stem for path in run_dir.judgments.glob("*.jsonl"))
    if not findings["damaged"]:
        _check_units(run_dir, plan, _wanted(run_dir), latest, findings)
    if not judges and any(edit.state == "edited" for edit in latest.values()):
        findings["missing"].append("judgments: the score phase has not been run")
    for judge in judges:
        _check_judgments(run_dir, plan, judge, latest, findings)
        if not findings["damaged"]:
            _check_judgment_units(run_dir, plan, _wanted(run_dir, judge), findings)
    return findings


def _check_edits(run_dir: RunDir, findings: Findings) -> dict[str, Edit]:
    """Re-hash every image that the index names, and every byte of the shards; returns the latest edits."""
    stored = _scan_shards(run_dir, findings)  # before the index: a phase at work writes there last
    edits = _read(findings, lambda: list(read_lines(run_dir.edits_index, Edit))) or []
    latest = {edit.sample_id: edit for edit in edits}
    for edit in edits:
        if edit.shard is None or edit.offset is None or edit.length is None or edit.sha256 is None:
            continue
        stored.pop((edit.shard, edit.offset), None)
        if edit is not latest[edit.sample_id]:
            continue
        try:
            read_image(run_dir.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        except ValueError as error:
            findings["damaged"].append(f"image of {edit.sample_id!r}: {error}")
    findings["extra"] += [
        f"{run_dir.edits / shard_name(shard)}: the index does not know {key}; "
        "the next start of the edit phase takes it up"
        for (shard, _), key in stored.items()
    ]
    return latest


def _scan_shards(run_dir: RunDir, findings: Findings) -> dict[tuple[int, int], str]:
    """Check the files beside the index; returns the keys of what shards hold by (shard, offset)."""
    stored: dict[tuple[int, int], str] = {}
    for path in sorted(run_dir.edits.glob("*")):
        number = re.fullmatch(r"shard-(\d{5})\.tar", path.name)
        if number is None:
            if path != run_dir.edits_index and not is_temporary(path):
                findings["extra"].append(f"{path} is none of editbench's files")
            continue
        try:
            stored |= {(int(number[1]), sample.offset): sample.key for sample in scan(path)}
        except FileNotFoundError:
            continue  # it has gone since the folder was listed
        except ValueError as error:
            findings["damaged"].append(str(error))
    return stored


def _check_units(
    run_dir: RunDir, plan: Plan, wanted: Config | None, latest: dict[str, Edit], findings: Findings
) -> None:
    """Find samples without an edit, and edits that are not what config.yaml asks for."""
    if wanted is None:
        findings["missing"] += [f"edit of {s.sample_id!r}" for s in plan.samples if s.sample_id not in latest]
        return
    tasks, _ = find_edit_tasks(wanted, run_dir, plan, _checkpoint(wanted.editor))
    for task in tasks:
        edit = latest.get(task.sample.sample_id)
        done = edit is not None and edit.state != "pending"
        findings["stale" if done else "missing"].append(f"edit of {task.sample.sample_id!r}")


def _check_judgments(run_dir: RunDir, plan: Plan, judge: str, latest: dict[str, Edit], findings: Findings) -> None:
    """Find samples that this judge has not judged, and judgments, or controls, of nothing or of an earlier image."""
    lines = _read(findings, lambda: list(read_lines(run_dir.judgments_of(judge), Judgment)))
    controls = _read(findings, lambda: list(run_dir.read_controls(judge).values()))
    if lines is None or controls is None:
        return
    judgments = {judgment.sample_id: judgment for judgment in lines}
    units = {judgment.unit for judgment in judgments.values()}
    controls = [control for control in controls if control.compared_with in units]  # others count nowhere
    images = {sample_id: edit.sha256 for sample_id, edit in latest.items() if edit.sha256}
    planned = [sample.sample_id for sample in plan.samples]
    findings["missing"] += [f"judgment of {s!r} by {judge}" for s in planned if s in images and s not in judgments]
    for judgment in (*judgments.values(), *controls):
        what = _name(judgment, judge)
        shown = judgment.sample_id
        if isinstance(judgment, Control) and judgment.control == "other_edit":
            shown = judgment.other or shown
        if judgment.sample_id not in images or shown not in images:
            findings["extra"].append(f"{what}: there is no edited image of it")
        elif judgment.image_sha256 != images[shown]:
            findings["stale"].append(f"{what}: it is of an earlier image")


def _check_judgment_units(run_dir: RunDir, plan: Plan, wanted: Config | None, findings: Findings) -> None:
    """Find judgments and controls that are not what their judge's configuration asks for, or do not follow.

    Controls that earlier settings asked for count nowhere, unless they are held against a judgment of today.
    """
    if wanted is None:
        return
    name = wanted.judge.name
    tasks, _ = find_judge_tasks(wanted, run_dir, plan, _checkpoint(wanted.judge))
    known: dict[tuple[str, str], Judgment] = {(i, ""): one for i, one in run_dir.read_judgments(name).items()}
    units = {judgment.unit for judgment in known.values()}
    known |= {key: control for key, control in run_dir.read_controls(name).items() if control.compared_with in units}
    for task in tasks:
        judgment = known.pop((task.sample.sample_id, task.control), None)
        if judgment is not None and judgment.image_sha256 == task.edit.sha256:
            kind = "missing" if judgment.state == "edited" else "stale"  # withdrawn
            findings[kind].append(_name(task, name))
        elif judgment is None and task.control:
            findings["missing"].append(_name(task, name))
    samples = {sample.sample_id: sample for sample in plan.samples}
    for judgment in known.values():
        if problem := does_not_follow(judgment, wanted, samples.get(judgment.sample_id)):
            findings["damaged"].append(f"{_name(judgment, name)}: {problem}")


def _name(of: JudgeTask | Judgment, judge: str) -> str:
    """Name a judgment, or the one that a task lacks."""
    sample_id = of.sample.sample_id if isinstance(of, JudgeTask) else of.sample_id
    control = "" if isinstance(of, Judgment) and not isinstance(of, Control) else of.control
    return f"{f'control {control}' if control else 'judgment'} of {sample_id!r} by {judge}"


def _wanted(run_dir: RunDir, judge: str | None = None) -> Config | None:
    """The configuration the run, or this judge in it, was last started with; None if it was never started."""
    resolved = run_dir.read_config()
    if judge is not None:
        resolved |= run_dir.read_config(judge)
    if not resolved:
        return None
    try:
        config = configuration.check(resolved)
        group = "judge" if judge else "editor"
        part = config.judge if judge else config.editor
        if cls := _class_here(part, group):
            check_arguments(part, group, cls)
    except UserError as error:
        file = run_dir.judgments / f"{judge}.yaml" if judge else run_dir.config_file
        raise UserError(
            f"{file} does not fit this version of editbench: {error}; use the version that made the run"
        ) from error
    return dataclasses.replace(config, on_change="redo", retry_failed=False)


def _class_here(settings: ComponentConfig, group: str) -> type[Any] | None:
    """The class that settings name; None if it is not on this machine."""
    try:
        return component_class(settings, group)
    except UserError:
        return None


def _checkpoint(settings: ComponentConfig) -> Checkpoint | None:
    """The checkpoint that settings name; None, so that units are not compared, if it is not on this machine."""
    try:
        return find_checkpoint(settings, download=False)
    except UserError as error:
        logs.console().print(f"not compared: {error}", markup=False, highlight=False)
        return None


def _read(findings: Findings, read: Callable[[], Item]) -> Item | None:
    """Read a file; None, and a finding, if it is damaged."""
    try:
        return read()
    except UserError as error:
        findings["damaged"].append(str(error))
        return None


if __name__ == "__main__":
    cli.run(main, __doc__, uses_components=False)
