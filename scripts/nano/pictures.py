"""Draws scenes, and gives them as each model sees them.

A cell's look depends only on the background, on what it holds and on whether it lies on the floor. So all looks are
made once, at each size a model sees, and a picture is put together from them.
"""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from nano.scenes import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    PLACINGS,
    RADII,
    ROOM,
    SHAPES,
    SHIFTS,
    SIZE,
    THINGS,
    Scene,
)

Floats = npt.NDArray[np.floating[Any]]

RGB = (
    (215, 40, 40),
    (243, 138, 28),
    (250, 222, 60),
    (40, 150, 62),
    (40, 85, 215),
    (125, 35, 165),
    (250, 250, 250),
    (25, 25, 25),
)
RGB_BACKGROUNDS = ((180, 180, 180), (235, 212, 160), (250, 170, 195), (130, 200, 250), (150, 230, 170), (120, 82, 56))
PIXELS = 128  # a side of a scene
CELL = PIXELS // SIZE  # a side of a cell
SEEN = 64  # a side of what the VAE's trained part sees: the pipeline's 1024 pixels averaged over 16 x 16
PIPELINE = 1024  # a side of what the edit pipeline makes of a square source
ENCODER = 112  # a side of what the text encoder sees
SHARP = 4  # outlines are drawn so many times larger
FLOOR = 6  # height of the floor in pixels
LIGHT = (1.12, 0.86)  # on a shape's top and bottom
SHADOW = 0.27  # of the light that a shadow takes
SHADOW_TINT = np.array([90, 90, 100]) / 255
AROUND = 6  # pixels around a cell that the pipeline's filters reach


def _covered(shape: int, radius: float, centre: tuple[float, float], blur: float) -> Floats:
    """Share of each pixel of a cell that a shape covers, (32, 32) in 0..1."""
    x, y = (SHARP * value for value in centre)
    r = SHARP * radius
    image = Image.new("L", (CELL * SHARP, CELL * SHARP), 0)
    pen = ImageDraw.Draw(image)
    if SHAPES[shape] == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    elif SHAPES[shape] == "square":
        pen.rectangle((x - 1.05 * r, y - 1.05 * r, x + 1.05 * r, y + 1.05 * r), fill=255)
    else:
        pen.polygon([(x, y - r), (x + 1.05 * r, y + 0.85 * r), (x - 1.05 * r, y + 0.85 * r)], fill=255)
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(SHARP * blur))
    return np.asarray(image, np.float32).reshape(CELL, SHARP, CELL, SHARP).mean(axis=(1, 3)) / 255


def centre_of(placing: int) -> tuple[float, float]:
    """Where in its cell a shape stands, in pixels from the left and from the top."""
    size, right, down = PLACINGS[placing]
    return CELL / 2 + ROOM[size] * SHIFTS[right], CELL / 2 + ROOM[size] * SHIFTS[down]


@functools.cache
def cells_drawn() -> npt.NDArray[np.uint8]:
    """All looks of a cell as drawn, lit from above, with a soft shadow and the floor where there is one.

    Returns:
        (6 backgrounds, 1801 things, 2 for floor, 32, 32, 3).
    """
    ground = np.broadcast_to(np.array(RGB_BACKGROUNDS, np.float32)[:, None, None, None], (6, 2, CELL, CELL, 3)).copy()
    ground[:, 1, CELL - FLOOR :] *= 0.75
    colours = np.array(RGB, np.float32)[:, None, None]  # (8, 1, 1, 3)
    looks = np.empty((len(BACKGROUNDS), THINGS, 2, CELL, CELL, 3), np.uint8)
    looks[:, 0] = ground.round()
    first = 1
    for placing, (size, _, _) in enumerate(PLACINGS):
        x, y = centre_of(placing)
        height = (np.arange(CELL) + 0.5 - y) / RADII[size]  # -1 at the shape's top, 1 at its bottom
        light = np.interp(height, (-1, 1), LIGHT).astype(np.float32)[:, None, None]  # (32, 1, 1)
        lit = np.clip(light * colours, 0, 255)  # (8, 32, 1, 3)
        for shape in range(len(SHAPES)):
            covered = _covered(shape, RADII[size], (x, y), 0.0)[..., None]
            shadow = _covered(shape, RADII[size], (x + 1.5, y + 2.5), 0.8)[..., None]
            under = (ground * (1 - SHADOW * shadow * (1 - SHADOW_TINT)))[:, None]  # (6, 1, 2, 32, 32, 3)
            over = (lit * covered)[None, :, None]  # (1, 8, 1, 32, 32, 3)
            looks[:, first : first + len(COLOURS)] = (under * (1 - covered) + over).round()
            first += len(COLOURS)
    return looks


def draw(scene: Scene) -> Image.Image:
    """Draw a scene, 128 x 128 pixels."""
    return Image.fromarray(assemble(cells_drawn(), np.array([scene.background]), np.array([scene.cells]))[0])


def assemble(looks: np.ndarray, backgrounds: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Put pictures together from looks of cells.

    Args:
        looks: (6, 1801, 2, S, S, 3), from this module.
        backgrounds: (B,) int.
        cells: (B, 16) int.

    Returns:
        (B, 4 S, 4 S, 3) in the type of the looks.
    """
    floor = (np.arange(CELLS) >= CELLS - SIZE).astype(int)  # (16,)
    found = looks[backgrounds[:, None], cells, floor]  # (B, 16, S, S, 3)
    count, _, side = found.shape[:3]
    grid = found.reshape(count, SIZE, SIZE, side, side, 3).transpose(0, 1, 3, 2, 4, 5)
    return grid.reshape(count, SIZE * side, SIZE * side, 3)


def through_pipeline(image: Image.Image, side: int, resample: Image.Resampling) -> npt.NDArray[np.uint8]:
    """A source image as a model sees it: enlarged as the pipeline does, then made small, (side, side, 3)."""
    large = image.resize((PIPELINE, PIPELINE), Image.Resampling.LANCZOS)
    return np.asarray(large.resize((side, side), resample))


@functools.cache
def _looks_through_pipeline(side: int, resample: Image.Resampling) -> npt.NDArray[np.uint8]:
    """All looks as `through_pipeline` would show them: its filters are linear but for what they clip."""
    lines = Image.fromarray(np.eye(PIXELS, dtype=np.float32))
    large = lines.resize((PIPELINE, PIXELS), Image.Resampling.LANCZOS)
    filters = np.asarray(large.resize((side, PIXELS), resample)).T  # (side, 128)
    per_cell = side // SIZE
    one = filters[per_cell : 2 * per_cell, CELL - AROUND : 2 * CELL + AROUND]  # (per_cell, 44)
    drawn = cells_drawn()
    looks = np.empty((*drawn.shape[:3], per_cell, per_cell, 3), np.uint8)
    for background in range(len(BACKGROUNDS)):
        for floor in (0, 1):
            cells = drawn[background, :, floor]
            empty = np.pad(cells[0], ((AROUND, AROUND), (AROUND, AROUND), (0, 0)), "edge")
            around = np.repeat(empty[None], THINGS, axis=0)
            around[:, AROUND:-AROUND, AROUND:-AROUND] = cells
            across = np.matmul(one, around.transpose(0, 3, 1, 2).astype(np.float32))  # (N, 3, per_cell, 44)
            seen = np.matmul(across, one.T).transpose(0, 2, 3, 1)
            looks[background, :, floor] = seen.round().clip(0, 255)
    return looks


def cells_for_vae() -> npt.NDArray[np.uint8]:
    """All looks of a cell as the VAE's trained part sees them: (6, 1801, 2, 16, 16, 3)."""
    return _looks_through_pipeline(SEEN, Image.Resampling.BOX)


def cells_for_encoder() -> npt.NDArray[np.uint8]:
    """All looks of a cell as the text encoder sees them: (6, 1801, 2, 28, 28, 3)."""
    return _looks_through_pipeline(ENCODER, Image.Resampling.BICUBIC)
