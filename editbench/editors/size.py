"""How large an edited image is to be."""

from typing import Literal

from PIL import Image

SizePolicy = Literal["native", "keep"]
"""`native`: what makes the picture chooses; `keep`: the source's shape, at a given area."""


def keep_shape(source: Image.Image, area: int, multiple: int) -> tuple[int, int]:
    """Height and width with the source's shape.

    Args:
        source: The source image.
        area: Pixels of the edited image, which rounding can change a little.
        multiple: Height and width are multiples of it, in pixels, and at least as large.

    Returns:
        Height and width in pixels: square roots of area x ratio and of area / ratio, each rounded to the nearest
        multiple.
    """
    ratio = source.height / source.width
    return nearest_multiple((area * ratio) ** 0.5, multiple), nearest_multiple((area / ratio) ** 0.5, multiple)


def nearest_multiple(pixels: float, multiple: int) -> int:
    """The nearest multiple, but never 0."""
    return max(1, round(pixels / multiple)) * multiple
