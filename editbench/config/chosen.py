"""Whether a command line chooses the judge and the metric, by itself or by an experiment."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from editbench.config.places import CONF_DIR

_JUDGE = {"judge", "judge.name"}
"""What names a judge; `judge.batch_size=2` is of the one that there is."""


def chosen(overrides: Sequence[str]) -> frozenset[str]:
    """Tell which of `judge` and `metric` are chosen by overrides that Hydra has taken.

    An experiment chooses what its own YAML sets, or overrides in its defaults.
    """
    given = [override.lstrip("+~").partition("=")[::2] for override in overrides]
    folders = [CONF_DIR]
    keys = {key.partition("@")[0] for key, _ in given}
    for key, value in given:
        if key == "hydra.searchpath":
            folders += [Path(str(place).removeprefix("file://")) for place in _listed(value)]
    for name in (name for key, value in given if key == "experiment" for name in _listed(value)):
        for folder in folders:
            if (path := folder / "experiment" / f"{name}.yaml").is_file():
                keys.update(_set_by(yaml.safe_load(path.read_text(encoding="utf-8"))))
    named = {"judge": bool(keys & _JUDGE), "metric": any(key.partition(".")[0] == "metric" for key in keys)}
    return frozenset(group for group, is_named in named.items() if is_named)


def _set_by(experiment: Any) -> Iterator[str]:
    """Keys that an experiment sets: of a group that it chooses the group, of one that it changes each key in it."""
    for key, value in (experiment or {}).items():
        if key == "defaults":
            for entry in value:
                if isinstance(entry, dict):
                    yield from (re.sub("^override +", "", str(group)).lstrip("/").partition("@")[0] for group in entry)
        elif isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield key


def _listed(value: str) -> list[Any]:
    found = yaml.safe_load(value)
    return found if isinstance(found, list) else [found]
