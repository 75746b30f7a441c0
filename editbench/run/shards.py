"""PNG shards: WebDataset-style tar files that only ever grow at their end, read by byte range.

A shard `shard-00000.tar` holds `<key>.json` and `<key>.png` per edited sample. Where each PNG lies is told by the
index (see `folder.py`), so one image is read without scanning. A shard is closed with tar's two zero blocks once
it has grown past its size limit, or when the writer closes; appending goes on in place of them.
"""

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from editbench.errors import UserError
from editbench.run.lines import sync_folder
from editbench.run.records import Edit
from editbench.run.sealed_json import unseal

BLOCK = 512
_END = bytes(2 * BLOCK)
_MEMBER_NAME = re.compile(r"[A-Za-z0-9_-]+\.(json|png)")


class ShardWriter:
    """Appends samples to the shards of one folder; rank 0 only.

    Args:
        folder: Where the shards lie; must exist.
        max_bytes: A shard that has reached this size is closed and the next begun.
        committed: `(shard, end)` of the last sample the index knows, `end` as `sample_end` gives it; what lies
            behind it (zero blocks, the torn end of a killed run) is cut off. None if there is none yet.

    Raises:
        UserError: the shard is missing or ends before `committed`.
    """

    def __init__(self, folder: Path, max_bytes: int, committed: tuple[int, int] | None = None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        shard, end = committed or (0, 0)
        for stray in sorted(folder.glob("shard-*.tar")):
            if stray.name > shard_name(shard):  # begun by a run that was killed before the index knew of it
                stray.unlink()
        self._file = self._open(shard, end)

    def append(self, key: str, png: bytes, metadata: bytes) -> tuple[int, int]:
        """Write one sample through to the disk.

        Args:
            key: Member name without suffix; safe characters only.
            png: The encoded image.
            metadata: UTF-8 JSON text.

        Returns:
            `(shard, offset)`: the shard's number, and where in it the PNG's bytes begin.
        """
        if self._file.tell() >= self._max_bytes:
            self.close()
            self._file = self._open(self._shard + 1, 0)
        self._file.write(_member(f"{key}.json", metadata))
        offset = self._file.tell() + BLOCK
        self._file.write(_member(f"{key}.png", png))
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._shard, offset

    def close(self) -> None:
        """End the current shard as a complete tar file."""
        if not self._file.closed:
            self._file.write(_END)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _open(self, shard: int, end: int) -> BinaryIO:
        self._shard = shard
        path = self._folder / shard_name(shard)
        size = path.stat().st_size if path.exists() else 0
        if size < end:
            raise UserError(
                f"{path} has {size} bytes, but the index names images in it up to byte {end}; restore the file, "
                f"or remove {self._folder} to edit anew"
            )
        if not path.exists():
            path.touch()
            sync_folder(self._folder)
        file = path.open("r+b")
        file.truncate(end)
        file.seek(end)
        return file


def shard_name(shard: int) -> str:
    """File name of a shard by its number."""
    return f"shard-{shard:05d}.tar"


def sample_end(offset: int, length: int) -> int:
    """Where in its shard a sample ends, in bytes: its PNG is its last member, padded to whole blocks."""
    return offset + _padded(length)


def read_image(folder: Path, shard: int, offset: int, length: int, sha256: str) -> bytes:
    """Read one PNG by its place in the index and check that it is the one that was written.

    Raises:
        ValueError: the shard is missing or short, or the bytes are not those the index names.
    """
    path = folder / shard_name(shard)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing; run the edit phase again") from error
    if len(data) != length or hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path}: the {length} bytes at {offset} are not the image that the index names")
    return data


def read_edited(folder: Path, edit: Edit) -> bytes:
    """Read the PNG of an edit from the shards in a folder; takes and raises what `read_image` does.

    Raises:
        ValueError: it has none.
    """
    if edit.shard is None or edit.offset is None or edit.length is None or edit.sha256 is None:
        raise ValueError("the index names no image for this sample")
    return read_image(folder, edit.shard, edit.offset, edit.length, edit.sha256)


@dataclass(frozen=True)
class StoredSample:
    """One sample as `scan` finds it in a shard.

    Attributes:
        key: Its members' name without suffix.
        metadata: Content of its JSON member.
        png: Content of its PNG member.
        offset: Where in the shard the PNG's bytes begin.
    """

    key: str
    metadata: dict[str, Any]
    png: bytes
    offset: int


class DamagedSampleError(ValueError):
    """A sample's bytes are not those that were written.

    Attributes:
        end: Where in the shard the sample ends, in bytes.
    """

    def __init__(self, message: str, end: int) -> None:
        super().__init__(message)
        self.end = end


def scan(path: Path, start: int = 0) -> Iterator[StoredSample]:
    """Yield the whole samples of a shard from byte `start` on; a torn end is left out.

    Every byte is checked: headers by tar's own checksum, the JSON by its seal, the PNG by the digest in the JSON,
    padding by being zero.

    Raises:
        DamagedSampleError: a sample's bytes are not those that were written.
        ValueError: other damage, or a member that we would not have written (a path, a link, a device); names file
            and byte.
    """
    with path.open("rb") as file:
        file.seek(start)
        while (first := _read_member(file, path)) is not None:
            key, _, suffix = first[0].rpartition(".")
            second = _read_member(file, path)
            if second is None:
                return
            if suffix != "json" or second[0] != f"{key}.png":
                raise ValueError(f"{path}: {first[0]!r} is followed by {second[0]!r}, not by its .png")
            try:
                metadata = unseal(first[1])
            except ValueError as error:
                raise DamagedSampleError(f"{path}: {first[0]} is damaged: {error}", file.tell()) from error
            if hashlib.sha256(second[1]).hexdigest() != metadata.get("sha256"):
                message = f"{path}: {second[0]} is damaged: its digest is not the one in {first[0]}"
                raise DamagedSampleError(message, file.tell())
            yield StoredSample(key, metadata, second[1], file.tell() - _padded(len(second[1])))


def is_zero_from(path: Path, start: int) -> bool:
    """Whether nothing but zeros follows in a shard: its end, or what a power cut left of what was being written."""
    with path.open("rb") as file:
        file.seek(start)
        while chunk := file.read(2**20):
            if any(chunk):
                return False
    return True


def _read_member(file: BinaryIO, path: Path) -> tuple[str, bytes] | None:
    """Read the next member as (name, content); None at the end of the archive or where the file is torn."""
    at = file.tell()
    header = file.read(BLOCK)
    if len(header) < BLOCK or header == bytes(BLOCK):
        return None
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: no tar member at byte {at}: {error}") from error
    if info.type != tarfile.REGTYPE or not _MEMBER_NAME.fullmatch(info.name):
        raise ValueError(f"{path}: the member {info.name!r} at byte {at} is none that editbench writes; refused")
    if info.size < 0:
        raise ValueError(f"{path}: the member {info.name} at byte {at} claims {info.size} bytes")
    if _padded(info.size) > path.stat().st_size - file.tell():  # asked first: read() would make room for any claim
        return None
    padded = file.read(_padded(info.size))
    if any(padded[info.size :]):
        raise ValueError(f"{path}: the padding of {info.name} is not zero")
    return info.name, padded[: info.size]


def _member(name: str, data: bytes) -> bytes:
    """One tar member: header, data, zeros up to the next block. No time stamp or owner: same data, same bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    buffer = io.BytesIO()
    buffer.write(info.tobuf(format=tarfile.USTAR_FORMAT))
    buffer.write(data)
    buffer.write(bytes(_padded(len(data)) - len(data)))
    return buffer.getvalue()


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
