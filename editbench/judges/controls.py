"""Controls: what a judge is shown in place of some samples' edits, to learn whether it can tell.

Which samples, and what stands beside them, follows from the plan's ids alone: not from its order, nor from the number
of processes. The choice for a smaller number of samples is part of that for a larger one.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from editbench.config.schema import Config
from editbench.judges.prompts import asked_words
from editbench.run.identity import judging_seed, judgment_unit
from editbench.run.records import WRONG_EDITS, ControlKind, JudgeTask, Sample


def choose_samples(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Choose samples spread evenly over the categories, and within each over the source images.

    Args:
        samples: All that are planned, in any order.
        count: How many to choose; fewer are if there are not so many.
    """
    categories: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=_choice):
        categories[sample.category].append(sample)
    turns = itertools.zip_longest(*(_by_turns_of_source(categories[name]) for name in sorted(categories)))
    return [sample for turn in turns for sample in turn if sample is not None][:count]


def make_control_tasks(
    config: Config, samples: Sequence[Sample], real: Sequence[JudgeTask], judge: dict[str, Any]
) -> list[JudgeTask]:
    """Make the tasks of all controls that are wanted; a chosen sample without an edited image has none.

    Args:
        config: The run.
        samples: All that are planned.
        real: The tasks of all samples that have an edited image, judged already or not.
        judge: The judge's identity.
    """
    found = {task.sample.sample_id: task for task in real}
    ordered = sorted(real, key=lambda task: _choice(task.sample))
    kinds: list[ControlKind] = [*WRONG_EDITS, "again"]
    if config.judge_sees_source:
        kinds.append("swapped")
    seen: defaultdict[str, int] = defaultdict(int)
    tasks: list[JudgeTask] = []
    for sample in choose_samples(samples, config.score.controls):
        place = seen[sample.category] * len(kinds)
        seen[sample.category] += 1
        task = found.get(sample.sample_id)
        other = task and find_other(task, ordered)
        for number, kind in enumerate(kinds):
            if task and (other or not kind.startswith("other_")):
                control = _as_control(task, kind, other)
                unit = _unit(config, control, judge)
                tasks.append(dataclasses.replace(control, unit=unit, place=place + number))
    return tasks


def find_other(task: JudgeTask, ordered: Sequence[JudgeTask]) -> JudgeTask | None:
    """Find the sample whose edit and instruction are taken: the next one, around, that has neither in common.

    Args:
        task: The task of the sample itself.
        ordered: Tasks in a fixed order, this one among them.

    Returns:
        One of the same category where there is one; None if all have the same source image or instruction.
    """
    own = task.sample
    at = ordered.index(task)
    fitting = [
        other
        for other in (*ordered[at + 1 :], *ordered[:at])
        if other.sample.source_sha256 != own.source_sha256 and other.sample.instruction != own.instruction
    ]
    return next((other for other in fitting if other.sample.category == own.category), next(iter(fitting), None))


def stand_in(task: JudgeTask, edited: Image.Image, read_source: Callable[[], Image.Image]) -> Image.Image:
    """Give the image that is judged as the edit: for some controls another one than the edit that the task names.

    Args:
        task: What is judged.
        edited: The edit that the task names, mode RGB.
        read_source: Reads the sample's source image, the first of several, mode RGB.
    """
    if task.control == "unchanged":
        return read_source()
    if task.control == "black":
        return Image.new("RGB", edited.size)
    if task.control == "noise":
        random = np.random.default_rng(judging_seed(task.sample.sample_id, "noise"))
        return Image.fromarray(random.integers(0, 256, (edited.height, edited.width, 3), dtype=np.uint8))
    return edited


def _as_control(task: JudgeTask, kind: ControlKind, other: JudgeTask | None) -> JudgeTask:
    control = dataclasses.replace(task, control=kind, compared_with=task.unit)
    if other is not None and kind == "other_edit":
        return dataclasses.replace(control, edit=other.edit, other=other.sample.sample_id)
    if other is not None and kind == "other_instruction":
        sample = dataclasses.replace(task.sample, instruction=other.sample.instruction)
        return dataclasses.replace(control, sample=sample, other=other.sample.sample_id)
    return control


def _unit(config: Config, task: JudgeTask, judge: dict[str, Any]) -> str:
    """Digest of all that decides a control's judgment; the unit that it is compared with names the source and edit."""
    words = asked_words(config, task.sample, task.control == "swapped")
    return judgment_unit([task.compared_with, task.control, task.edit.sha256 or ""], words, judge)


def _choice(sample: Sample) -> tuple[int, str]:
    """What samples are ordered by: as good as chance, and the same for the same id everywhere."""
    return judging_seed(sample.sample_id, "choice"), sample.sample_id


def _by_turns_of_source(samples: Sequence[Sample]) -> list[Sample]:
    """Put the first sample of each source image first, then the second of each, and so on."""
    seen: defaultdict[str, int] = defaultdict(int)
    turns: list[tuple[int, Sample]] = []
    for sample in samples:
        turns.append((seen[sample.source_sha256], sample))
        seen[sample.source_sha256] += 1
    return [sample for _, sample in sorted(turns, key=lambda turn: turn[0])]
