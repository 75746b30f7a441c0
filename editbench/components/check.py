"""The classes that a configuration names by `_target_`: found, and checked against their arguments."""

import inspect
import types
import typing
from typing import Any

from editbench.components.load import component_class
from editbench.config.schema import ComponentConfig, Config, JudgeConfig
from editbench.errors import UserError
from editbench.redaction import redact


def check_components(config: Config) -> None:
    """Check that dataset, editor and judge name classes that take the given arguments.

    Imports the files of the classes, so only commands that use them call it.

    Raises:
        UserError: no such class, an argument it does not take or lacks, or a value that does not fit.
    """
    provided = {"dataset": (), "editor": ("device",), "judge": ("devices",)}
    for group, extra in provided.items():
        component: ComponentConfig = getattr(config, group)
        cls = component_class(component, group)
        signature = inspect.signature(cls)
        try:
            signature.bind(**dict.fromkeys(extra), **component.kwargs)
        except TypeError as error:
            accepted = ", ".join(name for name in signature.parameters if name not in extra)
            raise UserError(f"{group}: {component.target}: {error}; it takes {accepted}") from error
        for name, value in component.kwargs.items():
            wanted = signature.parameters[name].annotation if name in signature.parameters else Any
            if not _fits(value, wanted):
                raise UserError(f"{group}.{name}={redact(value, name)!r}: must be {_wording(wanted)}")
        if hasattr(cls, "check_settings"):
            cls.check_settings(component.kwargs)
    _check_judge_methods(config.judge)


def _check_judge_methods(judge: JudgeConfig) -> None:
    """Check that the judge's class can judge in the mode asked for."""
    needed = ["check_labels", "label_probabilities"] if judge.mode == "expected" else ["reply"]
    for method in ("prepare", *needed):
        if not hasattr(component_class(judge, "judge"), method):
            raise UserError(
                f"judge.mode={judge.mode}: {judge.target} has no method {method!r}; give it one "
                "(editbench/judges/__init__.py tells which there are), or choose another mode or judge"
            )


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value is of an annotated type; what is not built in, or not known, fits."""
    literals, kinds = _choices(wanted)
    if not all(kind in (int, float, str, bool, list, dict, types.NoneType) for kind in kinds):
        return True
    if any(type(value) is type(literal) and value == literal for literal in literals):
        return True
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, tuple(kinds)) or (isinstance(value, int) and float in kinds)


def _wording(wanted: Any) -> str:
    """An annotated type in an error: `one of a, b or null`, `int | None`."""
    literals, kinds = _choices(wanted)
    if not literals:
        return str(getattr(wanted, "__name__", wanted))
    others = ["null" if kind is types.NoneType else getattr(kind, "__name__", str(kind)) for kind in kinds]
    return " or ".join([f"one of {', '.join(map(str, literals))}", *others])


def _choices(wanted: Any) -> tuple[list[Any], list[Any]]:
    """The values and the types that an annotation allows."""
    union = typing.get_origin(wanted) in (typing.Union, types.UnionType)
    choices = typing.get_args(wanted) if union else (wanted,)
    literals = [value for choice in choices if _is_literal(choice) for value in typing.get_args(choice)]
    return literals, [typing.get_origin(choice) or choice for choice in choices if not _is_literal(choice)]


def _is_literal(choice: Any) -> bool:
    return typing.get_origin(choice) is typing.Literal
