"""Where the pictures of samples lie: under their ids, or as the official scorer of a benchmark reads them.

What a layout needs, such as GEdit's task and language, must be in the sample's id or category, as the `dataset=` of
that benchmark puts it there. Nothing is guessed: a sample that lacks it is an error.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from editbench.errors import UserError
from editbench.run.identity import sample_key
from editbench.run.records import Sample

GEDIT_TASKS = (
    *("background_change", "color_alter", "material_alter", "motion_change", "ps_human", "style_change"),
    *("subject-add", "subject-remove", "subject-replace", "text_change", "tone_transfer"),
)
IMGEDIT_TYPES = ("add", "adjust", "extract", "replace", "remove", "background", "style", "action", "compose", "uge")
KRIS_CATEGORIES = (
    *("count_change", "color_change", "size_adjustment", "part_completion", "position_movement"),
    *("anomaly_correction", "viewpoint_change", "temporal_prediction", "multi-element_composition"),
    *("multi-instruction_execution", "abstract_reasoning", "rule-based_reasoning", "mathematics", "physics"),
    *("chemistry", "biology", "geography", "medicine", "humanities", "practical_knowledge"),
)
RISE_CATEGORIES = ("temporal_reasoning", "causal_reasoning", "spatial_reasoning", "logical_reasoning")

_TURNS = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that turn the direction in which a name is shown."""

_NO_NAME = re.compile(rf"""[\x00-\x1f\x7f-\x9f{_TURNS}\ud800-\udfff/\\:*?"<>|]|^[. ]|[. ]$|^$""")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.I)
_LONGEST_NAME, _LONGEST_PATH = 200, 1000
"""Bytes; file systems take 255 for a name, and an ending comes behind."""


@dataclass(frozen=True)
class Layout:
    """A benchmark's layout.

    Attributes:
        benchmark: Its name, for people.
        below: Folder below `out`, with `{name}` for the name under which the scorer knows the editor.
        place: Gives the path of a sample's picture in it, or raises ValueError with what the sample lacks.
        source_beside: Ending in place of the picture's own under which the source lies beside it; empty: it does not.
    """

    benchmark: str
    below: str
    place: Callable[[Sample], str]
    source_beside: str = ""


def _gedit(sample: Sample) -> str:
    task, *rest = sample.sample_id.split("/")
    if len(rest) != 2 or task not in GEDIT_TASKS or rest[0] not in ("en", "cn"):
        raise ValueError("its id is not task/language/key, with one of the 11 tasks and en or cn")
    return f"fullset/{task}/{rest[0]}/{_name(rest[1])}.png"


def _imgedit(sample: Sample) -> str:
    if any(name.startswith("turn") for name in sample.extra):
        raise ValueError("it is of the multi-turn set, which people judge and no scorer reads (use to=folder)")
    if sample.category not in IMGEDIT_TYPES:
        raise ValueError(f"its category {sample.category!r} is no edit type of the benchmark")
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", sample.sample_id):
        raise ValueError("its id is no key of basic_edit.json or UGE_edit.json, from which the run must be planned")
    return f"{sample.sample_id}.png"


def _kris(sample: Sample) -> str:
    category, _, number = sample.sample_id.partition("/")
    if category not in KRIS_CATEGORIES:
        raise ValueError("its id is not category/number, with one of the 20 categories as the folders are called")
    return f"{category}/{_name(number)}.jpg"


def _rise(sample: Sample) -> str:
    if sample.category not in RISE_CATEGORIES:
        raise ValueError(f"its category {sample.category!r} is none of {', '.join(RISE_CATEGORIES)}")
    return f"images/{sample.category}/{_name(sample.sample_id)}.png"


LAYOUTS = {
    "gedit": Layout("GEdit-Bench", "{name}", _gedit, "_SRCIMG.png"),
    "imgedit": Layout("ImgEdit-Bench", "", _imgedit),
    "kris": Layout("KRIS-Bench", "{name}", _kris),
    "rise": Layout("RISEBench", "{name}", _rise),
}


def places_in(layout: Layout, samples: Sequence[Sample]) -> dict[str, str]:
    """Find the path of each sample's picture in a benchmark's layout, by sample id.

    Raises:
        UserError: a sample lacks what the layout needs.
    """
    places, problems = {}, []
    for sample in samples:
        try:
            places[sample.sample_id] = layout.place(sample)
        except ValueError as error:
            problems.append(f"the sample {sample.sample_id!r}: {error}")
    if problems:
        raise UserError(
            f"{len(problems)} of {len(samples)} samples have no place in the layout of {layout.benchmark}; "
            f"{problems[0]}; the run's dataset must be that benchmark's own, or use to=folder"
        )
    return places


def places_by_id(samples: Sequence[Sample], reserved: Collection[str] = ()) -> dict[str, str]:
    """Find a path for each sample's picture, by sample id: its id, slashes making folders, with `.png` behind it.

    A sample whose id is no harmless path, or one that another file or folder has on some file system, has its key.

    Args:
        samples: All that get a place.
        reserved: Names in the folder that are taken.
    """
    keys = {sample.sample_id: sample_key(sample.sample_id) for sample in samples}  # not as a plan has them: anybody's
    wanted = {sample.sample_id: _path(sample.sample_id) for sample in samples}
    folders = {_same(above) for path in wanted.values() if path for above in _above(path)}
    taken = {_same(name) for name in reserved} | {_same(f"{key}.png") for key in keys.values()}
    places = {}
    for sample_id, path in wanted.items():
        name = _same(f"{path}.png")
        is_free = path is not None and name not in folders | taken and not {_same(a) for a in _above(path)} & taken
        taken.add(name)
        places[sample_id] = f"{path if is_free else keys[sample_id]}.png"
    return places


def _above(path: str) -> list[str]:
    return [str(above) for above in PurePosixPath(path).parents]


def _same(path: str) -> str:
    """What paths have in common that are one on some file system: case and the form of accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _path(sample_id: str) -> str | None:
    try:
        path = "/".join(_name(part) for part in sample_id.split("/"))
    except ValueError:
        return None
    return path if len(path.encode()) <= _LONGEST_PATH else None


def _name(part: str) -> str:
    """Give back what can be the name of a file everywhere.

    Raises:
        ValueError: it cannot.
    """
    if _NO_NAME.search(part) or _DEVICE.match(part) or len(part.encode()) > _LONGEST_NAME:
        raise ValueError(f"{part[:60]!r} in its id cannot be the name of a file")
    return part
