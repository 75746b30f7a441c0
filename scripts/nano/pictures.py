"""Draws scenes, and gives them as each model sees them.

A cell's look depends only on the background, on what it holds and on whether it lies on the floor. So all looks are
drawn once, at each size a model sees, and a picture is put together from them.
"""

import functools

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from nano.scenes import BACKGROUNDS, CELLS, KINDS, SHAPES, SIZE, Scene, colour_of, shape_of

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
RGB_BACKGROUNDS = ((180, 180, 180), (235, 212, 160), (250, 170, 195), (130, 200, 250), (150, 230, 170), (95, 65, 45))
PIXELS = 128  # a side of a scene
SEEN = 64  # a side of what the VAE's trained part sees: the pipeline's 1024 pixels averaged over 16 x 16
PIPELINE = 1024  # a side of what the edit pipeline makes of a square source
ENCODER = 112  # a side of what the text encoder sees
SHARP = 4  # drawn so many times larger
FLOOR = 6  # height of the floor in pixels
RADIUS = 10.5  # of a shape, in pixels


def _outline(draw: ImageDraw.ImageDraw, shape: int, centre: tuple[float, float], fill: int) -> None:
    x, y = (SHARP * value for value in centre)
    r = SHARP * RADIUS
    if SHAPES[shape] == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif SHAPES[shape] == "square":
        r *= 1.05
        draw.rectangle((x - r, y - r, x + r, y + r), fill=fill)
    else:
        draw.polygon([(x, y - r), (x + 1.05 * r, y + 0.85 * r), (x - 1.05 * r, y + 0.85 * r)], fill=fill)


def draw_cell(background: int, what: int, on_floor: bool) -> Image.Image:
    """Draw one cell of 32 x 32 pixels: a shape lit from above, its soft shadow, and the floor where there is one."""
    side = PIXELS // SIZE
    large = (side * SHARP, side * SHARP)
    colour = RGB_BACKGROUNDS[background]
    cell = Image.new("RGB", large, colour)
    if on_floor:
        dark = tuple(int(0.75 * value) for value in colour)
        ImageDraw.Draw(cell).rectangle((0, large[1] - SHARP * FLOOR, large[0], large[1]), fill=dark)
    if what:
        shadow = Image.new("L", large, 0)
        _outline(ImageDraw.Draw(shadow), shape_of(what), (side / 2 + 1.5, side / 2 + 2.5), 70)
        shadow = shadow.filter(ImageFilter.GaussianBlur(SHARP * 0.8))
        cell.paste(ImageChops.multiply(cell, Image.new("RGB", large, (90, 90, 100))), mask=shadow)
        mask = Image.new("L", large, 0)
        _outline(ImageDraw.Draw(mask), shape_of(what), (side / 2, side / 2), 255)
        light = np.linspace(1.12, 0.86, large[1])[:, None, None]  # (height, 1, 1)
        lit = np.clip(np.broadcast_to(light * RGB[colour_of(what)], (*large, 3)), 0, 255).astype(np.uint8)
        cell.paste(Image.fromarray(lit), mask=mask)
    return cell.resize((side, side), Image.Resampling.BOX)


@functools.cache
def cells_drawn() -> np.ndarray:
    """All looks of a cell as drawn: (6 backgrounds, 25 kinds, 2 for floor, 32, 32, 3) uint8."""
    looks = [
        [[np.asarray(draw_cell(b, k, floor)) for floor in (False, True)] for k in range(KINDS)]
        for b in range(len(BACKGROUNDS))
    ]
    return np.array(looks)


def draw(scene: Scene) -> Image.Image:
    """Draw a scene, 128 x 128 pixels."""
    return Image.fromarray(assemble(cells_drawn(), np.array([scene.background]), np.array([scene.cells]))[0])


def assemble(looks: np.ndarray, backgrounds: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Put pictures together from looks of cells.

    Args:
        looks: (6, 25, 2, S, S, 3), from this module.
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


def through_pipeline(image: Image.Image, side: int, resample: Image.Resampling) -> np.ndarray:
    """A source image as a model sees it: enlarged as the pipeline does, then made small, (side, side, 3) uint8."""
    large = image.resize((PIPELINE, PIPELINE), Image.Resampling.LANCZOS)
    return np.asarray(large.resize((side, side), resample))


@functools.cache
def _looks_through_pipeline(side: int, resample: Image.Resampling) -> np.ndarray:
    per_cell = side // SIZE
    looks = np.zeros((len(BACKGROUNDS), KINDS, 2, per_cell, per_cell, 3), np.uint8)
    rows = [kinds for start in range(0, KINDS, SIZE) if (kinds := [*range(start, min(start + SIZE, KINDS))])]
    for background in range(len(BACKGROUNDS)):
        for kinds in rows:
            padded = [*kinds, *[0] * (SIZE - len(kinds))]
            scene = Scene(background, (*[0] * SIZE, *padded, *[0] * SIZE, *padded))
            seen = through_pipeline(draw(scene), side, resample)
            for column, what in enumerate(kinds):
                across = slice(column * per_cell, (column + 1) * per_cell)
                looks[background, what, 0] = seen[per_cell : 2 * per_cell, across]
                looks[background, what, 1] = seen[3 * per_cell :, across]
    return looks


def cells_for_vae() -> np.ndarray:
    """All looks of a cell as the VAE's trained part sees them: (6, 25, 2, 16, 16, 3) uint8."""
    return _looks_through_pipeline(SEEN, Image.Resampling.BOX)


def cells_for_encoder() -> np.ndarray:
    """All looks of a cell as the text encoder sees them: (6, 25, 2, 28, 28, 3) uint8."""
    return _looks_through_pipeline(ENCODER, Image.Resampling.BICUBIC)
