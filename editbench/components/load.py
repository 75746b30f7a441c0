"""Finds what a configuration names by `_target_` and `checkpoint`, and constructs it."""

import dataclasses
import logging
import pydoc
import time
from typing import TYPE_CHECKING, Any

from editbench import logs
from editbench.components import checkpoint as checkpoints
from editbench.components.checkpoint import Checkpoint
from editbench.config.schema import ComponentConfig
from editbench.errors import UserError

if TYPE_CHECKING:
    from editbench.datasets.base import Dataset

logger = logging.getLogger(__name__)


def component_class(component: ComponentConfig, group: str) -> type[Any]:
    """Import the class a component names.

    Raises:
        UserError: there is no such module or class.
    """
    try:
        found = pydoc.locate(component.target)
    except pydoc.ErrorDuringImport as error:
        raise UserError(
            f"{group}._target_={component.target}: its module cannot be imported ({error.value}); mend it, or install "
            "what it lacks"
        ) from error
    if not isinstance(found, type):
        what = "there is no such class" if found is None else f"is a {type(found).__name__}, not a class"
        raise UserError(f"{group}._target_={component.target}: {what}; give the import path of a class")
    return found


def open_dataset(component: ComponentConfig) -> "Dataset":
    """Construct a dataset."""
    dataset: Dataset = component_class(component, "dataset")(**component.kwargs)
    return dataset


def find_checkpoint(component: ComponentConfig, download: bool) -> Checkpoint | None:
    """Find the checkpoint that a component's arguments name, with its LoRA if they name one.

    None if they name none, or not all of it is downloaded.
    """
    name = component.kwargs.get("checkpoint")
    if not isinstance(name, str):
        return None
    extra = [key for key in ("allow_pickle", "trust_remote_code") if component.kwargs.get(key)]
    found = checkpoints.find(name, component.kwargs.get("revision"), download, extra)
    lora = component.kwargs.get("lora")
    if found is None or not isinstance(lora, dict):
        return found
    adapter = checkpoints.find_lora(lora["path"], lora["weight_name"], lora.get("revision"), download)
    return adapter and dataclasses.replace(found, lora=adapter)


def construct(component: ComponentConfig, group: str, checkpoint: Checkpoint | None, **placement: Any) -> Any:
    """Construct an editor or judge: this is where its model is loaded.

    Args:
        component: Its class and arguments.
        group: `editor` or `judge`, for errors.
        checkpoint: Where the checkpoint that the arguments name lies.
        **placement: `device` or `devices`.
    """
    found: dict[str, Any] = {"checkpoint": str(checkpoint.path)} if checkpoint else {}
    if checkpoint and checkpoint.lora:
        place = {"path": str(checkpoint.lora.path.parent), "weight_name": checkpoint.lora.path.name}
        found["lora"] = component.kwargs["lora"] | place
    started = time.monotonic()
    built = component_class(component, group)(**placement, **(component.kwargs | found))
    logs.adopt("diffusers", "transformers")
    logger.info("loaded %s %s in %.1f s", group, component.name, time.monotonic() - started)
    return built
