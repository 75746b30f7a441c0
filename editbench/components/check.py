"""The classes that a configuration names by `_target_`: found, and checked against their arguments."""

import inspect
from typing import Any

from editbench.components.load import component_class
from editbench.config.annotations import fits, in_words
from editbench.config.places import ONLY_IN_CHECKOUT
from editbench.config.schema import ComponentConfig, Config, JudgeConfig
from editbench.errors import UserError
from editbench.text import redact


def check_components(config: Config) -> None:
    """Check that dataset, editor and judge name classes that take the given arguments.

    Imports the files of the classes, so only commands that use them call it.

    Raises:
        UserError: no such class, an argument it does not take or lacks, or a value that does not fit.
    """
    for group in ("dataset", "editor", "judge"):
        settings: ComponentConfig = getattr(config, group)
        cls = component_class(settings, group)
        check_arguments(settings, group, cls)
        if hasattr(cls, "check_settings"):
            cls.check_settings(settings.kwargs)
    _check_judge_methods(config.judge)
    if config.metric:
        check_metric(config.metric)
    if config.tracker:
        check_tracker(config.tracker)


def check_metric(settings: ComponentConfig) -> None:
    """Check that a metric's class takes its arguments and measures.

    Raises:
        UserError: it does not.
    """
    cls = component_class(settings, "metric")
    check_arguments(settings, "metric", cls)
    if not hasattr(cls, "measure"):
        raise UserError(
            f"metric._target_={settings.target}: has no method 'measure'; give it one "
            "(editbench/analysis/known_truth.py tells which), or choose another metric"
        )


def check_tracker(settings: ComponentConfig) -> None:
    """Check that a tracker's class takes its arguments; its package is not asked for.

    Raises:
        UserError: it does not.
    """
    cls = component_class(settings, "tracker")
    check_arguments(settings, "tracker", cls)
    lacking = [method for method in ("start", "log", "finish") if not hasattr(cls, method)]
    if lacking:
        raise UserError(
            f"tracker._target_={settings.target}: has no method {lacking[0]!r}; give it one "
            "(editbench/trackers/base.py tells which), or choose another tracker"
        )


def check_arguments(settings: ComponentConfig, group: str, cls: type[Any]) -> None:
    """Check that a class takes the arguments of its configuration.

    Raises:
        UserError: an argument it does not take or lacks, or a value that does not fit.
    """
    placement = {"editor": ("device",), "judge": ("devices",)}.get(group, ())
    signature = inspect.signature(cls)
    try:
        signature.bind(**dict.fromkeys(placement), **settings.kwargs)
    except TypeError as error:
        accepted = ", ".join(name for name in signature.parameters if name not in placement)
        raise UserError(f"{group}: {settings.target}: {error}; it takes {accepted}") from error
    for name, value in settings.kwargs.items():
        wanted = signature.parameters[name].annotation if name in signature.parameters else Any
        if not fits(value, wanted):
            raise UserError(f"{group}.{name}={redact(value, name)!r}: must be {in_words(wanted)}")
        if isinstance(value, str) and value.startswith(ONLY_IN_CHECKOUT):
            raise UserError(
                f"{group}.{name}: {value.removeprefix(ONLY_IN_CHECKOUT)} is in a checkout of editbench alone, and "
                f"this is an installed package; give {group}.{name}=…, or start from a checkout"
            )


def _check_judge_methods(judge: JudgeConfig) -> None:
    """Check that the judge's class can judge in the mode asked for."""
    needed = ["check_labels", "label_probabilities"] if judge.mode == "expected" else ["reply"]
    for method in ("prepare", *needed):
        if not hasattr(component_class(judge, "judge"), method):
            raise UserError(
                f"judge.mode={judge.mode}: {judge.target} has no method {method!r}; give it one "
                "(editbench/judges/base.py tells which there are), or choose another mode or judge"
            )
