"""What is still to be done in a run: samples without the result that the configuration asks for.

Results are compared by their units (see `identity.py`), so it does not matter who made them, when, or on how many
processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from editbench.checkpoints import Checkpoint
from editbench.config import ComponentConfig, Config
from editbench.identity import (
    component_identity,
    edit_unit,
    judgment_unit,
    refuse_changed,
    sample_input,
    sample_seed,
)
from editbench.records import Edit, Judgment, Sample
from editbench.rubrics import RETRY_PROMPT, prompts
from editbench.run_dir import Plan, RunDir

EDIT_KEYS = ("editor.", "seed", "dataset.language")
"""Keys of the configuration that can change an edited image."""

JUDGE_KEYS = ("judge.", "rubrics.")
"""Keys of the configuration that can change a judgment."""


@dataclass(frozen=True)
class EditTask:
    """One edit to be made.

    Attributes:
        sample: What is edited.
        seed: Seed of its noise.
        unit: What the edit will count as.
    """

    sample: Sample
    seed: int
    unit: str


@dataclass(frozen=True)
class JudgeTask:
    """One judgment to be made.

    Attributes:
        sample, edit: What is judged.
        unit: What the judgment will count as.
    """

    sample: Sample
    edit: Edit
    unit: str


def find_edit_tasks(
    config: Config, run_dir: RunDir, plan: Plan, checkpoint: Checkpoint | None
) -> tuple[list[EditTask], list[Edit]]:
    """Find what is to be edited: samples without an edit, and by configuration failed or outdated ones.

    Returns:
        The tasks in plan order, and the edits that stay as they are.

    Raises:
        UserError: there are edits made with other settings, and `on_change` is `stop`.
    """
    editor = component_identity(config.editor, checkpoint)
    edits = run_dir.read_edits()
    tasks: list[EditTask] = []
    kept: list[Edit] = []
    changed = 0
    for sample in plan.samples:
        seed = sample_seed(config.seed, sample.sample_id)
        unit = edit_unit(sample_input(sample), editor, seed)
        edit = edits.get(sample.sample_id)
        differs = edit is not None and edit.unit != unit and _comparable(config.editor, checkpoint)
        changed += differs
        if edit is None or differs or (config.retry_failed and edit.state != "edited"):
            tasks.append(EditTask(sample, seed, unit))
        else:
            kept.append(edit)
    if changed and config.on_change == "stop":
        raise refuse_changed("edits", changed, run_dir.read_config(), config.resolved, EDIT_KEYS)
    return tasks, kept


def find_judge_tasks(
    config: Config, run_dir: RunDir, plan: Plan, checkpoint: Checkpoint | None
) -> tuple[list[JudgeTask], list[Judgment]]:
    """Find what is to be judged: edited samples without a judgment of their image, failed ones if so configured.

    Returns:
        The tasks in plan order, and the judgments that stay as they are.

    Raises:
        UserError: there are judgments made with other settings, and `on_change` is `stop`.
    """
    judge = component_identity(config.judge, checkpoint) | {"max_retries": config.judge.max_retries}
    with_source = config.judge.compare_with_original
    edits, judgments = run_dir.read_edits(), run_dir.read_judgments(config.judge.name)
    tasks: list[JudgeTask] = []
    kept: list[Judgment] = []
    changed = 0
    for sample in plan.samples:
        edit, judgment = edits.get(sample.sample_id), judgments.get(sample.sample_id)
        if edit is None or edit.sha256 is None or edit.input != sample_input(sample):
            continue
        if judgment is not None and judgment.image_sha256 != edit.sha256:
            judgment = None  # it is of an earlier edit
        shown = [sample.source_sha256, edit.sha256] if with_source else [edit.sha256]
        words = [*prompts(config.rubrics[sample.category], sample, with_source), RETRY_PROMPT]
        unit = judgment_unit(shown, words, judge)
        differs = judgment is not None and judgment.unit != unit and _comparable(config.judge, checkpoint)
        changed += differs
        if judgment is None or differs or (config.retry_failed and judgment.state != "scored"):
            tasks.append(JudgeTask(sample, edit, unit))
        else:
            kept.append(judgment)
    if changed and config.on_change == "stop":
        before = run_dir.read_config()
        same_judge = before.get("judge", {}).get("name") == config.judge.name
        raise refuse_changed("judgments", changed, before if same_judge else {}, config.resolved, JUDGE_KEYS)
    return tasks, kept


def cut_batches(tasks: Sequence[JudgeTask], batch_size: int) -> list[list[JudgeTask]]:
    """Cut tasks into batches by their place in the plan: a resumed run has the same batches, less what is done."""
    batches: dict[int, list[JudgeTask]] = {}
    for task in tasks:
        batches.setdefault(task.sample.index // batch_size, []).append(task)
    return list(batches.values())


def _comparable(component: ComponentConfig, checkpoint: Checkpoint | None) -> bool:
    """Whether units can be compared: not in a dry run on a machine that does not have the checkpoint."""
    return checkpoint is not None or "checkpoint" not in component.kwargs
