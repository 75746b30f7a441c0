"""Whether a checkpoint folder is whole, as far as names and headers tell: no weights are read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 100 * 2**20
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_NO_WEIGHTS = (".json", ".txt", ".jinja", ".model", ".py")
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.safetensors")


def gaps(folder: Path, files: list[Path]) -> Iterator[str]:
    """Find what an interrupted download, or git without LFS, has left out.

    Args:
        folder: The checkpoint.
        files: What of it is loaded.

    Yields:
        A clause for each thing found, that begins with the name of a file or part.
    """
    is_pipeline = (folder / "model_index.json").exists()
    for file in folder.rglob("*"):
        if file.is_symlink() and not file.exists() and file.suffix in (".safetensors", *_NO_WEIGHTS):
            yield f"{file.relative_to(folder)} is a link to a file that is not there"
    for file in files:
        name = file.relative_to(folder)
        try:
            if file.suffix == ".safetensors":
                read_header(file)
            elif is_pointer(file):
                yield f"{name} is a pointer of Git LFS, not the file itself (git lfs pull fetches it)"
        except ValueError as error:
            yield f"{name} {error}"
    for directory in sorted({file.parent for file in files} - ({folder} if is_pipeline else set())):
        for missing in sorted(name for name in _shards(directory) if not (directory / name).is_file()):
            yield f"{(directory / missing).relative_to(folder)} is missing, which belongs to the files beside it"
    if is_pipeline:
        yield from _missing_parts(folder, {file.parent for file in files if file.suffix not in _NO_WEIGHTS})


def read_header(file: Path) -> dict[str, dict[str, Any]]:
    """Read what a safetensors file says of its tensors: by name, dtype, shape and data_offsets in bytes.

    Raises:
        ValueError: it is not whole; a clause says why.
    """
    if is_pointer(file):
        raise ValueError("is a pointer of Git LFS, not the weights (git lfs pull fetches them)")
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise ValueError(f"is cut off, or no safetensors file ({size} bytes)")
        head = opened.read(length)
    try:
        tensors = {name: tensor for name, tensor in json.loads(head).items() if name != "__metadata__"}
        whole = 8 + length + max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise ValueError("has a header that cannot be read") from None
    if size != whole:
        raise ValueError(f"has {size} bytes in place of {whole}")
    return tensors


def is_pointer(file: Path) -> bool:
    """Whether a file is what git leaves without LFS: a few lines that name the real one."""
    with file.open("rb") as opened:
        return opened.read(len(_LFS_POINTER)) == _LFS_POINTER


def _shards(directory: Path) -> set[str]:
    """Names of all files that the weights in a folder are spread over, by their own names and by their index."""
    named = set()
    for file in directory.glob("*.safetensors"):
        if shard := _SHARD.fullmatch(file.name):
            stem, count = shard.groups()
            named |= {f"{stem}-{number:05}-of-{count}.safetensors" for number in range(1, int(count) + 1)}
            if not any(directory.glob("*.safetensors.index*.json")):
                named.add(f"{stem}.safetensors.index.json")
    for index in directory.glob("*.safetensors.index.json"):
        if (directory / index.name.removesuffix(".index.json")).is_file():
            continue  # the one file is loaded, not the shards
        try:
            named |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, TypeError, KeyError, AttributeError):
            named.add(index.name + " (a readable one)")
    return named


def _missing_parts(folder: Path, weighted: set[Path]) -> Iterator[str]:
    """Find the parts of a diffusers pipeline that are not there, or lack their weights or settings."""
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8")).items()
    except (ValueError, AttributeError):
        yield "model_index.json cannot be read"
        return
    for name, kind in index:
        if name.startswith("_") or not isinstance(kind, list) or None in kind:
            continue
        part = folder / name
        if not part.is_dir():
            yield f"{name} is missing, a part that model_index.json names"
        elif (part / "config.json").exists() and part not in weighted:
            yield f"{name} has no .safetensors file (other weights count with allow_pickle=true)"
        elif part in weighted and not (part / "config.json").exists():
            yield f"{name}/config.json is missing"
