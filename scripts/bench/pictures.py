"""Benchmark files with pictures made from numbers."""

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = ("physical", "environmental", "social", "causal", "referential")
DIFFERENT = 8
SLOPE = 1.3  # amplitude falls with spatial frequency f as 1 / f**SLOPE; about 1 in photos
CONTRAST, COLOUR, GRAIN = 45.0, 15.0, 0.7  # standard deviations in grey levels: brightness, each colour, white noise


def make_picture(number: int, size: int) -> Image.Image:
    """Noise with the spectrum of a photo, mostly grey, with some grain; mode RGB, (size, size).

    As PNG it takes two thirds of its raw bytes and 37 ms of a core at 512 x 512; photos at their own size take 0.2 to
    0.6 and 14 to 38 ms.
    """
    random = np.random.default_rng(number)
    brightness, *colours = (_smooth_noise(random, size) for _ in range(4))
    channels = [128 + CONTRAST * brightness + COLOUR * colour for colour in colours]
    pixels = np.stack(channels, axis=-1) + random.normal(0, GRAIN, (size, size, 3))  # (H, W, 3)
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


def _smooth_noise(random: np.random.Generator, size: int) -> np.ndarray:
    """Noise of mean 0 and standard deviation 1 whose amplitude falls with frequency; (size, size)."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf  # no mean
    noise = np.fft.irfft2(np.fft.rfft2(random.normal(size=(size, size))) / frequency**SLOPE, (size, size))
    return noise / noise.std()


def write_benchmark(path: Path, count: int, size: int) -> Path:
    """Write records in five equal categories, one after the other; eight different pictures take turns."""
    pictures = []
    for number in range(min(DIFFERENT, count)):
        buffer = io.BytesIO()
        make_picture(number, size).save(buffer, format="PNG")
        pictures.append(base64.b64encode(buffer.getvalue()).decode())
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            record = {
                "subset": CATEGORIES[number * len(CATEGORIES) // count],
                "original_description_en": f"Picture number {number}, a landscape under a wide sky.",
                "edit_instruction_en": f"Move the sun in picture {number} to the upper right and lengthen the shadows.",
                "original_image_path": f"made/{number:05d}.png",
                "src_img_b64": pictures[number % len(pictures)],
            }
            file.write("[\n" if number == 0 else ",\n")
            json.dump(record, file)
        file.write("\n]\n")
    return path
