"""The typed configuration of a run: composed by Hydra from `conf/`, checked once, before anything is loaded.

`load(["editor=fake", "run_name=mine"])` gives a `Config` of plain dataclasses; no DictConfig travels further.
"""

import dataclasses
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from editbench.config_errors import one_sentence
from editbench.errors import UserError
from editbench.redaction import redact, without_secrets

CHECKOUT = Path(__file__).resolve().parents[1]
CONF_DIR = CHECKOUT / "conf"


@dataclass
class EditConfig:
    """Phase 1's loop."""

    schedule: str = "strided"
    """Who edits what: `strided`: rank r of n every n-th sample from r on; `dynamic`: each rank the next one that
    nobody has, which is quicker where images or GPUs are unequal. The edited images are the same."""
    sync_every: int = 1
    """`dist.barrier()` after so many rounds (a round is one image per rank); 0: only at the end of the phase, as
    always with schedule=dynamic, which has no rounds."""
    max_concurrent_loads: Any = "auto"
    """Ranks of a node that load the editor at the same time; auto: as many as host memory takes."""
    shard_size_mib: int = 256
    """A shard is closed when it has grown past this size, in MiB."""


@dataclass
class SourceConfig:
    """What is accepted from a dataset; a sample beyond it fails alone."""

    max_megapixels: float = 100.0
    """Largest source image, in millions of pixels; checked before it is decoded."""
    max_mib: float = 100.0
    """Largest source image file, in MiB."""
    formats: list[str] = field(default_factory=lambda: ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
    """Formats of source image files, by Pillow's names; JPEG covers MPO, AVIF counts where this Pillow reads it."""
    max_instruction_chars: int = 10_000
    """Longest instruction, in characters."""


@dataclass
class DistributedConfig:
    """The process group."""

    timeout_s: int = 1800
    """Seconds without a sign of a rank after which the job fails and names it; must exceed the longest edit or batch,
    and `edit.sync_every` edits."""
    cpu_threads: int = 1
    """Threads per process on a CPU. The last bits of a result can depend on it, so it is never left to the
    number of processes."""


@dataclass
class RubricConfig:
    """What the judge is told for one category."""

    names: list[str] = MISSING
    """Names in dataset files that mean this category."""
    title: str = MISSING
    """What is judged, for people."""
    system_prompt: str = MISSING
    user_template: str = MISSING
    """With {original_description} and {edit_instruction}; the judge sees the edited image."""
    user_template_with_source: str = MISSING
    """The same for `judge.compare_with_original=true`; the judge sees the source, then the edited image."""


@dataclass
class ComponentConfig:
    """A dataset, editor or judge: its class, and the keyword arguments its constructor gets."""

    target: str
    name: str
    kwargs: dict[str, Any]


@dataclass
class JudgeConfig(ComponentConfig):
    """The judge, and how phase 2 feeds it."""

    batch_size: int | str = "auto"
    """Samples per batch; auto: by the GPU's memory."""
    max_retries: int = 1
    """How often a reply that holds no score is asked again."""
    compare_with_original: bool = False
    """Whether the judge sees the source image before the edited one."""
    devices_per_replica: int | str = "auto"
    """GPUs one copy of the judge is spread over; auto: as few as it fits on."""
    max_concurrent_loads: int | str = "auto"
    """Ranks of a node that load the judge at the same time; auto: as many as host memory takes."""


@dataclass
class Schema:
    """Types of all keys as Hydra checks them; `Config` is the same after checks."""

    run_name: str = MISSING
    run_dir: str = MISSING
    seed: int = 42
    categories: Any = None
    limit: Any = None
    max_failed: float = 0.2
    retry_failed: bool = False
    on_change: str = "stop"
    dry_run: bool = False
    log_level: str = "INFO"
    device_ids: Any = None
    source: SourceConfig = field(default_factory=SourceConfig)
    edit: EditConfig = field(default_factory=EditConfig)
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    dataset: Any = MISSING
    editor: Any = MISSING
    judge: Any = MISSING
    rubrics: dict[str, RubricConfig] = field(default_factory=dict)


@dataclass
class Config:
    """A run."""

    run_name: str
    run_dir: Path
    """Folder of the run; the phases meet there."""
    seed: int
    """The run's seed; each sample's own is made from it and the sample's id."""
    categories: list[str] | None
    """Only these categories, by any of their names; None: all."""
    limit: int | None
    """Only the first so many samples; None: all."""
    max_failed: float
    """A phase stops when more than this fraction of the planned samples has failed in it, 0 to 1."""
    retry_failed: bool
    """Whether samples that failed in an earlier start are tried again."""
    on_change: str
    """When results made with other settings are found: `stop`, or `redo` those."""
    dry_run: bool
    """Print the plan and load nothing."""
    log_level: str
    """What rank 0 shows on the console; the log files hold everything."""
    device_ids: list[int] | None
    """CUDA device of each local rank, as visible to the process; None: local rank r has device r."""
    source: SourceConfig
    edit: EditConfig
    distributed: DistributedConfig
    dataset: ComponentConfig
    editor: ComponentConfig
    judge: JudgeConfig
    rubrics: dict[str, RubricConfig]
    resolved: dict[str, Any]
    """The whole configuration as plain data without secrets, for config.yaml and the report."""


def load(overrides: Sequence[str], config_dir: str | None = None) -> Config:
    """Compose `conf/config.yaml` with command-line overrides and check the result.

    Args:
        overrides: Hydra overrides such as `editor=fake` or `edit.sync_every=0`.
        config_dir: A folder of the user's own YAMLs, searched beside `conf/`.

    Raises:
        UserError: a key or value is wrong; names the key, what was found and what to do.
    """
    _register()
    searched = _search_path(config_dir) if config_dir else []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            composed = compose("config", overrides=[*searched, *overrides])
        resolved = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except yaml.YAMLError as error:
        raise UserError(f"a YAML file of the configuration cannot be read: {' '.join(str(error).split())}") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: group=null
        sentence = one_sentence(error, [*searched, *overrides], CONF_DIR)
        raise UserError(without_secrets(sentence, overrides)) from error
    return check(typing.cast(dict[str, Any], resolved))


def _register() -> None:
    for name, resolver in {
        "checkout": lambda path: str(CHECKOUT / path),
        "stem": lambda path: re.sub(r"[^\w.\-]+", "_", Path(str(path)).stem).strip(".") or "run",
    }.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    ConfigStore.instance().store(name="schema", node=Schema)


def _search_path(config_dir: str) -> list[str]:
    folder = Path(config_dir).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"--config-dir {config_dir}: there is no such folder")
    quoted = str(folder).replace('"', '\\"')
    return [f'hydra.searchpath=["file://{quoted}"]']


def check(resolved: dict[str, Any]) -> Config:
    """Make the typed configuration of a resolved one, composed or read from a run's config.yaml.

    Raises:
        UserError: a value is wrong; names the key, what was found and what to do.
    """
    unknown = sorted(resolved.keys() - {f.name for f in dataclasses.fields(Schema)} - {"experiment"})
    if unknown:
        raise UserError(f"there is no key {unknown[0]!r}; conf/config.yaml lists the keys")
    removed = [f.name for f in dataclasses.fields(Schema) if f.name not in resolved]
    if removed:
        raise UserError(f"{removed[0]} cannot be removed from the configuration; give it a value")
    editor = _component(resolved, "editor")
    config = Config(
        **{
            **{f.name: resolved[f.name] for f in dataclasses.fields(Schema)},
            "run_dir": Path(resolved["run_dir"]).expanduser(),
            "source": SourceConfig(**resolved["source"]),
            "edit": EditConfig(**resolved["edit"]),
            "distributed": DistributedConfig(**resolved["distributed"]),
            "dataset": _component(resolved, "dataset"),
            "editor": editor,
            "judge": _judge(resolved),
            "rubrics": {name: RubricConfig(**rubric) for name, rubric in resolved["rubrics"].items()},
        },
        resolved=redact(resolved),
    )
    _require(_is_name(config.run_name), "run_name", config.run_name, "letters, digits, . _ - (not . at the start)")
    _require(0 <= config.max_failed <= 1, "max_failed", config.max_failed, "a fraction from 0 to 1")
    _require(config.on_change in ("stop", "redo"), "on_change", config.on_change, "stop or redo")
    _require(config.limit is None or _is_int(config.limit, 1), "limit", config.limit, "null or a number from 1")
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    _require(config.log_level in levels, "log_level", config.log_level, f"one of {', '.join(levels)}")
    _require(bool(str(resolved["run_dir"]).strip()), "run_dir", resolved["run_dir"], "a folder")
    for name, rubric in config.rubrics.items():
        for key in ("user_template", "user_template_with_source"):
            found = re.findall(r"\{(\w*)\}", getattr(rubric, key))
            known = "edit_instruction" in found and set(found) <= {"edit_instruction", "original_description"}
            places = "a text with {edit_instruction}, and {original_description} if wanted"
            _require(known, f"rubrics.{name}.{key}", getattr(rubric, key)[:60], places)
    steps = editor.kwargs.get("num_inference_steps", 1)
    _require(not isinstance(steps, int) or steps >= 1, "editor.num_inference_steps", steps, "1 or more")
    for key in ("categories", "device_ids"):
        value = getattr(config, key)
        is_list = isinstance(value, list) and len(value) > 0
        _require(value is None or is_list, key, value, f"null or a list: '{key}=[…]'")
    ids = config.device_ids or []
    _require(
        all(_is_int(i, 0) for i in ids) and len(set(ids)) == len(ids), "device_ids", ids, "different numbers from 0"
    )
    schedule = config.edit.schedule
    _require(schedule in ("strided", "dynamic"), "edit.schedule", schedule, "strided or dynamic")
    _require(config.edit.sync_every >= 0, "edit.sync_every", config.edit.sync_every, "0 or more")
    _auto_or_count("edit.max_concurrent_loads", config.edit.max_concurrent_loads)
    _require(config.edit.shard_size_mib >= 1, "edit.shard_size_mib", config.edit.shard_size_mib, "1 or more")
    for key, number in dataclasses.asdict(config.distributed).items():
        _require(number >= 1, f"distributed.{key}", number, "1 or more")
    _auto_or_count("judge.batch_size", config.judge.batch_size)
    _auto_or_count("judge.devices_per_replica", config.judge.devices_per_replica)
    _auto_or_count("judge.max_concurrent_loads", config.judge.max_concurrent_loads)
    _require(_is_int(config.judge.max_retries, 0), "judge.max_retries", config.judge.max_retries, "0 or more")
    _require(
        isinstance(config.judge.compare_with_original, bool),
        "judge.compare_with_original",
        config.judge.compare_with_original,
        "true or false",
    )
    for key, number in dataclasses.asdict(config.source).items():
        _require(bool(number) if key == "formats" else number > 0, f"source.{key}", number, "more than none")
    _check_guidance(editor)
    _check_trust(config)
    return config


def _component(resolved: dict[str, Any], group: str) -> ComponentConfig:
    node = dict(resolved[group]) if isinstance(resolved[group], dict) else {}
    target = node.pop("_target_", None)
    if not isinstance(target, str):
        raise UserError(f"{group}: found no _target_; it must name the class, e.g. in conf/{group}/mine.yaml")
    name = str(node.pop("name", target.rsplit(".", 1)[-1]))
    _require(_is_name(name), f"{group}.name", name, "letters, digits, . _ - (not . at the start)")
    return ComponentConfig(target=target, name=name, kwargs=node)


def _judge(resolved: dict[str, Any]) -> JudgeConfig:
    component = _component(resolved, "judge")
    loop_keys = {f.name for f in dataclasses.fields(JudgeConfig)} - {"target", "name", "kwargs"}
    loop = {key: component.kwargs.pop(key) for key in loop_keys if key in component.kwargs}
    return JudgeConfig(target=component.target, name=component.name, kwargs=component.kwargs, **loop)


def _check_guidance(editor: ComponentConfig) -> None:
    """Diffusers turns guidance off with only a warning when the negative prompt is missing."""
    scale = editor.kwargs.get("true_cfg_scale")
    if isinstance(scale, int | float) and scale > 1 and editor.kwargs.get("negative_prompt") is None:
        raise UserError(
            f"editor.true_cfg_scale={scale} has no effect without editor.negative_prompt; "
            'set it to " ", or the scale to 1'
        )


def _check_trust(config: Config) -> None:
    """Code from a hub repository runs with the user's rights, so it must not change under a name."""
    for group in ("editor", "judge"):
        kwargs = getattr(config, group).kwargs
        if kwargs.get("trust_remote_code") and not re.fullmatch("[0-9a-f]{40}", str(kwargs.get("revision"))):
            raise UserError(
                f"{group}.trust_remote_code=true runs code from the checkpoint; pin it with {group}.revision=<commit "
                "of 40 hex digits>"
            )


def _auto_or_count(key: str, value: Any) -> None:
    _require(value == "auto" or _is_int(value, 1), key, value, "auto or a number from 1")


def _is_name(text: str) -> bool:
    """Whether a text can be a folder's or file's name everywhere; `..` cannot."""
    return re.fullmatch(r"[\w\-][\w.\-]*", text) is not None


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _require(condition: bool, key: str, found: Any, wanted: str) -> None:
    if not condition:
        raise UserError(f"{key}={found!r}: must be {wanted}")
