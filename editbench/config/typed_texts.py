"""Keeps what was typed for a setting that is a text, where Hydra's grammar reads a number, a bool or null."""

import dataclasses
import inspect
import pydoc
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union

from antlr4 import CommonTokenStream, InputStream  # type: ignore[import-untyped]
from hydra.core.override_parser.overrides_parser import create_functions
from hydra.core.override_parser.overrides_visitor import HydraOverrideVisitor
from hydra.core.override_parser.types import QuotedString
from hydra.grammar.gen.OverrideLexer import OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser
from omegaconf import DictConfig, OmegaConf, open_dict

from editbench.config.annotations import fits
from editbench.config.schema import ComponentConfig, Config


def keep_texts(override: str, composed: DictConfig) -> None:
    """Set again what an override gives, if it holds a text that Hydra has changed: `run_name=2026_11_25`.

    Args:
        override: As typed; one that Hydra has accepted.
        composed: The configuration made with it; changed in place.
    """
    tree = OverrideParser(CommonTokenStream(OverrideLexer(InputStream(override)))).override()  # type: ignore[no-untyped-call]
    if tree.value() is None or tree.value().element() is None:
        return
    key = tree.key().getText()
    read = _Reader(create_functions()).visit(tree.value())
    wanted: Any = Config
    path = key.split(".")
    settings = composed.get(path[0]) if len(path) > 1 else None
    for name in path:
        wanted = _inside(wanted, name, settings)
    kept, has_texts = _with_texts(read, wanted)
    if has_texts:
        with open_dict(composed):
            node = OmegaConf.select(composed, key)
            for name in [name for name in node if not isinstance(name, str)] if isinstance(kept, dict) else ():
                del node[name]
            OmegaConf.update(composed, key, kept)


class _Typed(NamedTuple):
    """What Hydra reads as a number, a bool or null, and the text it read."""

    value: int | float | bool | None
    text: str


class _Reader(HydraOverrideVisitor):
    """Reads a value as Hydra does, and remembers the texts."""

    def visitPrimitive(self, ctx: Any) -> Any:  # noqa: N802
        read = super().visitPrimitive(ctx)
        if isinstance(read, QuotedString):
            return str(read.text)
        return read if isinstance(read, str) else _Typed(read, ctx.getText().strip())

    visitDictKey = visitPrimitive  # noqa: N815


def _with_texts(read: Any, wanted: Any) -> tuple[Any, bool]:
    """Give a value of the wanted type as plain data, and whether Hydra has changed a text in it."""
    if isinstance(read, _Typed):
        no_folder = wanted is Path and read.value is None  # run_dir=null
        is_text = not no_folder and not fits(read.value, wanted) and fits(read.text, wanted)
        return read.text if is_text else read.value, is_text
    if isinstance(read, list):
        items = [_with_texts(item, _inside(wanted)) for item in read]
        return [item for item, _ in items], any(has_texts for _, has_texts in items)
    if isinstance(read, dict):
        names = {key: key.text if isinstance(key, _Typed) else key for key in read}
        values = {names[key]: _with_texts(value, _inside(wanted, names[key])) for key, value in read.items()}
        has_texts = any(isinstance(key, _Typed) for key in names) or any(has_texts for _, has_texts in values.values())
        return {name: value for name, (value, _) in values.items()}, has_texts
    return read, False


def _inside(wanted: Any, name: str = "", settings: Any = None) -> Any:
    """The annotated type of a list's items, or of what a mapping, a group of settings or a component has by a name."""
    for part in _alternatives(wanted):
        if typing.get_origin(part) in (list, dict):
            return typing.get_args(part)[-1]
        if dataclasses.is_dataclass(part) or typing.is_typeddict(part):
            hints = typing.get_type_hints(part, include_extras=True)
            if name not in hints and issubclass(typing.cast(type, part), ComponentConfig) and settings is not None:
                hints = _arguments(str(settings.get("_target_")))
            return hints.get(name, Any)
    return Any


def _alternatives(wanted: Any) -> Iterator[Any]:
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (Union, types.UnionType):
        for part in parts:
            yield from _alternatives(part)
    else:
        yield from _alternatives(parts[0]) if origin is Annotated else (wanted,)


def _arguments(target: str) -> dict[str, Any]:
    try:
        return {
            name: given.annotation
            for name, given in inspect.signature(typing.cast(type, pydoc.locate(target))).parameters.items()
        }
    except Exception:  # whoever constructs it says what is wrong with it
        return {}
