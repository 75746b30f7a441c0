"""Makes the plan of a run: which samples, in which order, judged by which rubric.

The phases make it by themselves when it is missing; by hand, with a table of what is in it:

    python -m editbench.plan dataset.path=bench.json

This also fetches checkpoints that the hub's cache lacks, so that no rank waits for another's download.
"""

import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from editbench import cli, logs
from editbench.components.load import component_class, find_checkpoint, open_dataset
from editbench.config.schema import ComponentConfig, Config
from editbench.datasets.base import BadRecord
from editbench.datasets.samples import collect_samples, no_rubric, read_digests
from editbench.distributed.ranks import Ranks
from editbench.errors import UserError
from editbench.judges.prompts import refuse_unscored
from editbench.run.folder import Plan, RunDir
from editbench.run.records import Sample
from editbench.text import redact, restore
from editbench.todo import find_edit_tasks, find_judge_tasks
from editbench.views.console import plan_table

MAX_SHOWN_PROBLEMS = 20

logger = logging.getLogger("editbench.plan")


def main(config: Config) -> None:
    """Make the plan and fetch the checkpoints."""
    logs.set_up("plan", 0, None, config.log_level)
    run_dir = RunDir(config.run_dir)
    if not config.dry_run:
        run_dir.create()
        run_dir.lock("plan")
    editor, _ = (find_checkpoint(part, download=not config.dry_run) for part in (config.editor, config.judge))
    plan = ensure_plan(config, run_dir, lambda new: find_edit_tasks(config, run_dir, new, editor))
    logs.console().print(plan_table(plan))


def show_dry_run(config: Config, phase: str) -> int:
    """Print what a phase would do, with which model, and where the results go; returns the exit code."""
    ranks = Ranks.from_env()
    if ranks.rank != 0:
        return 0
    folder, console = RunDir(config.run_dir), logs.console()
    settings = config.editor if phase == "edit" else config.judge
    checkpoint = find_checkpoint(settings, download=False)
    plan = (phase == "score" and folder.read_plan()) or ensure_plan(config, folder)
    find = find_edit_tasks if phase == "edit" else find_judge_tasks
    todo = find(config, folder, plan, checkpoint)
    samples, controls = len(todo.tasks) - todo.controls, f" and {todo.controls} controls" * bool(todo.controls)
    size = f"{checkpoint.size_bytes / 2**30:.2f} GiB" if checkpoint else "not downloaded"
    model = f" from {settings.kwargs['checkpoint']} ({size})" if "checkpoint" in settings.kwargs else ""
    console.print(plan_table(plan))
    for line in (
        f"dry run of phase {phase}: {settings.target}{model}",
        f"{samples} samples{controls} to {phase} on {ranks.world_size} ranks, {todo.total - samples} done already",
        f"run folder: {config.run_dir}",
    ):
        console.print(line, highlight=False, markup=False)
    return 0


def ensure_plan(config: Config, run_dir: RunDir, check: Callable[[Plan], object] | None = None) -> Plan:
    """Read the plan of the run folder, or make and write it if what it depends on has changed.

    Args:
        config: The run.
        run_dir: Its folder.
        check: Called with a new plan before it is written; what it raises leaves the old one in place.

    Raises:
        UserError: the dataset is missing or broken, or a category has no rubric.
    """
    dataset = open_dataset(config.dataset)
    kwargs = redact(config.dataset.kwargs)
    for place in ("path", "images"):
        if isinstance(kwargs.get(place), str):
            kwargs[place] = str(Path(kwargs[place]).expanduser().resolve())
    made_from = {
        "dataset": {"class": config.dataset.target, "kwargs": kwargs, "stamp": json.loads(json.dumps(dataset.stamp()))},
        "categories": config.categories,
        "limit": config.limit,
        "category_names": {name: rubric.names for name, rubric in config.rubrics.items()},
    }
    plan = run_dir.read_plan()
    if plan is not None and plan.made_from == made_from:
        check_source_images(config, plan)
        return plan
    if plan is not None:
        logger.warning("the dataset, its category names, or the selection has changed; the plan is made anew")
    logger.info("reading %s once to make the plan", config.dataset.kwargs.get("path", config.dataset.target))
    samples, bad = collect_samples(dataset, _canonical_names(config))
    if bad and getattr(dataset, "on_bad_record", "stop") == "stop":
        raise UserError(_list_problems(bad))
    selected = read_digests(_select(samples, config), dataset)
    refuse_unscored(config, selected)
    plan = Plan(made_from, selected, [dataclasses.asdict(record) for record in bad])
    check_source_images(config, plan)
    if check:
        check(plan)
    if not config.dry_run:
        run_dir.create()
        run_dir.write_plan(plan)
    return plan


def check_source_images(config: Config, plan: Plan) -> None:
    """Check that the editor takes as many source images as the samples have.

    Raises:
        UserError: it does not.
    """
    several = [sample for sample in plan.samples if sample.source_images > 1]
    find_most = (
        getattr(component_class(config.editor, "editor"), "most_source_images", lambda _: 1) if several else None
    )
    most = find_most(config.editor.kwargs) if find_most else None
    if most is None:
        return
    many = [sample for sample in several if sample.source_images > most]
    if many:
        takes = "one source image" if most == 1 else f"{most} source images"
        raise UserError(
            f"editor={config.editor.name} takes {takes}, and {len(many)} of {len(plan.samples)} samples have more, "
            f"such as {many[0].sample_id!r} with {many[0].source_images}; choose an editor that takes a list, let one "
            "of diffusers have them side by side (editor.images=stitch), or leave them out with "
            f"+dataset.max_images={most} dataset.on_bad_record=skip (folders and Parquet)"
        )


def planned_dataset(config: Config, run_dir: RunDir) -> ComponentConfig:
    """The dataset that the plan was made from, whatever dataset this start's overrides name."""
    plan = run_dir.read_plan()
    if plan is None:
        raise UserError(f"{run_dir.plan_file} was removed while the phase was running; start it again")
    return dataset_of(plan, config)


def dataset_of(plan: Plan, config: Config) -> ComponentConfig:
    """The dataset that a plan was made from; of the configuration come only the secrets among its arguments."""
    made_from = plan.made_from["dataset"]
    return ComponentConfig(made_from["class"], "dataset", restore(made_from["kwargs"], config.dataset.kwargs))


def _select(samples: list[Sample], config: Config) -> list[Sample]:
    """Keep the wanted categories and the first `limit` samples, counted anew."""
    if config.categories:
        names = _canonical_names(config)
        unknown = [name for name in config.categories if name not in names]
        if unknown:
            raise UserError(f"categories: {no_rubric(unknown[0], names)}")
        wanted = {names[name] for name in config.categories}
        samples = [sample for sample in samples if sample.category in wanted]
    chosen = {sample.sample_id for sample in samples}
    cut = next((sample for sample in samples if sample.follows and sample.follows not in chosen), None)
    if cut:
        raise UserError(f"categories: {cut.sample_id!r} follows {cut.follows!r}, which they leave out; choose both")
    if not samples:
        raise UserError("no sample is left to do: categories and dataset.on_bad_record leave none")
    return [dataclasses.replace(sample, index=i) for i, sample in enumerate(samples[: config.limit])]


def _canonical_names(config: Config) -> dict[str, str]:
    """Map every name of every category to its rubric's.

    Raises:
        UserError: two rubrics claim one name.
    """
    names: dict[str, str] = {}
    for rubric, settings in config.rubrics.items():
        for name in [rubric, *settings.names]:
            if names.setdefault(name, rubric) != rubric:
                raise UserError(f"rubrics.{rubric}.names: {name!r} already belongs to rubric {names[name]!r}")
    return names


def _list_problems(bad: list[BadRecord]) -> str:
    counts = Counter(record.problem for record in bad)
    lines = [f"  record {r.index} (id {r.sample_id!r}): {r.problem}" for r in bad[:MAX_SHOWN_PROBLEMS]]
    if len(bad) > MAX_SHOWN_PROBLEMS:
        lines.append(f"  … and {len(bad) - MAX_SHOWN_PROBLEMS} more")
    return (
        f"{len(bad)} bad record{'s' * (len(bad) != 1)} in the dataset ({len(counts)} "
        f"kind{'s' * (len(counts) != 1)} of problem); mend what is wrong, or plan the rest with "
        "dataset.on_bad_record=skip:\n" + "\n".join(lines)
    )


if __name__ == "__main__":
    cli.run(main, __doc__)
