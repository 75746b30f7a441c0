"""Tests of ``scripts/pack_benchmark.py`` and of the records it packs for the demo."""

import base64
import importlib.util
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "pack_benchmark.py"
DEMO = ROOT / "data" / "demo"
CATEGORIES = {
    "物理": "physical",
    "环境": "environmental",
    "environment": "environmental",
    "社会": "social",
    "因果": "causal",
    "指代": "referential",
}
TEXTS = ("original_description", "edit_instruction", "rationale_short")


def load_script() -> ModuleType:
    """Import the script from its path, since ``scripts`` is not a package."""
    spec = importlib.util.spec_from_file_location("pack_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pack_benchmark = load_script()


def record(photo: str, **changes: Any) -> dict[str, Any]:
    """Return a small record for one photo."""
    fields = {
        "subset": "物理",
        "original_description_en": "A square.",
        "edit_instruction": "把方块放到地上。",
        "original_image_path": photo,
    }
    return {**fields, **changes}


def write_records(folder: Path, records: Any) -> Path:
    """Write a records file and return its path."""
    path = folder / "records.json"
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return path


def make_photo(path: Path, size: tuple[int, int] = (6, 4), **options: Any) -> Image.Image:
    """Write a photo whose pixels all differ and return it."""
    image = Image.new("RGB", size)
    image.putdata([(7 * i % 256, 11 * i % 256, 13 * i % 256) for i in range(size[0] * size[1])])
    image.save(path, **options)
    return image


def decode(text: str) -> Image.Image:
    """Open the image in a ``src_img_b64`` value."""
    payload = text.partition(",")[2] if text.startswith("data:") else text
    image = Image.open(io.BytesIO(base64.b64decode(payload, validate=True)))
    image.load()
    return image


def pack(records_file: Path, *options: str) -> list[dict[str, Any]]:
    """Run the script's main function and read its output back."""
    output = records_file.with_name("out.json")
    assert pack_benchmark.main([str(records_file), str(output), *options]) == 0
    return json.loads(output.read_text(encoding="utf-8"))


def test_round_trip_keeps_pixels_fields_and_order(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    images = [make_photo(tmp_path / "photos" / f"{name}.png", (5 + i, 4)) for i, name in enumerate("cab")]
    records = [record(f"photos/{name}.png", seed=i, extra=["留下"]) for i, name in enumerate("cab")]
    packed = pack(write_records(tmp_path, records))
    assert [{k: v for k, v in item.items() if k != "src_img_b64"} for item in packed] == records
    for item, image in zip(packed, images, strict=True):
        png = decode(item["src_img_b64"])
        assert (png.format, png.mode, png.size) == ("PNG", "RGB", image.size)
        assert png.tobytes() == image.tobytes()


def test_output_is_utf8_with_one_record_a_line(tmp_path: Path) -> None:
    for name in "ab":
        make_photo(tmp_path / f"{name}.png")
    pack(write_records(tmp_path, [record("a.png"), record("b.png")]))
    lines = (tmp_path / "out.json").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert "物理" in lines[1]


def test_keep_encoding_embeds_the_bytes_of_the_file(tmp_path: Path) -> None:
    make_photo(tmp_path / "a.jpg", quality=80)
    make_photo(tmp_path / "b.png")
    packed = pack(write_records(tmp_path, [record("a.jpg"), record("b.png")]), "--keep-encoding")
    for item, mime, name in zip(packed, ("image/jpeg", "image/png"), ("a.jpg", "b.png"), strict=True):
        head, _, payload = item["src_img_b64"].partition(",")
        assert head == f"data:{mime};base64"
        assert base64.b64decode(payload, validate=True) == (tmp_path / name).read_bytes()


def test_a_reference_is_packed_beside_its_photo(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2), "red").save(tmp_path / "a.png")
    Image.new("RGB", (3, 2), "blue").save(tmp_path / "wanted.png")
    named = record("a.png", reference_image_path="wanted.png")
    assert pack_benchmark.pack(write_records(tmp_path, [named]), tmp_path / "out.json") == 1
    (packed,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    with Image.open(io.BytesIO(base64.b64decode(packed["reference_img_b64"]))) as image:
        assert image.getpixel((0, 0)) == (0, 0, 255)
    (tmp_path / "wanted.png").unlink()
    with pytest.raises(pack_benchmark.PackError, match=r"record 0 names the reference .*wanted\.png, which does not"):
        pack_benchmark.pack(tmp_path / "records.json", tmp_path / "out.json")


def test_exif_rotated_photo_comes_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = make_photo(tmp_path / "a.png", (6, 4), exif=exif)
    png = decode(pack(write_records(tmp_path, [record("a.png")]))[0]["src_img_b64"])
    assert png.size == (4, 6)
    assert png.tobytes() == image.transpose(Image.Transpose.ROTATE_270).tobytes()
    assert not png.getexif()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_pixel_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    name = "a.tif" if mode == "CMYK" else "a.png"
    Image.new("RGB", (3, 3), "white").convert(mode).save(tmp_path / name)
    png = decode(pack(write_records(tmp_path, [record(name)]))[0]["src_img_b64"])
    assert png.mode == "RGB"
    assert png.getpixel((1, 1)) == (255, 255, 255)


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    Image.new("RGBA", (3, 3), (0, 0, 0, 0)).save(tmp_path / "a.png")
    png = decode(pack(write_records(tmp_path, [record("a.png")]))[0]["src_img_b64"])
    assert png.getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([record("a.png"), record("gone.png")], ["record 1", "gone.png", "does not exist"]),
        ([record("a.png"), record("sub/a.png")], ["record 1", "same id 'a'", "record 0"]),
        ([record("a.png", subset=" ")], ["record 0", "lacks subset"]),
        ([record("a.png", edit_instruction=None)], ["record 0", "edit_instruction (or edit_instruction_en)"]),
        ([record("a.png", original_image_path=3)], ["record 0", "original_image_path"]),
        ([record("a.png"), "text"], ["record 1", "not a JSON object"]),
        ([record("a.png"), record("broken.png")], ["record 1", "broken.png", "cannot be used"]),
        ([record("deep.png")], ["record 0", "8 bits a channel"]),
        ({"physical": []}, ["JSON list"]),
        ([], ["at least one record"]),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], records: Any, words: list[str]
) -> None:
    (tmp_path / "sub").mkdir()
    make_photo(tmp_path / "a.png")
    make_photo(tmp_path / "sub" / "a.png")
    make_photo(tmp_path / "broken.png", (50, 50))
    (tmp_path / "broken.png").write_bytes((tmp_path / "broken.png").read_bytes()[:200])
    Image.new("I;16", (3, 3)).save(tmp_path / "deep.png")
    source = write_records(tmp_path, records)
    output = tmp_path / "out.json"
    output.write_text("older", encoding="utf-8")
    assert pack_benchmark.main([str(source), str(output)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert all(word in message for word in [str(source), *words])
    assert output.read_text(encoding="utf-8") == "older"
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("text", ["{", "\udcff"])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    source = tmp_path / "records.json"
    source.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert pack_benchmark.main([str(source), str(tmp_path / "out.json")]) == 2
    assert "is not UTF-8 JSON" in capsys.readouterr().err


def test_the_records_file_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_photo(tmp_path / "a.png")
    source = write_records(tmp_path, [record("a.png")])
    before = source.read_bytes()
    assert pack_benchmark.main([str(source), str(source)]) == 2
    assert "choose another output" in capsys.readouterr().err
    assert source.read_bytes() == before


def test_an_output_folder_that_is_missing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_photo(tmp_path / "a.png")
    source = write_records(tmp_path, [record("a.png")])
    assert pack_benchmark.main([str(source), str(tmp_path / "none" / "out.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_only_one_photo_is_held_at_a_time(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        make_photo(tmp_path / name)
    pieces = pack_benchmark.packed_lines(tmp_path / "records.json", [record(name) for name in names], False)
    text = next(pieces) + next(pieces)
    (tmp_path / "c.png").unlink()
    assert "a.png" in text and "b.png" not in text
    with pytest.raises(pack_benchmark.PackError, match="record 2"):
        list(pieces)


def test_the_command_exits_with_2_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path / "none.json"), str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "none.json: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


def demo_records() -> list[dict[str, Any]]:
    """Return the records that the project ships."""
    return json.loads((DEMO / "records.json").read_text(encoding="utf-8"))


def test_demo_has_enough_records_of_every_category() -> None:
    records = demo_records()
    counts = Counter(CATEGORIES.get(item["subset"], item["subset"]) for item in records)
    assert len(records) >= 10
    assert set(counts) == set(CATEGORIES.values())
    assert min(counts.values()) >= 2
    named_in_chinese = [not item["subset"].isascii() for item in records]
    assert any(named_in_chinese) and not all(named_in_chinese)


def test_demo_records_are_complete_in_both_languages() -> None:
    for item in demo_records():
        assert set(item) == {
            *("subset", "tags", "difficulty", "original_image_path", "seed"),
            *TEXTS,
            *(f"{field}_en" for field in TEXTS),
        }
        for field in TEXTS:
            assert any("\u4e00" <= letter <= "\u9fff" for letter in item[field])
            assert item[f"{field}_en"].strip() and item[f"{field}_en"].isascii()
        assert item["difficulty"] in ("easy", "medium", "hard")
        assert isinstance(item["seed"], int)
        assert item["tags"] and all(isinstance(tag, str) for tag in item["tags"])


def test_demo_photos_are_small_unique_and_credited() -> None:
    paths = [item["original_image_path"] for item in demo_records()]
    assert len({Path(path).stem for path in paths}) == len(paths)
    assert sorted(f"photos/{file.name}" for file in (DEMO / "photos").iterdir()) == sorted(paths)
    readme = (DEMO / "README.md").read_text(encoding="utf-8")
    for path in paths:
        assert f"`{Path(path).name}`" in readme
        with Image.open(DEMO / path) as image:
            assert max(image.size) <= 768
    assert sum(file.stat().st_size for file in (DEMO / "photos").iterdir()) <= 1.5e6


def test_demo_can_be_packed(tmp_path: Path) -> None:
    output = tmp_path / "demo.json"
    assert pack_benchmark.main([str(DEMO / "records.json"), str(output)]) == 0
    packed = json.loads(output.read_text(encoding="utf-8"))
    assert len(packed) == len(demo_records())
    assert all(decode(item["src_img_b64"]).mode == "RGB" for item in packed)
    assert output.stat().st_size < 12e6
