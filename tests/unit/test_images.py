"""Decoding every mode and orientation, refusing what is no picture, and PNGs that depend on the pixels alone."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from editbench.config.schema import SourceConfig
from editbench.errors import InvalidOutputError
from editbench.images import check_edited, decode_rgb, encode_png

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def encode(image, file_format, **options):
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def pixels(image):
    return [image.getpixel((x, y)) for y in range(image.height) for x in range(image.width)]


def of_mode(mode, values):
    """One row of pixels."""
    image = Image.new(mode, (len(values), 1))
    for x, value in enumerate(values):
        image.putpixel((x, 0), value)
    return image


def palette_image(mode="P"):
    """Red, green, blue by palette."""
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    for x in range(3):
        image.putpixel((x, 0), x)
    return image if mode == "P" else image.convert(mode)


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header_only(width, height):
    """A PNG that claims a size and holds no pixels, so that decoding it would fail in another way."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"")) + png_chunk(b"IEND", b"")


LOSSLESS = {
    "1": (encode(of_mode("1", [0, 1]), "PNG"), [BLACK, WHITE]),
    "L": (encode(of_mode("L", [0, 77, 255]), "PNG"), [BLACK, (77, 77, 77), WHITE]),
    "L with a transparent grey": (encode(of_mode("L", [0, 77]), "PNG", transparency=0), [WHITE, (77, 77, 77)]),
    "LA": (encode(of_mode("LA", [(0, 255), (0, 0), (0, 51)]), "PNG"), [BLACK, WHITE, (204, 204, 204)]),
    "P": (encode(palette_image(), "PNG"), [RED, GREEN, BLUE]),
    "P with a transparent index": (encode(palette_image(), "PNG", transparency=1), [RED, WHITE, BLUE]),
    "P with an alpha per index": (
        encode(palette_image(), "PNG", transparency=bytes([255, 0, 51])),
        [RED, WHITE, (204, 204, 255)],
    ),
    "PA": (encode(palette_image("PA"), "TIFF"), [RED, GREEN, BLUE]),
    "RGB": (encode(of_mode("RGB", [RED, (1, 2, 3)]), "PNG"), [RED, (1, 2, 3)]),
    "RGB with a transparent colour": (encode(of_mode("RGB", [RED, BLUE]), "PNG", transparency=RED), [WHITE, BLUE]),
    "RGBA": (
        encode(of_mode("RGBA", [(*RED, 255), (*RED, 0), (*RED, 51)]), "PNG"),
        [RED, WHITE, (255, 204, 204)],
    ),
    "RGBX": (encode(of_mode("RGBX", [(1, 2, 3, 0)]), "TIFF"), [(1, 2, 3)]),
    "CMYK TIFF": (encode(of_mode("CMYK", [(0, 0, 0, 0), (0, 255, 255, 0)]), "TIFF"), [WHITE, RED]),
    "16-bit PNG": (encode(of_mode("I;16", [0, 32896, 65535]), "PNG"), [BLACK, (128, 128, 128), WHITE]),
    "dark 16-bit PNG": (encode(of_mode("I;16", [0, 257, 200]), "PNG"), [BLACK, (1, 1, 1), (1, 1, 1)]),
    "16-bit TIFF": (encode(of_mode("I;16", [0, 65535]), "TIFF"), [BLACK, WHITE]),
    "32-bit TIFF": (encode(of_mode("I", [0, 65535]), "TIFF"), [BLACK, WHITE]),
    "32-bit TIFF of 8-bit values": (encode(of_mode("I", [0, 51, 255]), "TIFF"), [BLACK, (51, 51, 51), WHITE]),
    "32-bit TIFF below and above": (encode(of_mode("I", [-5, 70000, 65535]), "TIFF"), [BLACK, WHITE, WHITE]),
    "float TIFF from 0 to 1": (encode(of_mode("F", [0.0, 0.2, 1.0]), "TIFF"), [BLACK, (51, 51, 51), WHITE]),
    "float TIFF to 255": (encode(of_mode("F", [-1.0, 51.0, 255.0]), "TIFF"), [BLACK, (51, 51, 51), WHITE]),
    "black float TIFF": (encode(of_mode("F", [0.0]), "TIFF"), [BLACK]),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_every_mode_becomes_rgb_with_the_pixels_a_person_would_expect(name):
    data, expected = LOSSLESS[name]
    image = decode_rgb(data)
    assert image.mode == "RGB"
    assert pixels(image) == expected


@pytest.mark.parametrize(
    ("mode", "file_format", "value", "expected"),
    [
        ("CMYK", "JPEG", (0, 255, 255, 0), RED),
        ("YCbCr", "JPEG", (76, 85, 255), RED),
        ("YCbCr", "TIFF", (76, 85, 255), RED),
        ("L", "JPEG", 77, (77, 77, 77)),
        ("LAB", "TIFF", (255, 128, 128), WHITE),
        ("RGB", "WEBP", BLUE, BLUE),
    ],
)
def test_lossy_formats_and_colour_spaces_become_rgb_within_a_few_steps(mode, file_format, value, expected):
    image = decode_rgb(encode(Image.new(mode, (16, 16), value), file_format))
    assert (image.mode, image.size) == ("RGB", (16, 16))
    assert np.abs(np.asarray(image, dtype=int) - expected).max() <= 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_float_image_with_a_value_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="not finite"):
        decode_rgb(encode(of_mode("F", [0.5, value]), "TIFF"))


# What a camera stores for each EXIF orientation, so that the picture shown is: red green / blue white.
STORED = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [GREEN, WHITE, RED, BLUE],
    7: [WHITE, GREEN, BLUE, RED],
    8: [BLUE, RED, WHITE, GREEN],
}


@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_comes_out_upright(orientation):
    stored = Image.new("RGB", (2, 2))
    stored.putdata(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_rgb(encode(stored, "PNG", exif=exif.tobytes()))
    assert pixels(image) == [RED, GREEN, BLUE, WHITE]
    assert encode_png(image) == encode_png(decode_rgb(encode_png(image)))  # not turned a second time


@pytest.mark.parametrize(("orientation", "size"), [(1, (32, 16)), (3, (32, 16)), (6, (16, 32)), (8, (16, 32))])
def test_a_turned_jpeg_has_its_upright_size(orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode_rgb(encode(Image.new("RGB", (32, 16)), "JPEG", exif=exif.tobytes())).size == size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0"])
def test_broken_exif_does_not_cost_the_picture(exif):
    assert decode_rgb(encode(Image.new("RGB", (32, 16)), "JPEG", exif=exif)).size == (32, 16)


def test_an_animated_gif_gives_its_first_frame():
    first, second = Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), BLUE)
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert set(pixels(decode_rgb(data))) == {RED}


def photo(size=(64, 48)):
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(file_format, kept):
    data = encode(photo(), file_format)
    assert decode_rgb(data).size == (64, 48)
    with pytest.raises(ValueError):
        decode_rgb(data[: int(len(data) * kept)])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"\0" * 1000, "no readable image"),
        (b"this is a text file\n" * 20, "no readable image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no readable image"),
        (b"\x89PNG\r\n\x1a\n", "no readable image"),
        (b"\xff\xd8\xff", "no readable image"),
    ],
)
def test_what_is_no_image_is_refused(data, says):
    with pytest.raises(ValueError, match=says):
        decode_rgb(data)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM", b"\xff\xd8\xff"])
)
def test_any_bytes_give_an_rgb_image_or_a_value_error(data, magic):
    try:
        image = decode_rgb(magic + data)
    except ValueError:
        return
    assert image.mode == "RGB"


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ((10_001, 10_000), r"10001x10000 pixels; source.max_megapixels=100.0 are accepted"),
        ((100_001, 1_000), "100001x1000 pixels"),
        ((20_000, 20_000), "20000x20000 pixels"),
    ],
)
def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch, size, says):
    def fail(*_args):
        raise AssertionError("the pixels were decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match=says):
        decode_rgb(png_header_only(*size), SourceConfig())


@pytest.mark.parametrize("file_format", [*SourceConfig().formats, "MPO"])
def test_every_format_of_the_configuration_is_read_within_the_limits(file_format):
    if file_format not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {file_format}")
    frames = {"save_all": True, "append_images": [photo()]} if file_format in ("MPO", "GIF") else {}
    data = encode(photo(), file_format, **frames)
    assert decode_rgb(data, SourceConfig()).size == (64, 48)
    with pytest.raises(ValueError, match=r"no readable image \(source\.formats accepts"):
        decode_rgb(data, SourceConfig(formats=["ICO", "a format that Pillow does not know"]))


def test_the_limits_are_those_of_the_configuration():
    data = encode(Image.new("RGB", (30, 20), RED), "PNG")
    assert decode_rgb(data, SourceConfig(max_megapixels=0.0006)).size == (30, 20)
    with pytest.raises(ValueError, match=r"30x20 pixels; source\.max_megapixels=0\.0005"):
        decode_rgb(data, SourceConfig(max_megapixels=0.0005))
    with pytest.raises(ValueError, match=rf"{len(data)} bytes; source.max_mib=1e-05"):
        decode_rgb(data, SourceConfig(max_mib=0.00001))
    with pytest.raises(ValueError, match=r"no readable image \(source.formats accepts JPEG\)"):
        decode_rgb(data, SourceConfig(formats=["JPEG"]))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (2000, 40)])
def test_small_and_long_sources_are_read(size):
    assert decode_rgb(encode(Image.new("RGB", size, RED), "PNG")).size == size


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (Image.new("RGB", (8, 8), (1, 2, 3)), r"colour \(1, 2, 3\)"),
        (Image.new("RGB", (8, 8)), r"colour \(0, 0, 0\)"),
        (Image.new("RGB", (1, 1), RED), "every pixel"),
        (Image.new("RGB", (0, 5)), "0x5 pixels"),
        (Image.new("RGBA", (8, 8)), "mode RGBA"),
        (Image.new("L", (8, 8)), "mode L"),
    ],
)
def test_an_output_that_cannot_be_an_edited_picture_is_refused(image, says):
    with pytest.raises(InvalidOutputError, match=says):
        check_edited(image)


@pytest.mark.parametrize("second", [(1, 2, 4), (1, 3, 3), (0, 2, 3)])
def test_one_pixel_that_differs_in_one_channel_makes_an_output_valid(second):
    image = Image.new("RGB", (8, 8), (1, 2, 3))
    image.putpixel((7, 7), second)
    check_edited(image)


def test_the_same_pixels_give_the_same_png_bytes_whatever_the_image_carries():
    plain = photo()
    laden = decode_rgb(encode(plain, "PNG", dpi=(300, 300), icc_profile=b"profile", pnginfo=None))
    laden.info["comment"] = "made by"
    exif = Image.Exif()
    exif[0x0131] = "software"
    with_exif = decode_rgb(encode(plain, "PNG", exif=exif.tobytes()))
    assert encode_png(plain) == encode_png(laden) == encode_png(with_exif) == encode_png(plain.copy())
    changed = plain.copy()
    changed.putpixel((0, 0), tuple(255 - value for value in plain.getpixel((0, 0))))
    assert encode_png(changed) != encode_png(plain)


def test_what_pillow_does_not_know_is_said_without_the_address_of_an_object():
    with pytest.raises(ValueError, match=r"the 4 bytes are no readable image: it is no image that Pillow knows$"):
        decode_rgb(b"text")


def test_a_png_holds_nothing_but_pixels():
    data = encode_png(photo())
    kinds, at = [], 8
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kinds.append(data[at + 4 : at + 8])
        at += 12 + length
    assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}


@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_png_round_trip_keeps_every_pixel(width, height, random):
    array = np.frombuffer(random.randbytes(width * height * 3), dtype=np.uint8).reshape(height, width, 3)
    decoded = decode_rgb(encode_png(Image.fromarray(array)))
    assert np.array_equal(np.asarray(decoded), array)
