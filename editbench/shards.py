"""PNG shards: WebDataset-style tar files that only ever grow at their end, read by byte range.

A shard `shard-00000.tar` holds `<key>.json` and `<key>.png` per edited sample. Where each PNG lies is told by the
index (see `run_dir.py`), so one image is read without scanning. A shard is closed with tar's two zero blocks once
it has grown past its size limit, or when the writer closes; appending goes on in place of them.
"""

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import BinaryIO

from editbench.errors import UserError

BLOCK = 512
_END = bytes(2 * BLOCK)


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
        file = path.open("r+b" if path.exists() else "w+b")
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
