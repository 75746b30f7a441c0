"""The typed configuration of a run: composed by Hydra from `conf/`, checked once, before anything is loaded.

`load(["editor=fake", "run_name=mine"])` gives a `Config` of plain dataclasses; no DictConfig travels further.
"""

import dataclasses
import difflib
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from editbench.config.annotations import fits, in_words
from editbench.config.check_protocol import check_protocol
from editbench.config.chosen import chosen
from editbench.config.places import CONF_DIR, in_checkout
from editbench.config.prompt_file import with_prompts
from editbench.config.protocol import ProtocolConfig
from editbench.config.schema import ComponentConfig, Config, JudgeConfig, RubricConfig, SourceConfig
from editbench.config.typed_texts import keep_texts
from editbench.config.wording import one_sentence
from editbench.errors import MetricError, UserError
from editbench.text import hide, learn_secrets, redact

Built = TypeVar("Built")


def load(overrides: Sequence[str], config_dir: str | None = None) -> Config:
    """Compose `conf/config.yaml` with command-line overrides and check the result.

    Args:
        overrides: Hydra overrides such as `editor=fake` or `edit.sync_every=0`.
        config_dir: A folder of the user's own YAMLs, searched beside `conf/`.

    Raises:
        UserError: a key or value is wrong; names the key, what was found and what to do.
    """
    OmegaConf.register_new_resolver("checkout", in_checkout, replace=True)
    OmegaConf.register_new_resolver("stem", _stem, replace=True)
    searched = _search_path(config_dir) if config_dir else []
    overrides = _own_file(overrides)
    learn_secrets([_by_last_key(override) for override in overrides])
    _refuse(overrides)
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            composed = compose("config", overrides=[*searched, *overrides])
        for override in overrides:
            keep_texts(override, composed)
        resolved = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        named = chosen([*searched, *overrides])
    except yaml.YAMLError as error:
        raise UserError(f"a YAML file of the configuration cannot be read: {' '.join(str(error).split())}") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: group=null
        raise UserError(hide(one_sentence(error, [*searched, *overrides], CONF_DIR))) from error
    whole = typing.cast(dict[str, Any], resolved)
    config = check({**whole, "protocol": with_prompts(whole["protocol"])})
    return dataclasses.replace(config, chosen=named)


def refuse_nano_by_default(overrides: Sequence[str]) -> None:
    """Refuse own data with models that nobody has chosen and that know the scenes alone.

    Raises:
        UserError: a dataset is chosen, and no editor or no judge.
    """
    given = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    own = next((f"{key}={given[key]}" for key in ("dataset.path", "dataset") if key in given), "dataset=scenes")
    chosen = {*given} | ({"editor", "judge"} if own == "dataset=scenes" or "experiment" in given else set())
    for group in ("editor", "judge"):
        if group not in chosen:
            raise UserError(
                f"{own}: the default {group}, nano, knows nothing but the scenes; give {group}=… "
                f"({group}=tiny tries a run out, with random weights)"
            )


def _own_file(overrides: Sequence[str]) -> list[str]:
    """A path without a dataset is that of a benchmark file, not another place of the default one."""
    keys = {override.lstrip("+").partition("=")[0] for override in overrides}
    return ["dataset=json_file"] * ("dataset.path" in keys and "dataset" not in keys) + [*overrides]


def _stem(path: Any) -> str:
    return re.sub(r"[^\w.\-]+", "_", Path(str(path)).stem).strip(".") or "run"


def _by_last_key(override: str) -> dict[str, list[str]]:
    """A value, and its longer parts, which an error can quote alone."""
    key, _, value = override.lstrip("+~").partition("=")
    return {key.rpartition(".")[2]: [value, *re.findall(r"[\w-]+", value)]}


def _refuse(overrides: Sequence[str]) -> None:
    """Refuse what Hydra takes, and what would have no effect, or leave a run without one of its parts."""
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key in ("dataset", "editor", "judge") and (override.startswith("~") or value.strip() in ("", "null")):
            choices = ", ".join(sorted(path.stem for path in (CONF_DIR / key).glob("*.yaml")))
            raise UserError(f"{override}: a run needs its {key}; give {key}= and one of {choices}")
        if key.startswith("hydra.") and key != "hydra.searchpath":
            raise UserError(f"{override}: Hydra's own settings have no effect here; remove it (run_dir= is the folder)")


def _search_path(config_dir: str) -> list[str]:
    folder = Path(config_dir).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"--config-dir {config_dir}: there is no such folder")
    quoted = str(folder).replace('"', '\\"')
    return [f'hydra.searchpath=["file://{quoted}"]']


def check(resolved: dict[str, Any]) -> Config:
    """Make the typed configuration of a resolved one, composed or read from a run's config.yaml.

    Raises:
        UserError: a key is unknown or missing, or a value is wrong; names the key, what was found and what to do.
    """
    given = {key: value for key, value in resolved.items() if key != "experiment"}
    config = _build(Config, given | {"resolved": redact(resolved)}, "")
    labels = config.judge.labels
    config.judge.labels = {str(label): float(score) for label, score in labels.items()}
    for name, rubric in config.rubrics.items():
        rubric.system_prompt = _with_answer(name, rubric, config.judge.mode)
    _check_sampling(config.judge)
    check_protocol(config.protocol, config.judge, config.rubrics)
    for group in ("editor", "judge"):
        _check_trust(group, getattr(config, group).kwargs)
    return config


def check_sources(resolved: dict[str, Any]) -> tuple[ComponentConfig, SourceConfig]:
    """Read where a run's sources come from, and what of them is accepted, out of its config.yaml.

    The rest of it is not looked at, so it may be of another version.

    Raises:
        UserError: the settings of the dataset, or of its sources, are missing or wrong.
    """
    dataset = _build(ComponentConfig, resolved.get("dataset", {}), "dataset.")
    return dataset, _build(SourceConfig, resolved.get("source", {}), "source.")


def read_protocol(resolved: dict[str, Any]) -> ProtocolConfig:
    """Read by which protocol edits were judged, out of a run's configuration; of earlier versions it is `seed`.

    Raises:
        UserError: its settings are wrong.
    """
    return _build(ProtocolConfig, resolved.get("protocol") or {}, "protocol.")


def read_metric(resolved: dict[str, Any]) -> ComponentConfig | None:
    """Read what measures a run's edits, out of its configuration.

    Raises:
        MetricError: its settings are wrong.
    """
    found = resolved.get("metric")
    try:
        return None if found is None else _build(ComponentConfig, found, "metric.")
    except UserError as error:
        raise MetricError(str(error)) from error


def _build(cls: type[Built], node: Any, prefix: str) -> Built:
    """Make a dataclass of plain data; keys are told with the prefix."""
    hints = typing.get_type_hints(cls, include_extras=True)
    if not isinstance(node, dict):
        raise UserError(f"{prefix[:-1]}={node!r}: must be a group of settings: {', '.join(hints)}")
    if issubclass(cls, ComponentConfig):
        node = _split_settings(node, set(hints), prefix[:-1])
    for name in node:
        if name not in hints:
            close = difflib.get_close_matches(str(name), hints, n=1)
            hint = f", did you mean '{prefix}{close[0]}'?" if close else ""
            raise UserError(f"there is no key '{prefix}{name}'{hint}; conf/config.yaml lists the keys")
    for field in dataclasses.fields(typing.cast(Any, cls)):
        has_default = not (field.default is field.default_factory is dataclasses.MISSING)
        if field.name not in node and not has_default:
            raise UserError(f"{prefix}{field.name} has no value and cannot be removed; give it one")
    return cls(**{name: _value(hints[name], value, f"{prefix}{name}") for name, value in node.items()})


def _value(wanted: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(wanted):
        return _build(typing.cast(type[Any], wanted), value, f"{key}.")
    if wanted == ComponentConfig | None:
        return None if value is None else _build(ComponentConfig, value, f"{key}.")
    item = typing.get_args(wanted)[-1] if typing.get_origin(wanted) in (dict, list) else None
    if dataclasses.is_dataclass(item) and isinstance(value, dict) and typing.get_origin(wanted) is dict:
        return {name: _value(item, one, f"{key}.{name}") for name, one in value.items()}
    if dataclasses.is_dataclass(item) and isinstance(value, list) and typing.get_origin(wanted) is list:
        return [_value(item, one, f"{key}.{number}") for number, one in enumerate(value)]
    if not fits(value, wanted):
        raise UserError(f"{key}={value!r}: must be {in_words(wanted)}")
    return Path(value).expanduser() if wanted is Path else value


def _split_settings(node: dict[str, Any], own: set[str], group: str) -> dict[str, Any]:
    """Part the settings of a component's use from the arguments of its class."""
    if not isinstance(target := node.get("_target_"), str):
        raise UserError(f"{group}: found no _target_; it must name the class, e.g. in conf/{group}/mine.yaml")
    settings = {key: value for key, value in node.items() if key in own}
    if settings.get("labels", ...) is None:
        del settings["labels"]
    kwargs = {key: value for key, value in node.items() if key not in own and key != "_target_"}
    return {"name": target.rpartition(".")[2]} | settings | {"target": target, "kwargs": kwargs}


def _with_answer(name: str, rubric: RubricConfig, mode: str) -> str:
    """The system prompt with the form of the answer behind it."""
    if mode == "expected" and not rubric.answer_label.strip():
        raise UserError(
            f"rubrics.{name}.answer_label is empty, judge.mode=expected needs a text there that asks for one label; "
            "start the rubric's YAML with 'defaults: [answer, _self_]', or use judge.mode=generate"
        )
    answer = rubric.answer_label if mode == "expected" else rubric.answer
    return f"{rubric.system_prompt.rstrip()}\n\n{answer}" if answer.strip() else rubric.system_prompt


def _check_sampling(judge: JudgeConfig) -> None:
    """Replies that are not drawn are the same each time, and their spread would be a lie."""
    temperature = judge.kwargs.get("temperature")
    if judge.mode == "expected" and (judge.is_sampling or judge.repeats > 1):
        raise UserError(
            f"judge.mode=expected reads probabilities and draws nothing, so judge.temperature={temperature} and "
            f"judge.repeats={judge.repeats} have no effect; use temperature 0 and one repeat, or judge.mode=generate"
        )
    if judge.repeats > 1 and not judge.is_sampling:
        raise UserError(
            f"judge.repeats={judge.repeats} needs a judge that draws its replies, and judge.temperature is "
            f"{temperature}; set it above 0 (such as 0.7), or use judge.repeats=1"
        )


def _check_trust(group: str, kwargs: dict[str, Any]) -> None:
    """Code from a hub repository runs with the user's rights, so it must not change under a name."""
    if kwargs.get("trust_remote_code") and not re.fullmatch("[0-9a-f]{40}", str(kwargs.get("revision"))):
        raise UserError(
            f"{group}.trust_remote_code=true runs code from the checkpoint; pin it with {group}.revision=<commit "
            "of 40 hex digits>"
        )
