"""Small benchmark files in the input format, with pictures made from numbers."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def make_picture(number: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """A smooth picture, mode RGB, of the given (width, height); another one for each number."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def png_bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def make_record(number: int, category: str, sample_id: str, size: tuple[int, int] = (40, 30)) -> dict[str, Any]:
    return {
        "subset": category,
        "original_description": f"第{number}张图。",
        "original_description_en": f"Picture number {number}.",
        "edit_instruction": f"改变图{number}。",
        "edit_instruction_en": f"Change picture {number}.",
        "src_img_b64": base64.b64encode(png_bytes(make_picture(number, size))).decode(),
        "tags": ["made"],
        "difficulty": "medium",
        "original_image_path": f"generated_images_2/{sample_id}.png",
        "seed": number,
    }


def write_benchmark(
    path: Path, categories: Sequence[str], ids: Sequence[str] | None = None, size: tuple[int, int] = (40, 30)
) -> None:
    """Write one record for each category of the list, in its order."""
    ids = ids or [f"{number:05d}_{category}" for number, category in enumerate(categories)]
    pairs = zip(categories, ids, strict=True)
    records = [make_record(number, category, sample_id, size) for number, (category, sample_id) in enumerate(pairs)]
    path.write_text(json.dumps(records, ensure_ascii=False, indent=1), encoding="utf-8")
