"""Settings of commands that look at finished runs: `key=value` on the command line, without Hydra.

`read(CompareOptions, ["base=runs/a", "other=runs/b"])` gives the dataclass; its annotations say what a value must be.
"""

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from editbench.config.annotations import fits, in_words
from editbench.errors import UserError

Options = TypeVar("Options")


def read(options: type[Options], arguments: Sequence[str]) -> Options:
    """Make a dataclass of `key=value` arguments; of a key given twice the last counts.

    Args:
        options: A dataclass; fields annotated as text, `Path` or a list of these keep their text, `[a, b]` is a list,
            others are read as YAML.
        arguments: From the command line.

    Raises:
        UserError: a key is unknown, given without a value, or lacking, or a value is wrong.
    """
    hints = typing.get_type_hints(options, include_extras=True)
    values: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if key not in hints or not equals:
            close = difflib.get_close_matches(key, hints, n=1)
            hint = f", did you mean {close[0]}=…?" if close else ""
            raise UserError(
                f"{argument!r} is no setting here{hint}; the settings are {', '.join(hints)}, each as key=value"
            )
        values[key] = _value(key, text, hints[key])
    for field in dataclasses.fields(typing.cast(Any, options)):
        has_default = not (field.default is field.default_factory is dataclasses.MISSING)
        if field.name not in values and not has_default:
            raise UserError(f"{field.name} has no value; give it as {field.name}=…")
    return options(**values)


def _value(key: str, text: str, wanted: Any) -> Any:
    value: Any = text
    if not fits(text, wanted):
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
    if isinstance(value, list) and text.startswith("["):
        value = [item.strip() for item in text[1:-1].split(",")] if fits([""], wanted) else value
    if not fits(value, wanted):
        raise UserError(f"{key}={text}: must be {in_words(wanted)}")
    return Path(value).expanduser() if wanted in (Path, Path | None) and value is not None else value
