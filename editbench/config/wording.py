"""Hydra's and OmegaConf's word on a wrong key or value, put into one sentence."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

_CHOICES = ("dataset", "protocol", "editor", "judge", "experiment", "hydra.searchpath")


def one_sentence(error: Exception, overrides: Sequence[str], conf_dir: Path) -> str:
    """Say what is wrong, with the key, what was found, and what to do.

    Args:
        error: What composing or resolving the configuration raised.
        overrides: The command line's overrides.
        conf_dir: Folder of the project's YAMLs.
    """
    text = str(error)
    cause = str(error.__cause__ or "")
    missing = re.search(r"Key '[^']*' (is not in struct|not in '\w+')\s+full_key: (\S+)", f"{text}\n{cause}")
    if missing:
        key = missing.group(2)
        hint = _suggest(key, overrides, conf_dir)
        return f"there is no key {key!r}{hint}; conf/config.yaml and the chosen YAMLs list the keys"
    option = re.search(r"Could not find '([^'/]+)/([^']+)'", text)
    if option:
        group, name = option.groups()
        choices = sorted(path.stem for path in (conf_dir / group).glob("*.yaml"))
        model = f"; a folder or a model of the hub is given as {group}.checkpoint={name}" if "/" in name else ""
        return f"{group}={name}: there is no conf/{group}/{name}.yaml; choose one of {', '.join(choices)}{model}"
    if "override_grammar" in text:
        return (
            f"an override cannot be read: {text.splitlines()[0]} (overrides: {' '.join(overrides)}); they are "
            "key=value, and a value with other than ASCII letters needs quotes of its own: 'categories=[\"物理\"]'"
        )
    mandatory = re.search(
        r"(?:interpolation: Missing mandatory value: |Interpolation key ')([\w.]+)", text
    ) or re.search(r"Missing mandatory value: \S+\s+full_key: (\S+)", text)
    if mandatory:
        return f"{mandatory.group(1)} has no value; give it as {mandatory.group(1)}=…"
    value = re.search(r"(\S.*)\s+full_key: (\S+)", f"{text}\n{cause}")
    if value:
        return f"{value.group(2)}: {value.group(1)}"
    return f"{' '.join(text.split())} (overrides: {' '.join(overrides)})"


def _suggest(key: str, overrides: Sequence[str], conf_dir: Path) -> str:
    with initialize_config_dir(str(conf_dir), version_base="1.3"):
        composed = compose("config", overrides=[o for o in overrides if o.partition("=")[0] in _CHOICES])
    group, _, name = key.rpartition(".")
    siblings = OmegaConf.select(composed, group) if group else composed
    close = difflib.get_close_matches(name, siblings or [], n=1)
    return f", did you mean '{group}{'.' if group else ''}{close[0]}'?" if close else ""
