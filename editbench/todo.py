"""What is still to be done in a run: samples without the result that the configuration asks for.

Results are compared by their units (see `identity.py`), so it does not matter who made them, when, or on how many
processes.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from editbench.components.checkpoint import Checkpoint
from editbench.components.load import stands_for_arguments
from editbench.config.schema import ComponentConfig, Config
from editbench.errors import UserError
from editbench.judges.controls import make_control_tasks
from editbench.judges.prompts import asked_words, refuse_unscored, sees_reference
from editbench.run.folder import Plan, RunDir
from editbench.run.identity import (
    PROTOCOL_KEYS,
    component_identity,
    edit_unit,
    judgment_unit,
    refuse_changed,
    sample_input,
    sample_seed,
)
from editbench.run.judgment_files import JudgmentFiles
from editbench.run.lines import JsonLines
from editbench.run.records import Control, Edit, EditTask, JudgeTask, Judgment, Sample, State

Task = TypeVar("Task")
Record = TypeVar("Record", Edit, Judgment)

EDIT_KEYS = ("editor.", "seed", "dataset.language", "distributed.cpu_threads")
"""Keys of the configuration that can change an edited image."""

JUDGE_KEYS = ("judge.", "rubrics.", *PROTOCOL_KEYS, "distributed.cpu_threads")
"""Keys of the configuration that can change a judgment."""


class Todo(NamedTuple, Generic[Task, Record]):
    """What a phase has to do, and what it keeps.

    Attributes:
        tasks: In plan order, those of controls last.
        kept: Results that stay as they are, those of controls last.
    """

    tasks: list[Task]
    kept: list[Record]

    @property
    def total(self) -> int:
        """Samples that the phase is responsible for; a control is none."""
        return len(self.tasks) - self.controls + self.states.total()

    @property
    def controls(self) -> int:
        """Controls that are to be judged."""
        return sum(isinstance(task, JudgeTask) and bool(task.control) for task in self.tasks)

    @property
    def states(self) -> Counter[State]:
        """How many of the kept results of samples are in which state."""
        return Counter(result.state for result in self.kept if not isinstance(result, Control))


def find_edit_tasks(config: Config, run_dir: RunDir, plan: Plan, checkpoint: Checkpoint | None) -> Todo[EditTask, Edit]:
    """Find what is to be edited: samples without an edit, and by configuration failed or outdated ones.

    Raises:
        UserError: there are edits made with other settings, and `on_change` is `stop`.
    """
    editor = component_identity(config.editor, checkpoint) | {"cpu_threads": config.distributed.cpu_threads}
    find_own = stands_for_arguments(config.editor)
    edits = run_dir.read_edits()
    lost = run_dir.lost_images(edits)
    tasks: list[EditTask] = []
    kept: list[Edit] = []
    units: dict[str, str] = {}
    anew: set[str] = set()
    changed = 0
    for sample in plan.samples:
        seed = sample_seed(config.seed, sample.sample_id)
        own = find_own(sample)
        chain = {"follows": units[sample.follows]} if sample.follows else {}
        unit = edit_unit(sample_input(sample), editor | (own or {}) | chain, seed)
        units[sample.sample_id] = unit
        before = edits[sample.follows] if sample.follows and sample.follows not in anew else None
        task = EditTask(sample, seed, unit, before)
        edit = edits.get(sample.sample_id)
        if edit is None or edit.state == "pending":
            tasks.append(task)
            anew.add(sample.sample_id)
            continue
        differs = edit.unit != unit and own is not None and _comparable(config.editor, checkpoint)
        retried = config.retry_failed and edit.state != "edited"
        changed += differs and not retried  # such as one whose picture was missing, and is there now
        outdated = differs or (sample.follows is not None and not _is_made_of(edit, before))
        if outdated or sample.sample_id in lost or retried:
            tasks.append(task)
            anew.add(sample.sample_id)
        else:
            kept.append(edit)
    if config.on_change == "stop":
        if changed:
            raise refuse_changed("edits", changed, run_dir.read_config(), config.resolved, EDIT_KEYS)
        refuse_lost(run_dir, lost)
    return Todo(tasks, kept)


def _is_made_of(edit: Edit, before: Edit | None) -> bool:
    """Whether an edit in a chain was made of what the edit before it is today; None: that is made anew."""
    return before is not None and edit.follows_sha256 == before.sha256


def find_judge_tasks(
    config: Config, run_dir: RunDir, plan: Plan, checkpoint: Checkpoint | None
) -> Todo[JudgeTask, Judgment]:
    """Find what is to be judged: edits, and controls, without a judgment of their image, failed ones if so configured.

    Raises:
        UserError: there are judgments made with other settings, and `on_change` is `stop`; or the protocol has no
            score for a category.
    """
    refuse_unscored(config, plan.samples)
    judge = component_identity(config.judge, checkpoint) | {"cpu_threads": config.distributed.cpu_threads}
    name = config.judge.name
    wanted = _with_image(config, plan, run_dir.read_edits(), judge)
    if config.score.controls:
        wanted += make_control_tasks(config, plan.samples, wanted, judge)
    known = _known_judgments(run_dir, name)
    tasks: list[JudgeTask] = []
    kept: list[Judgment] = []
    changed = 0
    for task in wanted:
        judgment = known.get((task.sample.sample_id, task.control))
        if judgment is not None and not _is_of(judgment, task):
            judgment = None  # it is of an earlier edit, or was withdrawn
        differs = judgment is not None and judgment.unit != task.unit and _comparable(config.judge, checkpoint)
        changed += differs
        if judgment is None or differs or (config.retry_failed and judgment.state != "scored"):
            tasks.append(task)
        else:
            kept.append(judgment)
    if changed and config.on_change == "stop":
        raise refuse_changed("judgments", changed, run_dir.read_config(name), config.resolved, JUDGE_KEYS)
    return Todo(tasks, kept)


def _with_image(config: Config, plan: Plan, edits: Mapping[str, Edit], judge: dict[str, Any]) -> list[JudgeTask]:
    """The tasks of all samples that have an edited image, judged already or not."""
    with_source = config.judge_sees_source
    title_counts = not config.protocol.criteria and config.judge.mode == "generate"
    judged = [
        (sample, edit)
        for sample in plan.samples
        if (edit := edits.get(sample.sample_id)) and edit.sha256 is not None and edit.input == sample_input(sample)
        if not sample.follows or _is_made_of(edit, edits.get(sample.follows))
    ]
    lengths = {
        sample.index: _length(sample, edit, sample.source_images * with_source + sees_reference(config, sample))
        for sample, edit in judged
    }
    places: dict[int, int] = {}
    seen: Counter[str] = Counter()
    for sample, _ in sorted(judged, key=lambda pair: lengths[pair[0].index]):
        places[sample.index] = seen[sample.category]
        seen[sample.category] += 1
    tasks = []
    for sample, edit in judged:
        before = edits[sample.follows] if sample.follows else None
        source = before.sha256 or "" if before else sample.source_sha256
        shown = [*([source] if with_source else []), edit.sha256 or ""]
        shown += [sample.reference_sha256] * sees_reference(config, sample)
        words = asked_words(config, sample) + [config.rubrics[sample.category].title] * title_counts
        unit = judgment_unit(shown, words, judge)
        tasks.append(JudgeTask(sample, edit, unit, lengths[sample.index], places[sample.index], before=before))
    return tasks


def _known_judgments(run_dir: RunDir, judge: str) -> dict[tuple[str, str], Judgment]:
    """The latest judgments by sample id and control; that of the edit itself stands under an empty text."""
    real = {(sample_id, ""): judgment for sample_id, judgment in run_dir.read_judgments(judge).items()}
    return {**real, **run_dir.read_controls(judge)}


def _is_of(judgment: Judgment, task: JudgeTask) -> bool:
    """Whether a judgment counts and is of the task's image; a control also beside the same edit and other sample.

    Where settings have changed, the judgment of that edit tells.
    """
    beside = (judgment.compared_with, judgment.other) if isinstance(judgment, Control) else ("", None)
    return (
        judgment.image_sha256 == task.edit.sha256
        and judgment.state != "edited"
        and beside == (task.compared_with, task.other)
    )


def all_edited(plan: Plan, edits: Mapping[str, Edit]) -> bool:
    """Whether every planned sample has been edited, be it without success."""
    found = [edits.get(sample.sample_id) for sample in plan.samples]
    return all(
        edit is not None and edit.state != "pending" and edit.input == sample_input(sample)
        for sample, edit in zip(plan.samples, found, strict=True)
    )


def read_edited_plan(run_dir: RunDir) -> Plan:
    """Read the plan of a run that has edits.

    Raises:
        UserError: there is none, or images that the index names are gone.
    """
    plan = run_dir.read_plan()
    if plan is None or not run_dir.edits_index.exists():
        raise UserError(f"{run_dir.root}: nothing was edited here; run the edit phase first, or give its run_name")
    refuse_lost(run_dir, run_dir.lost_images(run_dir.read_edits()))
    return plan


def withdraw_edits(tasks: Sequence[EditTask], run_dir: RunDir) -> None:
    """Put on record that the edits which tasks are to replace do not count any more.

    Without that, a phase killed half way through `on_change=redo` would leave results of two settings side by side.
    """
    edits = run_dir.read_edits()
    with contextlib.closing(JsonLines(run_dir.edits_index)) as index:
        index.append(
            *(
                Edit(
                    task.sample.sample_id,
                    task.sample.category,
                    "pending",
                    task.unit,
                    sample_input(task.sample),
                    task.seed,
                )
                for task in tasks
                if task.sample.sample_id in edits
            )
        )


def withdraw_judgments(tasks: Sequence[JudgeTask], run_dir: RunDir, judge: str) -> None:
    """Put on record that the judgments which tasks are to replace do not count any more."""
    known = _known_judgments(run_dir, judge)
    with contextlib.closing(JudgmentFiles(run_dir, judge)) as files:
        files.append(task.judgment("edited") for task in tasks if (task.sample.sample_id, task.control) in known)


def refuse_lost(run_dir: RunDir, lost: Collection[str]) -> None:
    """Refuse to go on without images that the index names.

    Raises:
        UserError: there are such.
    """
    if lost:
        raise UserError(
            f"{len(lost)} images that {run_dir.edits_index} names are not in their shards (e.g. of {min(lost)!r}); "
            "restore the shards, or edit those samples anew with on_change=redo in the edit phase"
        )


def cut_batches(tasks: Sequence[JudgeTask], batch_size: int) -> list[list[JudgeTask]]:
    """Cut tasks into batches of one category and similar length: their prompts begin alike, and need little padding.

    Places decide, so a resumed run has the same batches, less what is done. Those with the most to read come first, so
    that what does not fit a device shows soon, and no large batch is left for the end. Controls have batches of their
    own, behind all samples.
    """
    batches: dict[tuple[bool, str, int], list[JudgeTask]] = {}
    for task in sorted(tasks, key=lambda task: task.place):
        batches.setdefault((not task.control, task.sample.category, task.place // batch_size), []).append(task)
    return sorted(
        batches.values(), key=lambda batch: (not batch[0].control, len(batch) * batch[-1].length), reverse=True
    )


def _length(sample: Sample, edit: Edit, beside: int) -> int:
    """Estimate tokens: one for every 32x32 pixels of an image, as in Qwen3-VL, and one for every 4 characters.

    The images beside the edit count as the first source each.
    """
    area = (edit.width or 0) * (edit.height or 0)
    area += (edit.source_width or 0) * (edit.source_height or 0) * beside
    return round(area / 1024 + (len(sample.instruction) + len(sample.description)) / 4)


def _comparable(settings: ComponentConfig, checkpoint: Checkpoint | None) -> bool:
    """Whether units can be compared: not in a dry run on a machine that does not have the checkpoint."""
    return checkpoint is not None or "checkpoint" not in settings.kwargs
