"""Finds what a configuration names by `_target_` and `checkpoint`, and constructs it."""

import dataclasses
import logging
import pydoc
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from editbench import logs
from editbench.components import checkpoint as checkpoints
from editbench.components.checkpoint import Checkpoint
from editbench.config.schema import ComponentConfig
from editbench.errors import UserError
from editbench.run.records import Sample

if TYPE_CHECKING:
    from editbench.analysis.known_truth import Metric
    from editbench.datasets.base import Dataset

logger = logging.getLogger(__name__)


def component_class(settings: ComponentConfig, group: str) -> type[Any]:
    """Import the class that settings name.

    Raises:
        UserError: there is no such module or class.
    """
    try:
        found = pydoc.locate(settings.target)
    except pydoc.ErrorDuringImport as error:
        raise UserError(
            f"{group}._target_={settings.target}: its module cannot be imported ({error.value}); mend it, or install "
            "what it lacks"
        ) from error
    if not isinstance(found, type):
        what = "there is no such class" if found is None else f"is a {type(found).__name__}, not a class"
        raise UserError(f"{group}._target_={settings.target}: {what}; give the import path of a class")
    return found


def open_dataset(settings: ComponentConfig) -> "Dataset":
    """Construct a dataset."""
    dataset: Dataset = component_class(settings, "dataset")(**settings.kwargs)
    return dataset


def open_metric(settings: ComponentConfig) -> "Metric":
    """Construct a metric."""
    metric: Metric = component_class(settings, "metric")(**settings.kwargs)
    return metric


def metric_bounds(settings: ComponentConfig) -> dict[str, tuple[float, float]]:
    """Lowest and highest value of a metric's figures by name, as far as its class tells them."""
    return dict(getattr(component_class(settings, "metric"), "BOUNDS", {}))


def find_checkpoint(settings: ComponentConfig, download: bool) -> Checkpoint | None:
    """Find the checkpoint that settings name, with its LoRA if they name one.

    None if they name none, or not all of it is downloaded.
    """
    name = settings.kwargs.get("checkpoint")
    if not isinstance(name, str):
        return None
    extra = [key for key in ("allow_pickle", "trust_remote_code") if settings.kwargs.get(key)]
    found = checkpoints.find(name, settings.kwargs.get("revision"), download, extra)
    lora = settings.kwargs.get("lora")
    if found is None or not isinstance(lora, dict):
        return found
    path, revision = lora["path"], lora.get("revision")
    if "weight_name" in lora:
        adapter = checkpoints.find_lora(path, lora["weight_name"], revision, download)
    else:
        adapter = checkpoints.find_adapter(path, revision, download)
    return adapter and dataclasses.replace(found, lora=adapter)


def construct(settings: ComponentConfig, group: str, checkpoint: Checkpoint | None, **placement: Any) -> Any:
    """Construct an editor or judge: this is where its model is loaded.

    Args:
        settings: Name its class and arguments.
        group: `editor` or `judge`, for errors.
        checkpoint: Where the checkpoint that the arguments name lies.
        **placement: `device` or `devices`.
    """
    found: dict[str, Any] = {"checkpoint": str(checkpoint.path)} if checkpoint else {}
    if checkpoint and checkpoint.lora:
        lora, file = settings.kwargs["lora"], checkpoint.lora.path
        name = {"weight_name": file.name} if "weight_name" in lora else {}
        found["lora"] = lora | {"path": str(file.parent)} | name
    started = time.monotonic()
    built = component_class(settings, group)(**placement, **(settings.kwargs | found))
    logs.adopt("diffusers", "transformers")
    logger.info("loaded %s %s in %.1f s", group, settings.name, time.monotonic() - started)
    return built


def stands_for_arguments(settings: ComponentConfig) -> Callable[[Sample], dict[str, Any] | None]:
    """What of each sample stands in a unit for the editor's arguments; {} for most editors, None if it is not known."""
    try:
        find = getattr(component_class(settings, "editor"), "stands_for_arguments", None)
    except UserError:  # `verify`, where the class is not
        return lambda _: {}
    if find is None:
        return lambda _: {}

    def of_sample(sample: Sample) -> dict[str, Any] | None:
        found = find(settings.kwargs, sample)
        return None if found is None else {"kwargs": found}

    return of_sample
