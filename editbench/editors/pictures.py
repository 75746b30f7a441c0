"""Pictures that are there already, made by an editor that nobody can run here."""

import functools
import hashlib
import re
from pathlib import Path
from typing import Any

from PIL import Image

from editbench.config.schema import SourceConfig
from editbench.errors import UserError
from editbench.images import decode_rgb
from editbench.run.records import Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Tried in this order where a pattern has none of them."""

_FIELDS = ("sample_id", "key", "category")


class PicturesEditor:
    """Takes each sample's edited image from a folder.

    A picture counts by its content: where one has changed, the edit is made anew. The seed is not used.

    Args:
        device: Not used.
        folder: Where the pictures are.
        pattern: Path of a sample's picture in it, with `{sample_id}`, `{key}` (its name in a run folder) and
            `{category}` (the name of its rubric); without suffix, any of png, jpg, jpeg and webp.
    """

    uses_gpu = False

    def __init__(self, device: str, folder: str, pattern: str = "{sample_id}") -> None:
        self._folder, self._pattern = Path(folder).expanduser(), pattern

    @staticmethod
    def check_settings(kwargs: dict[str, Any]) -> None:
        """Check folder and pattern.

        Raises:
            UserError: one of them is wrong.
        """
        if not Path(kwargs["folder"]).expanduser().is_dir():
            raise UserError(f"editor.folder={kwargs['folder']}: there is no such folder; give the one of the pictures")
        pattern = kwargs.get("pattern", "{sample_id}")
        names = re.findall(r"\{(.*?)\}", pattern)
        unknown = [name for name in names if name not in _FIELDS]
        if unknown or not {"sample_id", "key"} & set(names):
            raise UserError(
                f"editor.pattern={pattern!r}: must hold {{sample_id}} or {{key}}, may hold {{category}}, and nothing "
                "else in braces, such as '{category}/{sample_id}.jpg'"
            )

    @staticmethod
    def stands_for_arguments(kwargs: dict[str, Any], sample: Sample) -> dict[str, Any] | None:
        """What decides a sample's edit: its picture's content, wherever that lies.

        Returns:
            The digest of its bytes, None in its place if there is no picture; None if the folder is not here.
        """
        folder = Path(kwargs["folder"]).expanduser()
        if not folder.is_dir():
            return None
        try:
            path = find_picture(folder, kwargs.get("pattern", "{sample_id}"), sample)
            stat = path.stat()
            return {"picture": _digest(path, stat.st_size, stat.st_mtime_ns)}
        except (OSError, ValueError):
            return {"picture": None}

    @staticmethod
    def most_source_images(kwargs: dict[str, Any]) -> int | None:
        """Any number: they are not looked at."""
        return None

    def picture_of(self, sample: Sample) -> Image.Image:
        """Read a sample's edited image.

        Raises:
            FileNotFoundError: there is none.
            ValueError: there are several, or it is no readable picture.
        """
        return decode_rgb(find_picture(self._folder, self._pattern, sample).read_bytes(), SourceConfig())

    def describe(self) -> dict[str, Any]:
        """Where the pictures are from, as far as that is known."""
        return {
            "class": type(self).__name__,
            "folder": str(self._folder),
            "pattern": self._pattern,
            "note": "The edited images were made elsewhere; seconds per edit are those of reading them.",
        }


def find_picture(folder: Path, pattern: str, sample: Sample) -> Path:
    """Find a sample's picture.

    Raises:
        FileNotFoundError: there is none.
        ValueError: there are several of different suffix, or the sample's id leads out of the folder.
    """
    relative = re.sub(r"\{(.*?)\}", lambda match: str(getattr(sample, match[1])), pattern)
    path = folder / relative
    if Path(relative).is_absolute() or ".." in Path(relative).parts or "\0" in relative:
        raise ValueError(f"{relative!r} leads out of editor.folder")
    if path.suffix.lower() in SUFFIXES:
        if path.is_file():
            return path
        raise FileNotFoundError(f"there is no picture {path}")
    found = [file for suffix in SUFFIXES if (file := path.with_name(path.name + suffix)).is_file()]
    if not found:
        raise FileNotFoundError(f"there is no picture {path} with {', '.join(SUFFIXES)}")
    if len(found) > 1:
        raise ValueError(f"there are {found[0]} and {found[1].name}: remove one, or put the suffix into editor.pattern")
    return found[0]


@functools.lru_cache(maxsize=100_000)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """Hex digest of a file, read once in a process as long as it looks the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
