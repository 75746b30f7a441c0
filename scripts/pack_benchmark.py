"""Make one benchmark file out of a records file and a folder of photos.

Usage::

    python scripts/pack_benchmark.py data/demo/records.json data/demo/demo.json

The records file is a JSON list. Every record names its photo in ``original_image_path``, relative to the
folder of the records file, and may name a picture of a correct result in ``reference_image_path``. The output is the
same list with each photo added as ``src_img_b64`` and such a picture as ``reference_img_b64``; the other fields are
copied. Colours are not converted, so photos should be sRGB. Messages count records from 0.
"""

import argparse
import base64
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

Record = dict[str, Any]

NEEDED = ("subset", "original_image_path")
NEEDED_IN_A_LANGUAGE = ("original_description", "edit_instruction")
EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "La", "CMYK", "YCbCr")
PHOTO_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class PackError(Exception):
    """A mistake in the input, told to the user in one sentence."""


def read_records(path: Path) -> list[Record]:
    """Read the records file, which holds no images and so fits in memory.

    Args:
        path: The records file.

    Returns:
        The records, in the order of the file.

    Raises:
        PackError: If the file cannot be read or is not a JSON list of objects.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise PackError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise PackError(f"{path}: is not UTF-8 JSON ({error}).") from error
    if not isinstance(records, list) or not records:
        raise PackError(f"{path}: must be a JSON list with at least one record.")
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise PackError(f"{path}: record {index} is not a JSON object.")
    return records


def has_text(record: Record, field: str) -> bool:
    """Tell whether a field is there and holds more than blanks."""
    value = record.get(field)
    return isinstance(value, str) and bool(value.strip())


def check_records(path: Path, records: list[Record]) -> None:
    """Check all records before anything is written.

    A description and an instruction are needed in at least one language.

    Args:
        path: The records file.
        records: Its records.

    Raises:
        PackError: At the first record with a missing field, a missing photo or an id that was seen before.
    """
    seen: dict[str, int] = {}
    for index, record in enumerate(records):
        missing = [field for field in NEEDED if not has_text(record, field)]
        for field in NEEDED_IN_A_LANGUAGE:
            if not has_text(record, field) and not has_text(record, f"{field}_en"):
                missing.append(f"{field} (or {field}_en)")
        if missing:
            raise PackError(f"{path}: record {index} lacks {', '.join(missing)}.")
        photo = path.parent / record["original_image_path"]
        if not photo.is_file():
            raise PackError(f"{path}: record {index} names the photo {photo}, which does not exist.")
        reference = reference_of(path, record)
        if reference is not None and not reference.is_file():
            raise PackError(f"{path}: record {index} names the reference {reference}, which does not exist.")
        if photo.stem in seen:
            first = seen[photo.stem]
            raise PackError(f"{path}: record {index} has the same id '{photo.stem}' as record {first}.")
        seen[photo.stem] = index


def reference_of(path: Path, record: Record) -> Path | None:
    """The file of a record's reference; None without one that is to be packed."""
    named = has_text(record, "reference_image_path") and not has_text(record, "reference_img_b64")
    return path.parent / record["reference_image_path"] if named else None


def to_rgb(image: Image.Image) -> Image.Image:
    """Turn a photo upright by its EXIF tag and make it 8-bit RGB, with white behind transparent parts.

    Args:
        image: The opened photo.

    Returns:
        A new image whose pixels look right without the EXIF tag.

    Raises:
        ValueError: If the photo has more than 8 bits a channel.
    """
    if image.mode not in EIGHT_BIT_MODES:
        raise ValueError(f"its pixel mode is {image.mode}, save it with 8 bits a channel first")
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def encode_photo(photo: Path, keep_encoding: bool) -> str:
    """Encode one photo for ``src_img_b64``.

    Args:
        photo: The photo file.
        keep_encoding: Embed the file's own bytes as a data URI, in place of a new RGB PNG.

    Returns:
        Plain base64 of a PNG, or a data URI.
    """
    with Image.open(photo) as image:
        image.load()
        if keep_encoding:
            # Phones write JPEGs with a second picture inside, which Pillow calls MPO.
            mime = "image/jpeg" if image.format == "MPO" else image.get_format_mimetype()
            return f"data:{mime};base64,{base64.b64encode(photo.read_bytes()).decode('ascii')}"
        png = io.BytesIO()
        to_rgb(image).save(png, format="PNG", icc_profile=None)
    return base64.b64encode(png.getvalue()).decode("ascii")


def packed_lines(path: Path, records: list[Record], keep_encoding: bool) -> Iterator[str]:
    """Yield the output's text record by record, so that only one photo is in memory.

    Args:
        path: The records file.
        records: Its checked records.
        keep_encoding: See `encode_photo`.

    Yields:
        Pieces of text which together are the JSON list, one record on a line.

    Raises:
        PackError: If a photo cannot be decoded.
    """
    for index, record in enumerate(records):
        files = {
            "src_img_b64": path.parent / record["original_image_path"],
            "reference_img_b64": reference_of(path, record),
        }
        packed = dict(record)
        for field, photo in files.items():
            try:
                packed |= {field: encode_photo(photo, keep_encoding)} if photo else {}
            except PHOTO_ERRORS as error:
                raise PackError(f"{path}: record {index}: the photo {photo} cannot be used: {error}.") from error
        yield "[\n" if index == 0 else ",\n"
        yield json.dumps(packed, ensure_ascii=False)
    yield "\n]\n"


def write_atomically(path: Path, pieces: Iterator[str]) -> None:
    """Write a file that appears under its name only when it is complete.

    Args:
        path: The file to write; an older one is replaced.
        pieces: Its text.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            for piece in pieces:
                stream.write(piece)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def pack(source: Path, target: Path, keep_encoding: bool = False) -> int:
    """Read the records, check them and write the benchmark file.

    Args:
        source: The records file.
        target: The benchmark file to write.
        keep_encoding: See `encode_photo`.

    Returns:
        The number of records written.

    Raises:
        PackError: If the input is wrong or the output cannot be written; no output is left then.
    """
    records = read_records(source)
    check_records(source, records)
    if target.exists() and target.samefile(source):
        raise PackError(f"{target}: is the records file itself, choose another output.")
    try:
        write_atomically(target, packed_lines(source, records, keep_encoding))
    except OSError as error:
        raise PackError(f"{target}: cannot be written ({error.strerror}).") from error
    return len(records)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The exit code: 0, or 2 after a mistake in the input.
    """
    parser = argparse.ArgumentParser(description="Pack a records file and its photos into one benchmark file.")
    parser.add_argument("records", type=Path, help="JSON list; photos are named relative to its folder")
    parser.add_argument("output", type=Path, help="benchmark file to write")
    parser.add_argument(
        "--keep-encoding",
        action="store_true",
        help="embed each photo's own bytes as a data URI (smaller; EXIF rotation is left as it is)",
    )
    options = parser.parse_args(argv)
    try:
        count = pack(options.records, options.output, options.keep_encoding)
    except PackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    megabytes = options.output.stat().st_size / 1e6
    print(f"{options.output}: {count} records, {megabytes:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
