"""Finds blocks of a picture again in another one, each by phase correlation with the same place of the other.

Phase correlation (Kuglin and Hines 1975) looks at where edges are and not at how bright they are, so a block that an
edit has only made darker or tinted is found as well.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK = 32
"""Side of a block in pixels; blocks overlap by half."""

_STEP = BLOCK // 2
_MIN_CONTRAST = 3.0
"""Standard deviation of greys, of 255, from which a block of the source shows enough to tell where it is."""
_MIN_PEAK = 0.25
"""Height of the correlation's peak (1: equal blocks) from which a block has been found again."""
_FREQUENCIES = 0.12
"""Standard deviation of the weights of frequencies, in cycles per pixel."""


class Matches(NamedTuple):
    """What became of the blocks of a source that show enough.

    Attributes:
        centres: Where they are, (N, 2) as x and y in pixels from the picture's centre.
        offsets: By how much they have moved, (N, 2) as x and y in pixels; means nothing where not found.
        found: Which were found again, (N,).
    """

    centres: Floats
    offsets: Floats
    found: NDArray[np.bool_]


def match_blocks(source: Floats, edited: Floats, inside: tuple[slice, slice]) -> Matches:
    """Look for the blocks of a source in the edited picture.

    Args:
        source: Greys from 0 to 255, (H, W) float32.
        edited: The same of the edited picture, of the same shape; blocks that moved by up to a quarter are found.
        inside: Rows and columns in which the source has pixels.
    """
    rows, columns = inside
    if min(rows.stop - rows.start, columns.stop - columns.start) < BLOCK:
        return Matches(np.empty((0, 2), np.float32), np.empty((0, 2), np.float32), np.empty(0, np.bool_))
    grids = [sliding_window_view(picture[inside], (BLOCK, BLOCK))[::_STEP, ::_STEP] for picture in (source, edited)]
    height, width = source.shape
    y = rows.start + _STEP * np.arange(grids[0].shape[0]) + (BLOCK - height) / 2
    x = columns.start + _STEP * np.arange(grids[0].shape[1]) + (BLOCK - width) / 2
    centres = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
    of_source, of_edited = (grid.reshape(-1, BLOCK, BLOCK) for grid in grids)
    shows = of_source.std(axis=(1, 2)) >= _MIN_CONTRAST
    offsets, heights = _highest(_correlate(of_source[shows], of_edited[shows]))
    return Matches(centres[shows], offsets, heights >= _MIN_PEAK)


@functools.cache
def _window() -> Floats:
    return np.outer(np.hanning(BLOCK), np.hanning(BLOCK)).astype(np.float32)


@functools.cache
def _weights() -> Floats:
    """Weight of each frequency: a Gaussian, so that noise of single pixels counts little, and a peak is one too."""
    y, x = scipy.fft.fftfreq(BLOCK)[:, None], scipy.fft.rfftfreq(BLOCK)[None, :]
    weights = np.exp(-(x**2 + y**2) / (2 * _FREQUENCIES**2)).astype(np.float32)
    weights[0, 0] = 0.0  # the mean, which the window has not quite taken out
    scaled: Floats = weights / scipy.fft.irfft2(weights)[0, 0]
    return scaled


def _correlate(first: Floats, second: Floats) -> Floats:
    """Phase correlation of pairs of blocks, each (N, B, B); of equal blocks it is 1 at [0, 0]."""
    spectra = [
        scipy.fft.rfft2((blocks - blocks.mean(axis=(1, 2), keepdims=True)) * _window()) for blocks in (first, second)
    ]
    product = spectra[1] * spectra[0].conj()
    phases = product / np.maximum(np.abs(product), 1e-3)
    correlation: Floats = scipy.fft.irfft2(phases * _weights(), s=(BLOCK, BLOCK))
    return correlation


def _highest(correlation: Floats) -> tuple[Floats, Floats]:
    """Find the peak of each correlation.

    Returns:
        Its place, (N, 2) as x and y, between pixels by a parabola through the logarithms (exact for a Gaussian); its
        height, (N,).
    """
    each = np.arange(len(correlation))
    y, x = np.divmod(correlation.reshape(len(correlation), BLOCK * BLOCK).argmax(axis=1), BLOCK)
    height = correlation[each, y, x]

    def beyond(before: Floats, after: Floats) -> Floats:
        low, middle, high = (np.log(np.maximum(values, 1e-6)) for values in (before, height, after))
        bend = np.minimum(low - 2 * middle + high, -1e-6)
        offset: Floats = np.clip((low - high) / (2 * bend), -0.5, 0.5)
        return offset

    dx = beyond(correlation[each, y, x - 1], correlation[each, y, (x + 1) % BLOCK])
    dy = beyond(correlation[each, y - 1, x], correlation[each, (y + 1) % BLOCK, x])
    half = BLOCK // 2
    places = np.stack([(x + half) % BLOCK - half + dx, (y + half) % BLOCK - half + dy], axis=-1)
    return places.astype(np.float32), height
