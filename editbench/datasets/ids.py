"""The id of a sample whose dataset gives it none."""

import hashlib
from pathlib import PurePosixPath, PureWindowsPath

RULE = (
    "an id is the record's own, else the image's file name without its ending, and where that repeats the same with "
    "a digest of image path and instruction behind it; give such records ids of their own, or remove all but one"
)
"""How ids come about, for the error about two equal ones."""


def image_ids(paths: list[str], instruction: str) -> tuple[str, str]:
    """Make a sample's id from its image's path, the first of several.

    Args:
        paths: As the dataset writes them, with slashes of either kind.
        instruction: What is done to the images.

    Returns:
        The id where no other sample has it, the file's stem (empty if the path has none); and the id where another
        has it too, which tells apart samples that differ in paths or instruction and does not depend on their order.
    """
    path = paths[0] if paths else ""
    flavour = PureWindowsPath if "\\" in path else PurePosixPath
    stem = flavour(path).stem if path.strip() else ""
    digest = hashlib.sha256("\n".join([*paths, instruction]).encode(errors="replace")).hexdigest()[:8]
    return stem, f"{stem}-{digest}"
