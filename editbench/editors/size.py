"""How large an edited image is to be."""

from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

from editbench.errors import UserError

SizePolicy = Literal["native", "keep"]
"""`native`: what makes the picture chooses; `keep`: the source's shape, at a given area."""


@dataclass(frozen=True)
class OutputSize:
    """The size that a pipeline is asked for.

    Attributes:
        height, width: In pixels; of one alone the other follows from the source's shape.
        policy: What holds without either.
        area: Pixels of the edited image, for the policy `keep`.
        multiple: Height and width are multiples of it, in pixels.
    """

    height: int | None
    width: int | None
    policy: SizePolicy
    area: int
    multiple: int

    def of(self, source: Image.Image) -> dict[str, int]:
        """Height and width of the edited image in pixels; nothing where the pipeline is to choose."""
        height, width = self.height, self.width
        if height is None and width is None:
            if self.policy == "native":
                return {}
            height, width = keep_shape(source, self.area, self.multiple)
        if width is None:
            assert height is not None
            width = nearest_multiple(height * source.width / source.height, self.multiple)
        height = height or nearest_multiple(width * source.height / source.width, self.multiple)
        return {"height": height, "width": width}

    def describe(self) -> dict[str, Any]:
        """What is asked for, for the report; nothing where the pipeline chooses."""
        if self.policy == "keep":
            return {"size": "keep", "area": self.area}
        return {name: value for name, value in (("height", self.height), ("width", self.width)) if value is not None}

    @property
    def is_passed(self) -> bool:
        """Whether the pipeline is told a size at all."""
        return self.policy == "keep" or bool(self.height or self.width)


def check_size(settings: dict[str, Any], multiple: int) -> None:
    """Check `height`, `width` and `size` of an editor's settings.

    Raises:
        UserError: a length that is no multiple, or both a length and `size=keep`.
    """
    for key in ("height", "width"):
        value = settings.get(key)
        if value is not None and (value <= 0 or value % multiple):
            raise UserError(
                f"editor.{key}={value}: must be a multiple of {multiple} for this pipeline, from {multiple}"
            )
        if value is not None and settings.get("size") == "keep":
            raise UserError(f"editor.size=keep: editor.{key}={value} decides the size too; leave one out")


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
