"""The only code that decodes, checks or encodes an image.

Pixels travel as PIL images of mode RGB, upright; files as bytes.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from editbench.config.schema import SourceConfig
from editbench.errors import InvalidOutputError

Image.init()  # registers all formats: Pillow fails on a wanted format that is not registered, whatever the file is
Image.MAX_IMAGE_PIXELS = None  # our own limit is checked before anything is decoded

PNG_COMPRESS_LEVEL = 2
"""zlib level of the PNGs we write: on photos of 1024x1024 a third of the default's (6) time for a tenth more bytes."""


def decode_rgb(data: bytes, limits: SourceConfig | None = None) -> Image.Image:
    """Decode an image file to mode RGB, upright, first frame only.

    EXIF orientation is applied, 16-bit, 32-bit and float greys are scaled to 8 bits, transparency is laid on white.

    Args:
        data: The whole file.
        limits: What is accepted; None: all that Pillow reads.

    Raises:
        ValueError: no image, truncated, or not within the limits.
    """
    if not data:
        raise ValueError("the image has 0 bytes")
    if limits and len(data) > limits.max_mib * 2**20:
        raise ValueError(f"the image file has {len(data)} bytes; source.max_mib={limits.max_mib} are accepted")
    try:
        formats = [name for name in limits.formats if name.upper() in Image.OPEN] if limits else None
        image: Image.Image = Image.open(io.BytesIO(data), formats=formats)
        if limits and image.width * image.height > limits.max_megapixels * 1e6:
            raise ValueError(
                f"the image has {image.width}x{image.height} pixels; source.max_megapixels={limits.max_megapixels} "
                "are accepted"
            )
        image.load()
        image = ImageOps.exif_transpose(image)
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many types on broken files: OSError, SyntaxError, struct.error …
        accepted = f" (source.formats accepts {', '.join(limits.formats)})" if limits else ""
        unknown = isinstance(error, UnidentifiedImageError)  # whose own words are of an object in memory
        why = "it is no image that Pillow knows" if unknown else error
        raise ValueError(f"the {len(data)} bytes are no readable image{accepted}: {why}") from error
    return _to_rgb(image)


def check_edited(image: Image.Image) -> None:
    """Check that an editor's output can be an edited picture.

    Raises:
        InvalidOutputError: no PIL image of mode RGB, or every pixel has the same colour.
    """
    if not isinstance(image, Image.Image):
        raise InvalidOutputError(f"the editor returned a {type(image).__name__}, must be a PIL image")
    if image.mode != "RGB":
        raise InvalidOutputError(f"the editor returned mode {image.mode}, must be RGB")
    if 0 in image.size:
        raise InvalidOutputError(f"the editor returned {image.width}x{image.height} pixels")
    if all(low == high for low, high in image.getextrema()):  # type: ignore[misc]
        raise InvalidOutputError(f"every pixel of the edited image has the colour {image.getpixel((0, 0))}")


def encode_png(image: Image.Image) -> bytes:
    """Encode mode RGB as PNG; the same pixels always give the same bytes (no time stamp, no metadata)."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(image)).save(buffer, format="PNG", compress_level=PNG_COMPRESS_LEVEL)
    return buffer.getvalue()


def side_by_side(pictures: Sequence[Image.Image], height: int) -> Image.Image:
    """Put pictures of mode RGB in a row from left to right, all scaled to a height; one of that height stays as it is.

    Args:
        pictures: One or more.
        height: In pixels.
    """
    if len(pictures) == 1 and pictures[0].height == height:
        return pictures[0]
    scaled = [
        one.resize((max(1, round(one.width * height / one.height)), height), Image.Resampling.LANCZOS)
        for one in pictures
    ]
    row = Image.new("RGB", (sum(one.width for one in scaled), height))
    left = 0
    for one in scaled:
        row.paste(one, (left, 0))
        left += one.width
    return row


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":  # Pillow's own conversion clips at 255 instead of scaling
        sixteen_bit = image.mode.startswith("I;16")
        return Image.fromarray(_to_uint8(np.asarray(image), 65535.0 if sixteen_bit else None)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(background, image).convert("RGB")
    return image.convert("RGB")


def _to_uint8(values: np.ndarray, full_scale: float | None) -> np.ndarray:
    """Scale greys to 0..255.

    Args:
        values: Greys of one channel.
        full_scale: The value that means white; None for 32-bit integers and floats, whose files do not tell: it is
            then the least of 1, 255 and 65535 that no value exceeds.
    """
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the image holds values that are not finite")
    if full_scale is None:
        largest = values.max()
        full_scale = 1.0 if largest <= 1.0 else 255.0 if largest <= 255.0 else 65535.0
    return np.clip(np.rint(values / full_scale * 255.0), 0, 255).astype(np.uint8)
