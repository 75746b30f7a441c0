"""The id of a sample whose dataset gives it none."""

import hashlib
from pathlib import PurePosixPath, PureWindowsPath

RULE = (
    "an id is the record's own, else the image's file name without its ending, and where that repeats the same with "
    "a digest of image path and instruction behind it; give such records ids of their own, or remove all but one"
)
"""How ids come about, for the error about two equal ones."""


def image_ids(path: str, instruction: str) -> tuple[str, str]:
    """Make a sample's id from its image's path.

    Args:
        path: As the dataset writes it, with slashes of either kind.
        instruction: What is done to the image.

    Returns:
        The id where no other sample has it, the file's stem (empty if the path has none); and the id where another
        has it too, which tells apart samples that differ in path or instruction and does not depend on their order.
    """
    flavour = PureWindowsPath if "\\" in path else PurePosixPath
    stem = flavour(path).stem if path.strip() else ""
    digest = hashlib.sha256(f"{path}\n{instruction}".encode(errors="replace")).hexdigest()[:8]
    return stem, f"{stem}-{digest}"
