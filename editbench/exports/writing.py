"""How exports are written: whole or not at all, and over nothing that is there unless that was asked for."""

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from editbench.errors import UserError
from editbench.run.lines import sync_folder, write_atomic

LIST = "editbench-export.json"
"""File of a folder of pictures that says what was written, and of which samples there is nothing."""


def check_free(path: Path, force: bool) -> None:
    """Check that an export may be written to a place.

    Raises:
        UserError: something other than an empty folder is there, and `force` was not given.
    """
    if not force and path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} is there already; give another out=…, or write over it with force=true")


def write_file(path: Path, content: str | Iterable[bytes], force: bool) -> None:
    """Write one file; folders above it are made.

    Raises:
        UserError: it is there and `force` was not given, or it cannot be written.
    """
    check_free(path, force)
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)


@contextlib.contextmanager
def folder_to_fill(folder: Path, force: bool) -> Iterator[Path]:
    """Give an empty folder to write into, which becomes `folder` when the block ends without an error.

    Where `folder` is there and `force` is given, its files are replaced one by one, those that an earlier export has
    left and this one has not written are removed, and all others stay.

    Raises:
        UserError: something is there and `force` was not given, or it cannot be written.
    """
    folder = folder.absolute()
    check_free(folder, force)
    with told(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
        made.mkdir()
        try:
            yield made
            if folder.is_dir() and any(folder.iterdir()):
                _move_into(made, folder)
            else:
                made.replace(folder)
                sync_folder(folder.parent)
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a sentence; a full disk has one of its own."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"out: {path} cannot be written ({error.strerror}); give another place as out=…") from error


def write_list(folder: Path, listed: dict[str, Any], files: Iterable[str]) -> None:
    """Write what a folder of pictures holds: `listed`, and the paths of all `files` in it."""
    text = json.dumps({**listed, "files": sorted(files)}, indent=1, ensure_ascii=False)
    write_atomic(folder / LIST, text + "\n")


def _move_into(made: Path, folder: Path) -> None:
    """Move all files of a folder into another one, and remove from that what an earlier export left."""
    new = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    old = _listed_files(folder)
    for relative in sorted(new, key=lambda path: path.name == LIST):  # the list last: until then the old one holds
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (made / relative).replace(folder / relative)
    for relative in old - new:
        (folder / relative).unlink(missing_ok=True)


def _listed_files(folder: Path) -> set[Path]:
    """Files that an earlier export says it wrote and that are still there, never outside of the folder."""
    try:
        listed = json.loads((folder / LIST).read_bytes())["files"]
        paths = [PurePosixPath(name) for name in listed]
    except (OSError, ValueError, TypeError, KeyError):
        return set()
    inside = folder.resolve()
    return {
        Path(path)
        for path in paths
        if not path.is_absolute() and ".." not in path.parts and (folder / path).parent.resolve().is_relative_to(inside)
        if (folder / path).is_file()
    }
