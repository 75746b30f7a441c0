"""Masks: pictures that say where an edit belongs, named by samples and read when the report measures their edits."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from editbench import images
from editbench.config.schema import SourceConfig
from editbench.datasets.base import Dataset, read_named
from editbench.datasets.extra import MAX_EXTRA_CHARS
from editbench.datasets.image_files import ImageFiles
from editbench.run.records import Sample

MASK = "mask"
"""Field of a record with the path of its mask, relative as those of images are; the plan has it in `Sample.extra`."""

UNREADABLE = "unreadable"
"""In place of the digest of a mask that cannot be read."""


def mask_problem(value: Any, images: ImageFiles) -> str:
    """What keeps a record's mask from being the path of a file; empty if nothing does, or it has no mask.

    A text that is too long for the plan (a mask in base64) is no path, and stays in the dataset.
    """
    if value is None or value == "" or value != value or (isinstance(value, str) and len(value) > MAX_EXTRA_CHARS):
        return ""
    if not isinstance(value, str):
        return f"{MASK} is {str(value)[:40]}, must be the path of an image"
    try:
        images.find(value)
    except ValueError as error:
        return f"{MASK}: {error}"
    return ""


def has_mask(sample: Sample) -> bool:
    """Whether a sample names a mask."""
    return isinstance(sample.extra.get(MASK), str)


def mask_digest(dataset: Dataset, sample: Sample) -> str:
    """Hex digest of the file of a sample's mask; `UNREADABLE` if it cannot be had."""
    try:
        return hashlib.sha256(read_named(dataset, sample.extra[MASK])).hexdigest()
    except ValueError:
        return UNREADABLE


def read_mask(
    dataset: Dataset, sample: Sample, source: tuple[int, int], edited: tuple[int, int], limits: SourceConfig
) -> NDArray[np.bool_]:
    """Read a sample's mask, in the size of the edited picture.

    Args:
        dataset: Where it is.
        sample: A sample that names one.
        source, edited: (width, height) of the pictures in pixels; the mask must have one of these sizes.
        limits: What is accepted.

    Returns:
        (height, width) of the edited picture, True where the edit belongs: where the mask is nearer to white than to
        black.

    Raises:
        ValueError: it cannot be had, is no image, or has another size.
    """
    mask = images.decode_rgb(read_named(dataset, sample.extra[MASK]), limits).convert("L")
    if mask.size not in (source, edited):
        sizes = " nor ".join(dict.fromkeys(f"{width}x{height}" for width, height in (source, edited)))
        raise ValueError(
            f"{sample.extra[MASK]!r} has {mask.width}x{mask.height} pixels, not {sizes} as source or edited picture"
        )
    if mask.size != edited:
        mask = mask.resize(edited, Image.Resampling.NEAREST)
    return np.asarray(mask) >= 128
