"""Where a checkpoint lies, how large it is and which one it is, without loading or reading its weights."""

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editbench.components.complete import MAX_HEADER_BYTES, gaps, read_header
from editbench.errors import UserError

NOTE_FILE = "editbench_note.txt"
"""A checkpoint may carry one sentence that every report on it repeats."""

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
"""The files of an adapter of the PEFT library: settings and weights."""

_WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model"]
_VARIANTS = ["*.fp16.*", "*.bf16.*", "*.non_ema.*", "*.onnx*"]
_PICKLES = ["*.bin", "*.pt", "*.pth", "*.ckpt"]
_SAMPLES = 64
_SAMPLE_BYTES = 4096
_HUB_SAYS = {
    "RepositoryNotFoundError": "the hub has no such repository, or a private one: check the name, or HF_TOKEN",
    "GatedRepoError": "its makers ask for consent: give it on the hub's page of it, and set HF_TOKEN",
    "RevisionNotFoundError": "it has no such revision",
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder on this machine.

    Attributes:
        path: The folder.
        revision: Commit on the hub; None for a folder of one's own.
        size_bytes: Size of all safetensors files.
        fingerprint: Hex digest of its files' names and sizes, of the headers and samples of its weights, and of its
            other files' contents; the same wherever the folder lies.
        note: What its makers want every report to say; "" for nothing.
        lora: The LoRA that is loaded on top of it, where `path` is the file of its weights; None without one.
    """

    path: Path
    revision: str | None
    size_bytes: int
    fingerprint: str
    note: str
    lora: "Checkpoint | None" = None


def find(checkpoint: str, revision: str | None, download: bool, extra: Collection[str] = ()) -> Checkpoint | None:
    """Find a checkpoint: a folder, or a hub id in the hub's local cache.

    Args:
        checkpoint: Path of a folder, or a hub id such as `Qwen/Qwen-Image-Edit`.
        revision: Branch, tag or commit on the hub; None: its main branch. Not for folders.
        download: Whether to fetch from the hub what the cache lacks.
        extra: What belongs to the checkpoint beside safetensors and settings: `allow_pickle` for pickled weights (.bin,
            .pt, .ckpt), `trust_remote_code` for code; both can run with the user's rights.

    Returns:
        None if it is not there and `download` is False.

    Raises:
        UserError: neither a folder nor to be had from the hub, or a folder that is not whole.
    """
    path = Path(checkpoint).expanduser()
    if checkpoint and path.is_dir():
        return _describe(path, None, extra)
    if checkpoint.count("/") != 1 or checkpoint.startswith((".", "/", "~")):
        hint = "; build it with: python scripts/make_tiny_checkpoints.py" if "checkpoints/tiny" in checkpoint else ""
        raise UserError(f"checkpoint {checkpoint}: there is no such folder{hint}")
    from huggingface_hub import snapshot_download

    wanted = {"revision": revision, "allow_patterns": _wanted(extra), "ignore_patterns": _VARIANTS}
    found = _from_hub(f"checkpoint {checkpoint}", download, snapshot_download, repo_id=checkpoint, **wanted)
    return _describe(found, found.name, extra) if found else None


def find_lora(path: str, weight_name: str, revision: str | None, download: bool) -> Checkpoint | None:
    """Find a LoRA's weights: one file of a folder, or of a hub repository.

    Args:
        path: Path of a folder, or a hub id such as `lightx2v/Qwen-Image-Lightning`.
        weight_name: The file in it.
        revision: Branch, tag or commit on the hub; None: its main branch. Not for folders.
        download: Whether to fetch from the hub what the cache lacks.

    Returns:
        None if it is not there and `download` is False. Its fingerprint does not depend on its name.

    Raises:
        UserError: there is no such file.
    """
    folder = Path(path).expanduser()
    commit = None
    if folder.is_dir():
        file = folder / weight_name
        if not file.is_file():
            raise UserError(f"LoRA {path}: has no file {weight_name}; give the name of its weights as weight_name")
    elif path.count("/") != 1 or path.startswith((".", "/", "~")):
        raise UserError(f"LoRA {path}: there is no such folder")
    else:
        from huggingface_hub import hf_hub_download

        wanted = {"repo_id": path, "filename": weight_name, "revision": revision}
        found = _from_hub(f"LoRA {path}/{weight_name}", download, hf_hub_download, **wanted)
        if found is None:
            return None
        file, commit = found, found.parents[len(Path(weight_name).parts) - 1].name
    try:
        if file.suffix == ".safetensors":
            read_header(file)
    except ValueError as error:
        raise UserError(f"LoRA {path}: {weight_name} {error}; download or copy it again") from error
    size = file.stat().st_size
    return Checkpoint(file, commit, size, hashlib.sha256(b"%d " % size + _sampled(file)).hexdigest(), "")


def find_adapter(path: str, revision: str | None, download: bool) -> Checkpoint | None:
    """Find an adapter of the PEFT library: its settings and weights in a folder, or in a hub repository.

    Args:
        path: Path of a folder, or a hub id such as `EditScore/EditScore-Qwen3-VL-8B-Instruct`.
        revision: Branch, tag or commit on the hub; None: its main branch. Not for folders.
        download: Whether to fetch from the hub what the cache lacks.

    Returns:
        None if it is not there and `download` is False. `path` is its weights' file; its fingerprint does not depend on
        where it lies.

    Raises:
        UserError: there is no such adapter, or it is not whole.
    """
    folder = Path(path).expanduser()
    commit = None
    if not folder.is_dir():
        if path.count("/") != 1 or path.startswith((".", "/", "~")):
            raise UserError(f"LoRA {path}: there is no such folder")
        from huggingface_hub import snapshot_download

        wanted = {"repo_id": path, "revision": revision, "allow_patterns": [*ADAPTER]}
        found = _from_hub(f"LoRA {path}", download, snapshot_download, **wanted)
        if found is None or (not download and not all((found / name).is_file() for name in ADAPTER)):
            return None
        folder, commit = found, found.name
    settings, weights = (folder / name for name in ADAPTER)
    for file in (settings, weights):
        if not file.is_file():
            pickled = " (its weights are pickled; convert them)" if (folder / "adapter_model.bin").is_file() else ""
            raise UserError(f"LoRA {path}: has no file {file.name}, as adapters of the PEFT library have{pickled}")
    try:
        kind = json.loads(settings.read_bytes())["peft_type"]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"LoRA {path}: {settings.name} cannot be read; download or copy it again") from error
    if kind != "LORA":
        raise UserError(f"LoRA {path}: is an adapter of type {kind!r}; only LORA can be used")
    try:
        read_header(weights)
    except ValueError as error:
        raise UserError(f"LoRA {path}: {weights.name} {error}; download or copy it again") from error
    size = weights.stat().st_size
    digest = hashlib.sha256(b"%d " % size + settings.read_bytes() + _sampled(weights)).hexdigest()
    return Checkpoint(weights, commit, size, digest, "")


def _from_hub(what: str, download: bool, fetch: Callable[..., str], **wanted: Any) -> Path | None:
    """Fetch from the hub, or find in its local cache; None if it is not there and must not be fetched."""
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(fetch(**wanted, local_files_only=not download))
    except LocalEntryNotFoundError as error:
        if not download:
            return None
        reason = "the hub cannot be reached"
        if constants.HF_HUB_OFFLINE:
            reason = "offline mode is on (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)"
        raise UserError(
            f"{what}: no such folder, not (or not all of it) in the hub's local cache, and {reason}; check the name, "
            "or start once where the hub can be reached"
        ) from error
    except Exception as error:  # the hub's client raises a family of HTTP and file errors
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = _HUB_SAYS.get(type(error).__name__, said)
        raise UserError(f"{what}: cannot be downloaded ({reason})") from error


def _wanted(extra: Collection[str]) -> list[str]:
    return _WANTED + _PICKLES * ("allow_pickle" in extra) + ["*.py"] * ("trust_remote_code" in extra)


def _describe(path: Path, revision: str | None, extra: Collection[str]) -> Checkpoint:
    patterns = _wanted(extra)
    files = sorted({file for pattern in patterns for file in path.rglob(pattern) if file.is_file()})
    files = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if (path / "model_index.json").exists():  # a diffusers pipeline loads from its subfolders alone
        files = [file for file in files if file.parent != path or file.suffix != ".safetensors"]
    weights = [file for file in files if f"*{file.suffix}" in ("*.safetensors", *_PICKLES)]
    if not weights:
        raise UserError(
            f"checkpoint {path}: holds no .safetensors file; convert it, or set allow_pickle=true for this editor or "
            "judge if you trust its makers: pickled weights run code when they are loaded"
        )
    if missing := list(gaps(path, files)):
        more = f", and {len(missing) - 1} more like it" if len(missing) > 1 else ""
        raise UserError(f"checkpoint {path} is not whole: {missing[0]}{more}; download or copy it again")
    digest = hashlib.sha256()
    for file in files:
        digest.update(json.dumps([file.relative_to(path).as_posix(), file.stat().st_size]).encode())
        digest.update(_sampled(file) if file in weights else file.read_bytes())
    note = path / NOTE_FILE
    return Checkpoint(
        path=path,
        revision=revision,
        size_bytes=sum(file.stat().st_size for file in weights),
        fingerprint=digest.hexdigest(),
        note=note.read_text(encoding="utf-8", errors="replace").strip() if note.exists() else "",
    )


def _sampled(file: Path) -> bytes:
    """A safetensors file's JSON header, and a few KiB at evenly spaced places of its tensors.

    The header alone (names, types, shapes) is the same for every checkpoint of a training run. Of a pickle, which has
    no such header, what stands in its place.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        parts = [opened.read(min(length, MAX_HEADER_BYTES))]
        start = opened.tell()
        step = max(_SAMPLE_BYTES, (size - start) // _SAMPLES)
        for at in range(start, size, step):
            opened.seek(at)
            parts.append(opened.read(_SAMPLE_BYTES))
    return b"".join(parts)
