"""Drift: how far an edited picture as a whole has moved and zoomed against its source.

A coarse zoom comes from phase correlation of the two spectra on a log-polar grid, where a zoom is a shift (Reddy and
Chatterji 1996, An FFT-Based Technique for Translation, Rotation, and Scale-Invariant Image Registration), a coarse
shift from phase correlation after that. Then blocks of the picture are looked for one by one, and one zoom and shift is
fitted to what most of them say. Blocks that an edit has repainted disagree and are left out; the share of those that
agree is the confidence. Rotation is not looked for.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image
from skimage.registration import phase_cross_correlation
from skimage.transform import warp_polar

from editbench.analysis.blocks import BLOCK, Floats, match_blocks

LIMIT_PERCENT = 0.4
"""A picture has drifted when a point of it has moved by more than this, in percent of the picture's width or height."""
MIN_CONFIDENCE = 0.2
"""With a smaller share of blocks that agree it is not known whether a picture has drifted."""
MIN_GAIN = 32
"""A drift is claimed where it explains so many more blocks, of 225 in a square, than no motion at all does."""
MIN_BLOCKS = 8
"""Blocks that must agree for anything to be known."""
ENOUGH_CONFIDENCE = 0.6
"""With such a share for a motion of a few pixels, larger ones are not looked for."""
MAX_ZOOM = 1.25
"""Zooms beyond this factor, or below its inverse, are not found."""

_CONTRAST = 0.5
"""Standard deviation of greys, of 255, below which a picture shows nothing."""
_TOLERANCE = 1.0
"""Pixels by which a block may be off the common motion and still agree."""
_STILL = 0.02
"""Pixels below which another round would improve nothing."""
_ROUNDS = 3
_GUESSES = 300
_POLAR = (180, 256)
"""Angles over the whole circle, and steps of the logarithm of the frequency."""


@dataclass(frozen=True)
class Motion:
    """A point p of the source, in pixels from the picture's centre, lies at `zoom * p + (dx, dy)` of the edited one.

    Attributes:
        zoom: Factor; above 1 the content has become larger.
        dx, dy: Pixels; positive is to the right and down.
    """

    zoom: float = 1.0
    dx: float = 0.0
    dy: float = 0.0

    def then(self, other: "Motion") -> "Motion":
        """This motion, and another behind it."""
        return Motion(other.zoom * self.zoom, other.zoom * self.dx + other.dx, other.zoom * self.dy + other.dy)


@dataclass(frozen=True)
class Drift:
    """What is known of a picture's drift.

    Attributes:
        shift: (x, y) in percent of width and height; None where not known.
        zoom: Factor; None where not known.
        confidence: Share of the source's blocks with something in them that agree on one motion, 0 to 1.
        drifted: Whether the motion is beyond `LIMIT_PERCENT`; None where not known.
    """

    shift: tuple[float, float] | None
    zoom: float | None
    confidence: float
    drifted: bool | None


def measure_drift(source: Floats, edited: Floats) -> Drift:
    """Find the one zoom and shift that most of the edited picture agrees on.

    Args:
        source: Greys from 0 to 255, (H, W) float32; 256 pixels at the shorter side are enough.
        edited: The same of the edited picture, of the same shape.
    """
    if np.array_equal(source, edited):
        return Drift((0.0, 0.0), 1.0, 1.0, False)
    if min(source.shape) < BLOCK or min(source.std(), edited.std()) < _CONTRAST:
        return Drift(None, None, 0.0, None)
    motion, confidence, agree = _refine(source, edited, Motion())
    if confidence < ENOUGH_CONFIDENCE:
        farther = _refine(source, edited, _guess(source, edited))
        if farther[1] > confidence:
            motion, confidence, agree = farther
    confidence = round(confidence, 3)
    if confidence < MIN_CONFIDENCE:
        return Drift(None, None, confidence, None)
    height, width = source.shape
    shift = (100 * motion.dx / width, 100 * motion.dy / height)
    farthest = max(map(abs, shift)) + 50 * abs(motion.zoom - 1)  # of the picture's edges: half a side from the centre
    if farthest > LIMIT_PERCENT and agree - _still(source, edited) < MIN_GAIN:
        return Drift(None, None, confidence, None)
    rounded = (round(shift[0], 3) + 0.0, round(shift[1], 3) + 0.0)  # + 0.0: no minus before a zero
    return Drift(rounded, round(motion.zoom, 5), confidence, farthest > LIMIT_PERCENT)


def _still(source: Floats, edited: Floats) -> int:
    """How many of the source's blocks are where they were; a motion that few more agree with explains nothing."""
    _, offsets, found = match_blocks(source, edited, _inside(source.shape, Motion()))
    return int((found & (np.hypot(*offsets.T) < _TOLERANCE)).sum())


def _guess(source: Floats, edited: Floats) -> Motion:
    """Guess the zoom of the whole picture by its spectrum, and then the shift."""
    polar = [_log_polar(picture) for picture in (source, edited)]
    (_, steps), *_ = phase_cross_correlation(polar[0], polar[1], upsample_factor=10)
    zoom = float(np.exp(steps * np.log(min(source.shape) / 2) / _POLAR[1]))
    zoom = zoom if 1 / MAX_ZOOM <= zoom <= MAX_ZOOM else 1.0
    moved = _windowed(_move(source, Motion(zoom)))
    (dy, dx), *_ = phase_cross_correlation(_windowed(edited), moved)
    return Motion(zoom, float(dx), float(dy))


def _log_polar(picture: Floats) -> Floats:
    """Magnitudes of a picture's spectrum over angle and the logarithm of the frequency, low frequencies damped."""
    side = min(picture.shape)
    top, left = ((length - side) // 2 for length in picture.shape)
    spectrum = np.abs(scipy.fft.fftshift(scipy.fft.fft2(_windowed(picture[top : top + side, left : left + side]))))
    across = np.cos(np.pi * np.linspace(-0.5, 0.5, side))
    low = np.outer(across, across)
    spectrum = np.log1p(spectrum) * (1 - low) * (2 - low)  # the damping is Reddy and Chatterji's
    polar: Floats = warp_polar(spectrum, radius=side / 2, output_shape=_POLAR, scaling="log")
    half: Floats = polar[: _POLAR[0] // 2]  # the other half of a real picture's spectrum is the same
    half -= half.mean()
    return half


def _windowed(picture: Floats) -> Floats:
    height, width = picture.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    windowed: Floats = (picture - picture.mean()) * window
    return windowed


def _refine(source: Floats, edited: Floats, motion: Motion) -> tuple[Motion, float, int]:
    """Improve a guess by what blocks of the picture say.

    Returns:
        The motion, the share of blocks that agree with it, 0 if there are too few, and their number.
    """
    share, many = 0.0, 0
    for _ in range(_ROUNDS):
        centres, offsets, found = match_blocks(_move(source, motion), edited, _inside(source.shape, motion))
        if found.sum() < MIN_BLOCKS:
            return motion, 0.0, 0
        step, agree = _fit(centres[found], offsets[found])
        motion = motion.then(step)
        if agree.sum() < MIN_BLOCKS or not 1 / MAX_ZOOM <= motion.zoom <= MAX_ZOOM:
            return motion, 0.0, 0
        many = int(agree.sum())
        share = many / len(centres)
        if max(abs(step.dx), abs(step.dy)) + abs(step.zoom - 1) * max(source.shape) / 2 < _STILL:
            break
    return motion, share, many


def _move(picture: Floats, motion: Motion) -> Floats:
    """Zoom and shift a picture; what comes in from outside is black."""
    if motion == Motion():
        return picture
    height, width = picture.shape
    scale = 1 / motion.zoom  # PIL asks where each new pixel comes from
    left = width / 2 - scale * (width / 2 + motion.dx)
    top = height / 2 - scale * (height / 2 + motion.dy)
    moved = Image.fromarray(picture).transform(
        (width, height), Image.Transform.AFFINE, (scale, 0, left, 0, scale, top), Image.Resampling.BICUBIC
    )
    return np.asarray(moved)


def _inside(shape: tuple[int, ...], motion: Motion) -> tuple[slice, slice]:
    """Rows and columns in which a picture has pixels after a motion."""
    spans = []
    for length, shift in zip(shape, (motion.dy, motion.dx), strict=True):
        middle, half = length / 2 + shift, length / 2 * motion.zoom
        spans.append(slice(max(0, int(np.ceil(middle - half))), min(length, int(middle + half))))
    return spans[0], spans[1]


def _fit(centres: Floats, offsets: Floats) -> tuple[Motion, NDArray[np.bool_]]:
    """Fit one zoom and shift to offsets of which many may be wrong.

    As RANSAC (Fischler and Bolles 1981): of the motions that one block or two blocks tell of, pairs drawn from a fixed
    seed, the one that most blocks agree with; then least squares on those.

    Args:
        centres, offsets: Of blocks that were found, (N, 2) each, as `Matches` has them; N at least 1.

    Returns:
        The motion, and which blocks agree with it.
    """
    first, second = np.random.default_rng(0).integers(len(centres), size=(2, _GUESSES))
    apart = centres[second] - centres[first]
    squared = (apart**2).sum(axis=1)
    far = squared > (4 * BLOCK) ** 2
    growth = ((offsets[second] - offsets[first]) * apart).sum(axis=1)[far] / squared[far]
    growth = np.concatenate([growth, np.zeros(len(centres), np.float32)])  # and the motions that are shifts alone
    start = np.concatenate([first[far], np.arange(len(centres))])
    shift = offsets[start] - growth[:, None] * centres[start]
    predicted = growth[:, None, None] * centres + shift[:, None]
    errors = np.hypot(*np.moveaxis(predicted - offsets, -1, 0))
    agree = errors[(errors < _TOLERANCE).sum(axis=1).argmax()] < _TOLERANCE
    slope = dx = dy = 0.0
    for _ in range(2):
        if not agree.any():
            break
        middle, mean = centres[agree].mean(axis=0), offsets[agree].mean(axis=0)
        place = centres[agree] - middle
        spread = float((place**2).sum())
        slope = float(((offsets[agree] - mean) * place).sum()) / spread if spread else 0.0
        dx, dy = (float(part) for part in mean - slope * middle)
        agree = np.hypot(*(slope * centres + (dx, dy) - offsets).T) < _TOLERANCE
    return Motion(1 + slope, dx, dy), agree
