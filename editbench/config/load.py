"""The typed configuration of a run: composed by Hydra from `conf/`, checked once, before anything is loaded.

`load(["editor=fake", "run_name=mine"])` gives a `Config` of plain dataclasses; no DictConfig travels further.
"""

import dataclasses
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from editbench.config.schema import (
    ComponentConfig,
    Config,
    DistributedConfig,
    EditConfig,
    JudgeConfig,
    RubricConfig,
    Schema,
    SourceConfig,
)
from editbench.config.wording import one_sentence
from editbench.errors import UserError
from editbench.redaction import redact, without_secrets

CHECKOUT = Path(__file__).resolve().parents[2]
CONF_DIR = CHECKOUT / "conf"


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
    _check_run(config, resolved)
    _check_mode(config.judge)
    _check_rubrics(config)
    _check_phases(config)
    _check_guidance(editor)
    _check_trust(config)
    return config


def _check_run(config: Config, resolved: dict[str, Any]) -> None:
    _require(_is_name(config.run_name), "run_name", config.run_name, "letters, digits, . _ - (not . at the start)")
    _require(0 <= config.max_failed <= 1, "max_failed", config.max_failed, "a fraction from 0 to 1")
    _require(config.on_change in ("stop", "redo"), "on_change", config.on_change, "stop or redo")
    _require(config.limit is None or _is_int(config.limit, 1), "limit", config.limit, "null or a number from 1")
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    _require(config.log_level in levels, "log_level", config.log_level, f"one of {', '.join(levels)}")
    _require(bool(str(resolved["run_dir"]).strip()), "run_dir", resolved["run_dir"], "a folder")
    for key in ("categories", "device_ids"):
        value = getattr(config, key)
        is_list = isinstance(value, list) and len(value) > 0
        _require(value is None or is_list, key, value, f"null or a list: '{key}=[…]'")
    ids = config.device_ids or []
    _require(
        all(_is_int(i, 0) for i in ids) and len(set(ids)) == len(ids), "device_ids", ids, "different numbers from 0"
    )


def _check_rubrics(config: Config) -> None:
    """Check the templates, and put the answer's form behind the system prompts."""
    for name, rubric in config.rubrics.items():
        rubric.system_prompt = _with_answer(name, rubric, config.judge.mode)
        for key in ("user_template", "user_template_with_source"):
            found = re.findall(r"\{(\w*)\}", getattr(rubric, key))
            known = "edit_instruction" in found and set(found) <= {"edit_instruction", "original_description"}
            places = "a text with {edit_instruction}, and {original_description} if wanted"
            _require(known, f"rubrics.{name}.{key}", getattr(rubric, key)[:60], places)


def _check_phases(config: Config) -> None:
    steps = config.editor.kwargs.get("num_inference_steps", 1)
    _require(not isinstance(steps, int) or steps >= 1, "editor.num_inference_steps", steps, "1 or more")
    _require(
        config.edit.schedule in ("strided", "dynamic"), "edit.schedule", config.edit.schedule, "strided or dynamic"
    )
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
    if loop.get("labels") is None:
        loop.pop("labels", None)
    return JudgeConfig(target=component.target, name=component.name, kwargs=component.kwargs, **loop)


def _check_mode(judge: JudgeConfig) -> None:
    _require(judge.mode in ("generate", "expected"), "judge.mode", judge.mode, "generate or expected")
    mass = judge.min_label_mass
    _require(_is_number(mass) and 0 < mass <= 1, "judge.min_label_mass", mass, "more than 0, at most 1")
    several = isinstance(judge.labels, dict) and len(judge.labels) > 1
    _require(
        several and all(_is_number(score) and 0 <= score <= 10 for score in judge.labels.values()),
        "judge.labels",
        judge.labels,
        "null or two labels and more, each with its score from 0 to 10: 'judge.labels={1:0,2:5,3:10}'",
    )
    judge.labels = {str(label): float(score) for label, score in judge.labels.items()}


def _with_answer(name: str, rubric: RubricConfig, mode: str) -> str:
    """The system prompt with the form of the answer behind it."""
    if mode == "expected" and not rubric.answer_label.strip():
        raise UserError(
            f"rubrics.{name}.answer_label is empty, judge.mode=expected needs a text there that asks for one label; "
            "start the rubric's YAML with 'defaults: [answer, _self_]', or use judge.mode=generate"
        )
    answer = rubric.answer_label if mode == "expected" else rubric.answer
    return f"{rubric.system_prompt.rstrip()}\n\n{answer}" if answer.strip() else rubric.system_prompt


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(condition: bool, key: str, found: Any, wanted: str) -> None:
    if not condition:
        raise UserError(f"{key}={found!r}: must be {wanted}")
