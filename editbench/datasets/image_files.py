"""Source images that a dataset names by path."""

import os
from pathlib import Path

MAX_IMAGE_BYTES = 512 * 2**20
"""A larger file is not read, whatever `source.max_mib` accepts: it is no photo."""


class ImageFiles:
    """Image files below one folder.

    A path in a dataset never leads out of that folder, by `..` or as an absolute path: who publishes a dataset must not
    decide which files of this machine an editor gets and a report shows. Symbolic links are followed, since whoever
    made the folder put them there (the hub's cache consists of them).

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root.expanduser()))  # noqa: PTH100 - resolve() would follow links

    def find(self, path: str) -> Path:
        """Find the file that a dataset names.

        Raises:
            ValueError: there is none, or it lies outside the folder; says so in one phrase.
        """
        written = path.replace("\\", "/") if "\\" in path and not self._is_file(self.root / path) else path
        found = Path(os.path.normpath(self.root / written))
        if not found.is_relative_to(self.root):
            raise ValueError(f"image {path!r} lies outside {self.root}; set dataset.images to a folder that it is in")
        if not self._is_file(found):
            raise ValueError(f"image {path!r}: there is no such file in {self.root}")
        return found

    def read(self, path: str) -> bytes:
        """Read the file that a dataset names.

        Raises:
            ValueError: it is not there, or too large to be an image, or cannot be read.
        """
        file = self.find(path)
        try:
            if (size := file.stat().st_size) > MAX_IMAGE_BYTES:
                limit = MAX_IMAGE_BYTES // 2**20
                raise ValueError(f"image {path!r} has {size / 2**20:.0f} MiB, at most {limit} MiB are read")
            return file.read_bytes()
        except OSError as error:
            raise ValueError(f"image {path!r} cannot be read ({error.strerror})") from error

    def state(self, path: str) -> list[int] | None:
        """Size in bytes and time of the last change of a file; None if there is no such file."""
        try:
            stat = self.find(path).stat()
        except (OSError, ValueError):
            return None
        return [stat.st_size, stat.st_mtime_ns]

    @staticmethod
    def _is_file(path: Path) -> bool:
        try:
            return path.is_file()
        except OSError:  # a name that is too long
            return False
