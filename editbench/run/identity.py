"""What makes a result the one that was asked for: seeds, keys and units of work.

A unit is the digest of all that decides a result, and nothing else: no rank, no world size, no order, no path.
A result on disk whose unit is the wanted one is done; one with another unit was made with other settings.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from editbench.components.checkpoint import Checkpoint
from editbench.config.schema import ANSWER_START, ComponentConfig, JudgeConfig
from editbench.errors import UserError
from editbench.run.records import Sample
from editbench.text import redact

_WAY_TO_SERVER = ("base_url", "api_key_env", "concurrency", "timeout_s", "max_retries")
"""Arguments of an editor or judge that is a server: where and how patiently it is asked. What it is asked decides, and
the model by its name; a server has no fingerprint that could."""

PROTOCOL_KEYS = (
    "protocol.name",
    "protocol.scale",
    "protocol.criteria.",
    "protocol.scores.",
    "protocol.prompts_sha256",
)
"""Keys of a protocol that can change a judgment, or what its score means."""

_MANY, _LONGEST = 4, 100
"""Keys of rubrics that a message names, and characters of a value that it quotes."""

_NOT_IN_UNITS = (
    *("editor.name", "judge.batch_size", "judge.devices_per_replica", "judge.max_concurrent_loads"),
    *(f"{group}.{name}" for group in ("editor", "judge") for name in _WAY_TO_SERVER),
)


def sample_seed(run_seed: int, sample_id: str) -> int:
    """Seed of a sample's noise, 0 to 2**32 - 1, from the run's seed and the sample id."""
    return int.from_bytes(_digest([run_seed, sample_id])[:4], "big")


def judging_seed(sample_id: str, purpose: str, number: int = 0) -> int:
    """Seed of what is drawn in judging a sample, 0 to 2**63 - 1: from these alone, not from rank, order or batch.

    Args:
        sample_id: The sample's id.
        purpose: What is drawn, such as `noise`.
        number: Which of several draws.
    """
    return int.from_bytes(_digest(["judging", sample_id, purpose, number])[:8], "big") >> 1


def sample_key(sample_id: str) -> str:
    """Name of a sample in shards and files: what is harmless in its id, and a digest that keeps it unique.

    At most 51 characters of a-z, A-Z, 0-9, _ and -; no dot, since WebDataset ends a key there.
    """
    harmless = re.sub(r"[^A-Za-z0-9_-]+", "_", sample_id)[:40].strip("_-")
    return f"{harmless or 'id'}-{_digest(sample_id).hex()[:10]}"


def component_identity(settings: ComponentConfig, checkpoint: Checkpoint | None) -> dict[str, Any]:
    """What of an editor or judge decides its results: class, arguments, the checkpoint by its fingerprint, the mode."""
    elsewhere = ("checkpoint", "revision", *_WAY_TO_SERVER)
    kwargs = {key: value for key, value in redact(settings.kwargs).items() if key not in elsewhere}
    if not kwargs.get("temperature", True):
        del kwargs["temperature"]  # 0 is what a judge without the argument does
    if isinstance(settings, JudgeConfig) and kwargs.get("lora", True) is None:
        del kwargs["lora"]  # as judgments from before there was the argument
    identity = {"class": settings.target, "kwargs": kwargs, "checkpoint": checkpoint and checkpoint.fingerprint}
    if checkpoint and checkpoint.lora:
        place = ("path", "weight_name", "revision")
        kwargs["lora"] = {key: value for key, value in kwargs["lora"].items() if key not in place}
        identity["lora"] = checkpoint.lora.fingerprint
    if isinstance(settings, JudgeConfig) and settings.mode == "expected":
        asked = [settings.labels, settings.min_label_mass, ANSWER_START]
        return identity | {"mode": settings.mode, "asked": asked}
    if isinstance(settings, JudgeConfig):
        repeats = {"repeats": settings.repeats} if settings.repeats > 1 else {}
        return identity | {"completed": ANSWER_START if settings.complete_replies else None} | repeats
    return identity


def digest_of_sources(images_sha256: list[str]) -> str:
    """Hex digest that stands for a sample's source images: the one's own, or that of several in their order."""
    return images_sha256[0] if len(images_sha256) == 1 else _digest(images_sha256).hex()


def sample_input(sample: Sample) -> str:
    """Digest of what a sample gives to an editor: source images and instruction, in a chain all up to its own."""
    instructions = [*sample.earlier, sample.for_editor] if sample.follows else sample.for_editor
    return _digest([sample.source_sha256, instructions]).hex()


def edit_unit(input_digest: str, editor: dict[str, Any], seed: int) -> str:
    """Digest of all that decides an edited image: what `sample_input` gives, the editor, the seed."""
    return _digest([input_digest, editor, seed]).hex()


def judgment_unit(images_sha256: Iterable[str], prompts: Iterable[str], judge: dict[str, Any]) -> str:
    """Digest of all that decides a judgment: the images shown in order, the rendered prompts, the judge."""
    return _digest([list(images_sha256), list(prompts), judge]).hex()


def refuse_changed(
    what: str, count: int, before: dict[str, Any], after: dict[str, Any], under: Iterable[str]
) -> UserError:
    """Say that results in the run folder were made with other settings.

    Args:
        what: What they are, e.g. `edits`.
        count: How many.
        before, after: Resolved configurations, of the run folder (empty if not known) and of this start.
        under: Prefixes of the keys that can change such results.
    """
    keys = changed_keys(before, after, under) if before else []
    reason = (
        "; ".join(keys) if keys else "a checkpoint's files, the dataset's content, pictures, or settings not on record"
    )
    return UserError(
        f"{count} {what} of this run were made with other settings ({reason}); "
        "give another run_name, or on_change=redo to make those anew"
    )


def changed_keys(before: dict[str, Any], after: dict[str, Any], under: Iterable[str]) -> list[str]:
    """Name the settings of two resolved configurations that differ, are under a prefix and can change a result.

    Returns:
        A line per key, long values by their digests. Another protocol, or another file of prompts, stands for all that
        differs with it, and one line for rubrics where many of their keys do.
    """
    flat_before, flat_after = _flatten(before), _flatten(after)
    prefixes = tuple(under)
    keys = [
        key
        for key in sorted(flat_before.keys() | flat_after.keys())
        if key.startswith(prefixes)
        and key not in _NOT_IN_UNITS
        and key.partition(".")[0] in before  # of a judge, not all parts of the configuration are on record
        and flat_before.get(key) != flat_after.get(key)
    ]
    for decides in ("protocol.name", "protocol.prompts_sha256"):
        if decides in keys:
            keys = [key for key in keys if key == decides or not key.startswith("protocol.")]
    of_rubrics = [key for key in keys if key.startswith("rubrics.")]
    many = len(of_rubrics) > _MANY
    lines = [
        f"{key}: {_in_short(flat_before.get(key))} -> {_in_short(flat_after.get(key))}"
        for key in keys
        if not (many and key in of_rubrics)
    ]
    return lines + [f"rubrics: {len({key.split('.')[1] for key in of_rubrics})} are not the same"] * many


def _in_short(value: Any) -> str:
    """A value for a message: what is too long for one by its digest."""
    said = repr(value)
    return said if len(said) <= _LONGEST else f"sha256 {_digest(value).hex()[:12]}"


def _flatten(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _digest(value: Any) -> bytes:
    return hashlib.sha256(json.dumps(_canonical(value), sort_keys=True, ensure_ascii=False).encode()).digest()


def _canonical(value: Any) -> Any:
    """The same number is the same setting, written as 4 or as 4.0."""
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
