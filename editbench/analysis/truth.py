"""How well an edit was carried out where the wanted picture is known: computed from pixels, without a judge.

Pictures are compared cell by cell of a square grid, each averaged to a few pixels a cell, so that neither the size of
the edited picture nor the sharpness of its edges counts. Arrays are (..., H, W, 3) float in 0..1, H and W multiples of
the number of cells along a side.
"""

from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.floating[Any]]

SIDE = 64
"""Pixels along a side that pictures are averaged to before they are compared."""

RIGHT = 0.054
"""Greatest error of a cell that counts as right (root mean square, 0..1); no two shapes or colours are as close."""

BLIND = 0.03
"""Error of a cell that is not seen: what it costs to store a picture."""

SPOILT = 0.03
"""Mean error of the cells to be left alone that divides the score by e."""


@dataclass(frozen=True)
class Truth:
    """What an edit should have made.

    Attributes:
        target: The wanted picture, mode RGB.
        cells: Cells along each side of the grid.
    """

    target: Image.Image
    cells: int = 4


class TrueScore(TypedDict):
    """What `true_score` returns."""

    score: float
    strict: bool
    cells_right: float


def true_score(source: Image.Image, edited: Image.Image, truth: Truth) -> TrueScore:
    """Score an edit against the wanted picture.

    Args:
        source, edited: Mode RGB, of any size; both are averaged to 64 x 64.
        truth: What was wanted.

    Returns:
        `score`, 0 to 10; `strict`, whether every cell is right; `cells_right`, the share of cells that are.
    """
    small = [averaged(image) for image in (source, edited, truth.target)]
    found = score_pixels(small[0], small[1], small[2], truth.cells)
    right = found.errors <= RIGHT
    return {"score": float(found.score), "strict": bool(right.all()), "cells_right": float(right.mean())}


def averaged(image: Image.Image) -> Pixels:
    """Average a picture to (64, 64, 3) float in 0..1."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64) / 255


def cell_errors(one: Pixels, other: Pixels, cells: int) -> Pixels:
    """Root mean square difference of every cell: (..., H, W, 3) -> (..., cells * cells)."""
    *many, height, width, _ = np.broadcast_shapes(one.shape, other.shape)
    square = (one - other) ** 2
    grid = square.reshape(*many, cells, height // cells, cells, width // cells, 3).mean(axis=(-4, -2, -1))
    errors: Pixels = np.sqrt(grid).reshape(*many, cells * cells)
    return errors


@dataclass(frozen=True)
class PixelScores:
    """What pixels say of edits.

    Attributes:
        done: S, how far the cells to be changed have come, 0 to 1, (...).
        kept: P, what is left of all others, 0 to 1, (...).
        errors: Of all cells against the wanted picture, (..., cells * cells).
    """

    done: Pixels
    kept: Pixels
    errors: Pixels

    @property
    def score(self) -> Pixels:
        """10 S P, (...)."""
        return 10 * self.done * self.kept


def score_pixels(source: Pixels, edited: Pixels, target: Pixels, cells: int) -> PixelScores:
    """Score edits by 10 S P: S how far the cells to be changed have come, P what is left of all others.

    Of a cell whose error was b before the edit and is e after it, (b - e) / (b - BLIND) has been done, 0 to 1; S is
    the mean of it. P is exp(-mean error of the others / SPOILT). Errors up to BLIND count as none.
    """
    errors = cell_errors(edited, target, cells)
    before = np.broadcast_to(cell_errors(source, target, cells), errors.shape)
    changes = before > BLIND
    left = np.maximum(errors - BLIND, 0.0)
    done = np.clip(1 - left / np.maximum(before - BLIND, 1e-9), 0, 1)
    share = np.where(changes, done, 0).sum(-1) / np.maximum(changes.sum(-1), 1)
    spoilt = np.where(changes, 0, left).sum(-1) / np.maximum((~changes).sum(-1), 1)
    return PixelScores(share, np.exp(-spoilt / SPOILT), errors)
