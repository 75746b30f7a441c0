"""What the pixels say, on pictures of which it can be worked out by hand."""

import io
import math

import numpy as np
import pytest
from PIL import Image, ImageOps
from running import CHECKOUT
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from editbench.analysis.pixel_rates import summarize_pixels
from editbench.analysis.pixels import measure

GRAY = Image.new("RGB", (256, 256), (128, 128, 128))
PHOTOS = CHECKOUT / "data" / "demo" / "photos"


def noise(number: int, size=(64, 48)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8))


def square(picture: Image.Image, colour, box) -> Image.Image:
    changed = picture.copy()
    changed.paste(colour, box)
    return changed


def test_of_an_identical_picture_everything_is_kept():
    assert measure(noise(1), noise(1)) == {
        "changed": 0.0,
        "mean_difference": 0.0,
        "no_op": True,
        "psnr": None,
        "ssim": 1.0,
        "shift": [0.0, 0.0],
        "zoom": 1.0,
        "drift_confidence": 1.0,
        "drifted": False,
        "size_changed": False,
        "shape_change": 0.0,
        "stretched": False,
    }


@pytest.mark.parametrize(
    ("difference", "changed", "psnr"),
    [
        (16, 0.0, 20 * math.log10(255 / 16) + 10 * math.log10(3)),  # one channel of three differs
        (17, 1.0, 20 * math.log10(255 / 17) + 10 * math.log10(3)),
        (255, 1.0, 10 * math.log10(3)),
    ],
)
def test_a_pixel_has_changed_if_a_channel_differs_by_more_than_16(difference, changed, psnr):
    figures = measure(Image.new("RGB", (40, 30)), Image.new("RGB", (40, 30), (0, difference, 0)))
    assert figures["changed"] == changed
    assert figures["psnr"] == pytest.approx(psnr, abs=0.001)


@pytest.mark.parametrize(("side", "by", "no_op"), [(11, 40, True), (12, 40, False), (5, 127, True), (6, 127, False)])
def test_how_large_a_spot_of_256_pixels_must_be_for_an_edit(side, by, no_op):
    figures = measure(GRAY, square(GRAY, (128 + by, 128, 128), (0, 0, side, side)))
    assert figures["changed"] == pytest.approx(side**2 / 256**2, abs=1e-5)
    assert figures["no_op"] is no_op


@pytest.mark.parametrize(("by", "no_op"), [(3, True), (5, False), (15, False)])
def test_a_picture_that_is_brighter_as_a_whole_is_an_edit(by, no_op):
    figures = measure(GRAY, Image.new("RGB", (256, 256), (128 + by,) * 3))
    assert (figures["changed"], figures["mean_difference"], figures["no_op"]) == (0.0, by, no_op)


def test_a_small_inverted_patch_of_a_photo_is_an_edit_and_a_jpeg_of_it_is_none():
    for path in sorted(PHOTOS.glob("*.jpg"))[:6]:
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        again = io.BytesIO()
        photo.save(again, "JPEG", quality=95)
        assert measure(photo, Image.open(again).convert("RGB"))["no_op"] is True, path.name
        side = round(27 * photo.height / 640)
        box = (100, 100, 100 + side, 100 + side)
        assert measure(photo, square(photo, ImageOps.invert(photo.crop(box)), box))["no_op"] is False, path.name


def test_grain_of_single_pixels_is_no_edit():
    grain = np.random.default_rng(0).normal(0, 12, (1024, 1024, 3))
    gray = Image.new("RGB", (1024, 1024), "gray")
    figures = measure(gray, Image.fromarray(np.clip(128 + grain, 0, 255).astype(np.uint8)))
    assert figures["no_op"] is True
    assert figures["psnr"] == pytest.approx(20 * math.log10(255 / 12), abs=0.1)


def test_psnr_and_ssim_are_those_of_scikit_image():
    source, edited = noise(1), Image.blend(noise(1), noise(2), 0.3)
    figures = measure(source, edited)
    first, second = np.asarray(source), np.asarray(edited)
    assert figures["psnr"] == pytest.approx(peak_signal_noise_ratio(first, second, data_range=255), abs=0.001)
    greys = [np.asarray(picture.convert("L")) for picture in (source, edited)]
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert figures["ssim"] == pytest.approx(structural_similarity(*greys, **wang), abs=1e-5)


def test_inside_and_outside_a_mask():
    source = noise(1)
    edited = square(source, "white", (0, 0, 32, 48))
    mask = np.zeros((48, 64), np.bool_)
    mask[:, :32] = True
    figures = measure(source, edited, mask)
    assert figures["psnr_outside"] is None  # identical
    assert figures["psnr_inside"] == pytest.approx(figures["psnr"] - 10 * math.log10(2), abs=0.002)
    assert figures["ssim_inside"] < 0.2 < 0.8 < figures["ssim_outside"]


@pytest.mark.parametrize(("value", "without"), [(True, "outside"), (False, "inside")])
def test_a_mask_without_an_inside_or_an_outside(value, without):
    figures = measure(noise(1), noise(2), np.full((48, 64), value))
    other = {"inside": "outside", "outside": "inside"}[without]
    assert figures[f"psnr_{without}"] is figures[f"ssim_{without}"] is None
    assert figures[f"psnr_{other}"] == figures["psnr"]
    assert figures[f"ssim_{other}"] == figures["ssim"]


def test_a_mask_of_another_size_is_an_error():
    with pytest.raises(ValueError, match=r"\(64, 48\), must be \(48, 64\)"):
        measure(noise(1), noise(1), np.zeros((64, 48), np.bool_))


def test_a_source_of_another_size_is_resized_and_that_is_told():
    large = noise(1).resize((640, 480), Image.Resampling.BICUBIC)
    figures = measure(large, large.resize((320, 240), Image.Resampling.LANCZOS))
    assert (figures["size_changed"], figures["shape_change"], figures["stretched"]) == (True, 0.0, False)
    assert (figures["psnr"], figures["no_op"]) == (None, True)  # by the same filter it is the same picture


@pytest.mark.parametrize(
    ("size", "change", "stretched"), [((64, 46), 0.0435, False), ((48, 48), 0.3333, True), ((64, 24), 1.0, True)]
)
def test_an_edit_of_another_shape_is_compared_with_the_stretched_source(size, change, stretched):
    figures = measure(noise(1), noise(1).resize(size))
    assert figures["size_changed"] is True
    assert figures["shape_change"] == pytest.approx(change, abs=1e-4)
    assert figures["stretched"] is stretched


@pytest.mark.parametrize("size", [(1, 1), (10, 300), (3000, 2)])
def test_pictures_too_small_for_a_window_have_no_ssim(size):
    figures = measure(Image.new("RGB", size, "red"), Image.new("RGB", size, "blue"))
    assert figures["ssim"] is None
    assert (figures["changed"], figures["drifted"]) == (1.0, None)


def figures_of(**given):
    known = {"no_op": False, "drifted": False, "psnr": 20.0, "ssim": 0.5, "changed": 0.4}
    return known | {"shift": [0.0, 0.0], "zoom": 1.0, "size_changed": False, "stretched": False} | given


def test_what_many_edits_say():
    summary = summarize_pixels(
        [
            figures_of(no_op=True, psnr=None, ssim=1.0, changed=0.0),
            None,
            figures_of(drifted=None, psnr=10.0, ssim=None, changed=0.8),
            figures_of(drifted=True),
        ]
    )
    assert (summary["n"], summary["psnr"], summary["ssim"], summary["changed"]) == (3, 20.0, 0.75, 0.4)
    assert {key: summary["no_op"][key] for key in ("count", "of")} == {"count": 1, "of": 3}
    assert {key: summary["drifted"][key] for key in ("count", "of")} == {"count": 1, "of": 2}
    assert summary["no_op"]["interval"] == pytest.approx([0.0615, 0.7923], abs=1e-4)  # Wilson, 1 of 3


def test_shift_and_zoom_are_of_those_that_drifted_and_sizes_of_all():
    summary = summarize_pixels(
        [
            figures_of(drifted=True, shift=[0.5, -2.0], zoom=1.02, size_changed=True, stretched=True),
            figures_of(drifted=True, shift=[1.0, 0.0], zoom=1.04, size_changed=True),
            figures_of(drifted=True, shift=[-4.0, 1.0], zoom=0.98),
            figures_of(shift=[0.1, 0.1], zoom=0.999),
            figures_of(drifted=None, shift=None, zoom=None),
        ]
    )
    assert (summary["drift_shift"], summary["drift_zoom"]) == (2.0, 1.02)
    assert (summary["size_changed"]["count"], summary["shape_changed"]["count"]) == (2, 1)
    assert summary["size_changed"]["of"] == summary["shape_changed"]["of"] == 5
    nothing = summarize_pixels([figures_of()])
    assert (nothing["drift_shift"], nothing["drift_zoom"]) == (None, None)


def test_where_most_edits_are_identical_there_is_no_median_psnr():
    assert summarize_pixels([figures_of(psnr=None), figures_of(psnr=None), figures_of()])["psnr"] is None


def test_of_nothing_measured_there_is_no_summary():
    assert summarize_pixels([None, None]) is summarize_pixels([]) is None


def test_drift_that_is_never_known_has_no_rate():
    drifted = summarize_pixels([figures_of(drifted=None)])["drifted"]
    assert drifted == {"count": 0, "of": 0, "rate": None, "interval": None}
