"""Small pictures of sources, edits and references, for people: `thumbs/` in the run folder.

They can be made again at any time.

A name holds the digest of the file that a thumbnail was made of, so one that is there is the right one, and samples
with the same source share its thumbnail.
"""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Collection
from pathlib import Path

from PIL import Image

from editbench.run.lines import remove_left_over
from editbench.run.records import Edit, Sample

SIDE = 512
"""Longest side in pixels; smaller pictures keep their size."""
_NOTHING = hashlib.sha256(b"").hexdigest()
_OURS = re.compile(r"(source|reference)-[0-9a-f]{16}\.webp|.+-[0-9a-f]{12}-edited\.webp")


def source_names(sample: Sample, before: Edit | None = None) -> list[str]:
    """File names of the thumbnails of a sample's source images, in order; in a chain `before` is its source."""
    own = sample.images_sha256 or [sample.source_sha256]
    return [f"source-{digest[:16]}.webp" for digest in ([before.sha256 or ""] if before else own)]


def reference_name(sample: Sample) -> str | None:
    """File name of the thumbnail of a sample's reference; None without one that could be read for the plan."""
    if not sample.reference_sha256 or sample.reference_sha256 == _NOTHING:
        return None
    return f"reference-{sample.reference_sha256[:16]}.webp"


def edited_name(sample: Sample, edit: Edit) -> str:
    """File name of the thumbnail of a sample's edited image, which there must be."""
    return f"{sample.key}-{(edit.sha256 or '')[:12]}-edited.webp"


def write_thumb(picture: Image.Image, path: Path) -> None:
    """Write a picture of mode RGB as a thumbnail; readers see all of it or nothing."""
    factor = min(1.0, SIDE / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    small = picture.resize(size, Image.Resampling.HAMMING)  # half of Lanczos' time
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        small.save(temporary, "WEBP", quality=80, method=0)  # a third of the default's time for a quarter more bytes
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_other_thumbs(folder: Path, wanted: Collection[str]) -> None:
    """Remove the thumbnails that are not among the wanted names, and what killed processes left; no other file."""
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in wanted:
            with contextlib.suppress(FileNotFoundError):  # another report may do the same
                path.unlink()
    remove_left_over(folder)
