"""Drift on the demo's photos, moved and zoomed by known amounts: found where it can be, and not where it cannot."""

import functools
import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from running import CHECKOUT

from editbench.analysis.drift import MIN_CONFIDENCE, Drift, Motion, measure_drift
from editbench.images import decode_rgb

PHOTOS = ("chelsea.png", "rocket.jpg", "coffee.jpg", "black_canyon.jpg", "astronaut.jpg", "nagasaki_boats.jpg")
MOTIONS = ((1.0, 1.0, -0.5), (1.03, 0.5, -0.8), (0.95, -1.0, 1.0), (1.15, 3.0, 1.0))
UNMOVED = (1.0, 0.0, 0.0)


@functools.cache
def photo(name: str) -> Image.Image:
    """A photo with 384 pixels at the shorter side."""
    picture = decode_rgb((CHECKOUT / "data" / "demo" / "photos" / name).read_bytes())
    factor = 384 / min(picture.size)
    return picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.LANCZOS)


def move(picture: Image.Image, zoom: float, dx: float, dy: float) -> Image.Image:
    """Zoom about the centre, then shift by percent of the sides; mirrored pixels come in at the edges."""
    (width, height), margin = picture.size, max(picture.size) // 2
    padded = Image.fromarray(np.pad(np.asarray(picture), ((margin, margin), (margin, margin), (0, 0)), "reflect"))
    left = margin + width / 2 - (width / 2 + dx / 100 * width) / zoom
    top = margin + height / 2 - (height / 2 + dy / 100 * height) / zoom
    matrix = (1 / zoom, 0, left, 0, 1 / zoom, top)
    return padded.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def repaint(picture: Image.Image, other: Image.Image, share: float) -> Image.Image:
    """Put a part of another picture over a share of this one."""
    width, height = (round(side * share**0.5) for side in picture.size)
    edited = picture.copy()
    edited.paste(other.resize(picture.size).crop((0, 0, width, height)), (picture.width - width, 0))
    return edited


def encoded_again(picture: Image.Image) -> Image.Image:
    """As after an autoencoder and a JPEG: blurred, a little brighter, and with blocks."""
    softer = picture.filter(ImageFilter.GaussianBlur(0.8)).point(lambda value: min(255, round(1.02 * value + 2)))
    buffer = io.BytesIO()
    softer.save(buffer, "JPEG", quality=75)
    return Image.open(buffer).convert("RGB")


def drift(source: Image.Image, edited: Image.Image) -> Drift:
    greys = []
    for picture in (source, edited):
        factor = 256 / min(picture.size)
        size = (round(picture.width * factor), round(picture.height * factor))
        greys.append(np.asarray(picture.resize(size, Image.Resampling.BOX).convert("L"), np.float32))
    return measure_drift(*greys)


@pytest.mark.parametrize(("name", "motion"), list(itertools.product(PHOTOS, MOTIONS)))
def test_a_photo_that_was_moved_has_drifted_by_that_much(name, motion):
    zoom, dx, dy = motion
    found = drift(photo(name), encoded_again(move(photo(name), *motion)))
    assert found.drifted is True
    assert found.confidence > 0.6
    assert found.zoom == pytest.approx(zoom, abs=0.001)
    assert found.shift == pytest.approx((dx, dy), abs=0.1)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_that_was_only_encoded_again_has_not_drifted(name):
    found = drift(photo(name), encoded_again(photo(name)))
    assert found.drifted is False
    assert found.shift == pytest.approx((0, 0), abs=0.05)
    assert found.zoom == pytest.approx(1, abs=0.0005)


@pytest.mark.parametrize("motion", [UNMOVED, *MOTIONS])
def test_the_part_that_an_edit_has_left_tells_of_the_drift(motion):
    zoom, dx, dy = motion
    edited = encoded_again(repaint(move(photo("rocket.jpg"), *motion), photo("chelsea.png"), 0.4))
    found = drift(photo("rocket.jpg"), edited)
    assert found.drifted is (motion != UNMOVED)
    assert 0.25 < found.confidence < 0.75  # about what was left
    assert found.zoom == pytest.approx(zoom, abs=0.002)
    assert found.shift == pytest.approx((dx, dy), abs=0.2)


@pytest.mark.parametrize(("name", "share"), list(itertools.product(PHOTOS, [0.9, 1.0])))
def test_of_an_edit_that_repaints_most_of_the_picture_nothing_is_claimed(name, share):
    other = photo(PHOTOS[PHOTOS.index(name) - 1])
    found = drift(photo(name), repaint(photo(name), other, share))
    assert (found.shift, found.zoom, found.drifted) == (None, None, None)
    assert found.confidence < MIN_CONFIDENCE


@pytest.mark.parametrize("change", [ImageOps.mirror, ImageOps.flip], ids=["mirrored", "upside down"])
def test_of_a_mirrored_picture_nothing_is_claimed(change):
    assert drift(photo("chelsea.png"), change(photo("chelsea.png"))).drifted is None


def test_a_picture_made_dark_and_blue_has_not_drifted():
    night = Image.merge(
        "RGB",
        [band.point(lambda value: value // 3) for band in photo("coffee.jpg").split()[:2]]
        + [photo("coffee.jpg").split()[2].point(lambda value: value // 2)],
    )
    assert drift(photo("coffee.jpg"), night).drifted is False
    assert drift(photo("coffee.jpg"), move(night, 1.03, 0.5, 0.5)).drifted is True


def test_a_motion_within_the_limit_is_no_drift():
    source = photo("astronaut.jpg")
    assert drift(source, move(source, 1.0, 0.3, -0.3)).drifted is False
    assert drift(source, move(source, 1.0, 0.5, 0.0)).drifted is True
    assert drift(source, move(source, 1.006, 0.0, 0.0)).drifted is False  # the edges by 0.3 %
    assert drift(source, move(source, 1.01, 0.0, 0.0)).drifted is True


@pytest.mark.parametrize("shape", [(256, 256), (5, 7), (20, 300), (31, 31)])
def test_where_there_is_nothing_to_see_nothing_is_claimed(shape):
    flat = np.full(shape, 90, np.float32)
    noisy = np.random.default_rng(3).uniform(0, 255, shape).astype(np.float32)
    assert measure_drift(flat, noisy) == measure_drift(flat, flat + 1) == Drift(None, None, 0.0, None)
    assert measure_drift(noisy, noisy[::-1].copy()).drifted is None
    assert measure_drift(flat, flat) == Drift((0.0, 0.0), 1.0, 1.0, False)


def flat_scene(colour: str) -> Image.Image:
    """A few shapes on a plain ground, of which one can have another colour."""
    picture = Image.new("RGB", (256, 256), (180, 180, 180))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 244, 255, 255), fill=(135, 135, 135))
    pen.ellipse((76, 12, 116, 52), fill=colour)
    pen.rectangle((140, 140, 180, 180), fill="blue")
    pen.polygon([(32, 204), (54, 242), (10, 242)], fill="yellow")
    return picture


@pytest.mark.parametrize("seed", range(8))
def test_a_few_shapes_in_grain_do_not_make_a_drift(seed):
    """Of few blocks a good share agrees on something by chance."""
    grain = np.random.default_rng(seed).normal(0, 6, (64, 64, 1)).repeat(4, 0).repeat(4, 1)
    small = flat_scene("red").resize((64, 64), Image.Resampling.BOX).resize((256, 256), Image.Resampling.NEAREST)
    edited = Image.fromarray(np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8))
    assert not drift(flat_scene("green"), edited).drifted


def test_motions_follow_on_each_other():
    first, then = Motion(2.0, 3.0, -1.0), Motion(0.5, 1.0, 10.0)
    assert first.then(then) == Motion(1.0, 2.5, 9.5)  # p -> 2p + (3, -1) -> p + (1.5, -0.5) + (1, 10)
