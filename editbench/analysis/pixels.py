"""What pixels say of an edit without a judge: whether anything was changed, how far the rest was kept, drift.

Nothing here enters a score. PSNR is of the whole picture in full size. The other figures are of both pictures made
smaller, to 256 pixels at the shorter side, each pixel the mean of those it stands for: what an editor's autoencoder or
a JPEG changes in single pixels is averaged out, SSIM is at the scale its authors advise, and shift and zoom are still
told to a tenth of a percent (tests/unit/test_drift.py).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity

from editbench.analysis.drift import measure_drift
from editbench.analysis.shape import LIMIT, shape_change

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE = 256
"""Pixels of the shorter side of the smaller pictures; those that are smaller are left as they are."""
THRESHOLD = 16
"""A pixel of the smaller picture has changed if one of its channels differs by more, of 255."""
STRONG = 64
"""A pixel of the smaller picture has changed strongly if one of its channels differs by more, of 255."""
NO_OP_SHARE = 0.002
NO_OP_STRONG_SHARE = 0.0005
NO_OP_MEAN = 4.0
"""Almost nothing was changed if a smaller share of pixels than the first has changed, a smaller one than the second
strongly, and all differ by less than the third in the mean: of 256x256 a faint spot of 11x11, a strong one of 5x5, or a
picture brighter by 3 of 255. JPEG at quality 95 of the demo's photos stays far below all (0.0003, 0, 1.4)."""

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5
"""Of the Gaussian window: scikit-image cuts it at 3.5 sigma."""


def measure(source: Image.Image, edited: Image.Image, mask: Mask | None = None) -> dict[str, Any]:
    """Compare an edited picture with its source, which is resized (Lanczos) to the edited size where that differs.

    Args:
        source: Mode RGB, upright.
        edited: Mode RGB.
        mask: (height, width) of the edited picture, True where the edit belongs.

    Returns:
        `changed`: share of pixels, 0 to 1, of which a channel differs by more than `THRESHOLD`; `mean_difference`:
        of the smaller pictures' channels, of 255; `no_op`: whether almost nothing was changed, by `NO_OP_SHARE` and the
        other limits. `psnr` in dB, None for identical pictures. `ssim`, at most 1; None below 11 pixels.
        With a mask both also as `…_inside` and `…_outside`, and `mask_share`, the share of pixels inside, 0 to 1: where
        it leaves pixels on that side, `psnr` is None of identical ones. `shift`, `zoom`,
        `drift_confidence`, `drifted` as `Drift` has them. `size_changed`: whether the sizes in pixels differ;
        `shape_change`: by how much the aspect ratio does, as `shape_change` in shape.py; `stretched`: whether that is
        so much that the source was compared in another shape than its own.

    Raises:
        ValueError: the mask has another size.
    """
    if mask is not None and mask.shape != (edited.height, edited.width):
        raise ValueError(f"the mask has shape {mask.shape}, must be {(edited.height, edited.width)}")
    change = shape_change(source.size, edited.size)
    size_changed = source.size != edited.size
    if size_changed:
        source = source.resize(edited.size, Image.Resampling.LANCZOS)
    small = [_smaller(picture) for picture in (source, edited)]
    differences = np.abs(np.subtract(*(np.asarray(picture, np.int16) for picture in small)))
    largest, mean_difference = differences.max(axis=2), float(differences.mean())
    changed, strongly = (float((largest > limit).mean()) for limit in (THRESHOLD, STRONG))
    few = changed < NO_OP_SHARE and strongly < NO_OP_STRONG_SHARE
    greys = [np.asarray(picture.convert("L")) for picture in small]
    drift = measure_drift(*(grey.astype(np.float32) for grey in greys))
    return {
        "changed": round(changed, 5),
        "mean_difference": round(mean_difference, 3),
        "no_op": few and mean_difference < NO_OP_MEAN,
        **({} if mask is None else {"mask_share": float(mask.mean())}),
        **_psnr(np.asarray(source), np.asarray(edited), mask),
        **_ssim(greys[0], greys[1], mask),
        "shift": drift.shift and list(drift.shift),
        "zoom": drift.zoom,
        "drift_confidence": drift.confidence,
        "drifted": drift.drifted,
        "size_changed": size_changed,
        "shape_change": round(change, 4),
        "stretched": change > LIMIT,
    }


def _smaller(picture: Image.Image) -> Image.Image:
    factor = SIDE / min(picture.size)
    if factor >= 1:
        return picture
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BOX)


def _psnr(source: Bytes, edited: Bytes, mask: Mask | None) -> dict[str, float | None]:
    """Peak signal-to-noise ratio, 10 log10(255² / mean squared difference over pixels and channels), in dB."""
    squares = np.subtract(source, edited, dtype=np.float32)
    squares *= squares
    parts = {"psnr": squares}
    if mask is not None:
        parts |= {"psnr_inside": squares[mask], "psnr_outside": squares[~mask]}
    means = {name: float(part.mean(dtype=np.float64)) if part.size else 0.0 for name, part in parts.items()}
    return {name: round(10 * float(np.log10(255**2 / mean)), 3) if mean else None for name, mean in means.items()}


def _ssim(source: Bytes, edited: Bytes, mask: Mask | None) -> dict[str, float | None]:
    """Structural similarity (Wang et al. 2004, section III.B) of greys, with the authors' window and constants.

    That it is taken of smaller pictures is their advice, too: https://www.cns.nyu.edu/~lcv/ssim/, Usage.
    """
    names = ("ssim",) if mask is None else ("ssim", "ssim_inside", "ssim_outside")
    if min(source.shape) <= 2 * _SSIM_RADIUS:
        return dict.fromkeys(names)
    settings = {"gaussian_weights": True, "sigma": _SSIM_SIGMA, "use_sample_covariance": False}
    _, values = structural_similarity(source, edited, data_range=255, full=True, **settings)
    whole = (slice(_SSIM_RADIUS, -_SSIM_RADIUS),) * 2  # where the window lies within the picture
    parts = {"ssim": values[whole]}
    if mask is not None:
        resized = Image.fromarray(mask).resize(source.shape[::-1], Image.Resampling.NEAREST)
        inside = np.asarray(resized)[whole]
        parts |= {"ssim_inside": values[whole][inside], "ssim_outside": values[whole][~inside]}
    return {name: round(float(part.mean()), 5) if part.size else None for name, part in parts.items()}
