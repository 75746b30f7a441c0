"""The classes that a configuration names by `_target_`: found, and checked against their arguments."""

import inspect
import types
import typing
from typing import Any

from hydra.utils import get_class

from editbench.config import ComponentConfig, Config
from editbench.errors import UserError
from editbench.redaction import redact


def check_components(config: Config) -> None:
    """Check that dataset, editor and judge name classes that take the given arguments.

    Imports the files of the classes, so only commands that use them call it.

    Raises:
        UserError: no such class, or an argument it does not take or lacks.
    """
    provided = {"dataset": (), "editor": ("device",), "judge": ("devices",)}
    for group, extra in provided.items():
        component: ComponentConfig = getattr(config, group)
        signature = inspect.signature(component_class(component, group))
        try:
            signature.bind(**dict.fromkeys(extra), **component.kwargs)
        except TypeError as error:
            accepted = ", ".join(name for name in signature.parameters if name not in extra)
            raise UserError(f"{group}: {component.target}: {error}; it takes {accepted}") from error
        for name, value in component.kwargs.items():
            wanted = signature.parameters[name].annotation if name in signature.parameters else Any
            if not _fits(value, wanted):
                raise UserError(
                    f"{group}.{name}={redact(value, name)!r}: must be {getattr(wanted, '__name__', wanted)}"
                )


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value is of an annotated type; what is not built in, or not known, fits."""
    choices = typing.get_args(wanted) if typing.get_origin(wanted) in (typing.Union, types.UnionType) else (wanted,)
    kinds = [typing.get_origin(choice) or choice for choice in choices]
    if not all(kind in (int, float, str, bool, list, dict, types.NoneType) for kind in kinds):
        return True
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, tuple(kinds)) or (isinstance(value, int) and float in kinds)


def component_class(component: ComponentConfig, group: str) -> type[Any]:
    """Import the class a component names.

    Raises:
        UserError: there is no such module or class.
    """
    try:
        return typing.cast(type[Any], get_class(component.target))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{group}._target_: no class {component.target!r} ({reason}); give the import path of a class"
        ) from error
