"""A LoRA on the judge: an adapter of the PEFT library in a folder of its own, checked and put on the loaded model.

Reward models for edits are often published so, as weights beside a judge that is there already.
"""

from collections.abc import Mapping
from typing import Any, TypedDict, get_type_hints

from editbench.config.annotations import check_keys
from editbench.errors import UserError

NAME = "judge"
"""Name of the adapter on the model."""


class Lora(TypedDict, total=False):
    """An adapter, in a folder or on the hub."""

    path: str
    revision: str | None
    scale: float
    fuse: bool


def check_lora(lora: Mapping[str, Any] | None) -> None:
    """Check what needs no file.

    Raises:
        UserError: an unknown or missing key, or a value that does not fit.
    """
    if lora is None:
        return
    check_keys("judge.lora", lora, get_type_hints(Lora))
    if not lora.get("path"):
        raise UserError("judge.lora.path is missing; a LoRA needs the folder or hub id of a PEFT adapter")


def apply_lora(model: Any, lora: Lora) -> None:
    """Put an adapter on a loaded model of transformers.

    Args:
        model: The model, in evaluation mode afterwards as before.
        lora: `path` is a folder here; `scale` (1.0 by default) multiplies what the adapter adds, and with `fuse` that
            is added to the weights once, and not computed beside them in every pass.

    Raises:
        UserError: it is made for another model.
    """
    from peft.tuners.lora import LoraLayer

    try:
        loaded = model.load_adapter(lora["path"], adapter_name=NAME, use_safetensors=True)
        strange = sorted({*loaded.missing_keys, *loaded.unexpected_keys})
        layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
        if strange or not layers:  # transformers only logs them, and fills in what is missing with random numbers
            raise ValueError(f"{len(strange)} weights do not match, such as {strange[0]}" if strange else "it is empty")
        for layer in layers:
            layer.set_scale(NAME, lora.get("scale", 1.0))
            if lora.get("fuse"):
                layer.merge(safe_merge=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise UserError(
            f"judge.lora.path={lora['path']!r} cannot be put on {type(model).__name__}: {reason}; give an adapter that "
            "was made for this checkpoint, or leave it out"
        ) from error
    model.eval()
