"""Parquet and Arrow files: rows without reading pictures, pictures by row group, every fault one sentence."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from editbench.datasets.base import BadRecord
from editbench.datasets.column_files import ParquetColumns
from editbench.datasets.parquet import Parquet
from editbench.errors import UserError

PHOTOS = sorted((Path(__file__).resolve().parents[2] / "data" / "demo" / "photos").iterdir())
PICTURES = [photo.read_bytes() for photo in PHOTOS[:5]]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(**columns):
    count = len(PICTURES)
    given = {
        "instruction": pa.array([f"Change {i}" for i in range(count)]),
        "photo": pa.array(
            [{"bytes": data, "path": f"x/{i}.png"} for i, data in enumerate(PICTURES)],
            IMAGE,
        ),
        "level": pa.array([i / 2 for i in range(count)]),
    }
    return pa.table({name: column for name, column in (given | columns).items() if column is not None})


def write(path, content):
    """Write a table, two rows to a group, in the format that the name says: `.parquet`, `.stream.arrow`, `.arrow`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(content, path, row_group_size=2)
        return path
    make = pa.ipc.new_stream if path.name.endswith(".stream.arrow") else pa.ipc.new_file
    with make(str(path), content.schema) as writer:
        writer.write_table(content, max_chunksize=2)
    return path


@pytest.fixture(params=["d.parquet", "d.stream.arrow", "d.arrow"])
def name(request):
    return request.param


def test_rows_are_read_and_pictures_found_again_in_any_order(tmp_path, name):
    opened = Parquet(str(write(tmp_path / name, table())))
    records = list(opened.scan())
    assert [r.locator for r in records] == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 2, 0]]
    assert [(r.sample_id, r.category, r.instruction, r.extra) for r in records[:2]] == [
        ("0", "general", "Change 0", {"level": 0.0}),
        ("1", "general", "Change 1", {"level": 0.5}),
    ]
    assert all(record.source is None for record in records)
    for record, picture in [*zip(records, PICTURES, strict=True)][::-1]:
        assert opened.read(json.loads(json.dumps(record.locator))) == picture


def test_a_scan_reads_no_picture_and_a_rank_each_row_group_once(tmp_path, monkeypatch):
    read = []
    original = ParquetColumns.pictures

    def pictures(self, group, picture):
        read.append(group)
        return original(self, group, picture)

    monkeypatch.setattr(ParquetColumns, "pictures", pictures)
    opened = Parquet(str(write(tmp_path / "d.parquet", table())))
    records = list(opened.scan())
    assert read == []
    assert [opened.read(record.locator) for record in records[::2]] == PICTURES[::2]
    assert [opened.read(record.locator) for record in records] == PICTURES
    assert read == [0, 1, 2, 0, 1, 2]


def test_the_bytes_of_pictures_are_not_touched_by_a_scan(tmp_path):
    path = write(tmp_path / "d.parquet", table())
    data = path.read_bytes()
    for picture in PICTURES:
        middle = picture[len(picture) // 2 :][:64]
        assert middle in data, "pictures do not compress"
        data = data.replace(middle, bytes(64))
    path.write_bytes(data)
    opened = Parquet(str(path))
    records = list(opened.scan())
    assert len(records) == 5
    assert [opened.read(record.locator) for record in records] != PICTURES


def test_a_folder_of_shards_in_the_order_of_their_names(tmp_path):
    for number in (1, 0):
        content = table(id=pa.array([f"{number}-{i}" for i in range(5)]))
        write(tmp_path / "data" / f"train-0000{number}-of-00002.parquet", content)
    write(tmp_path / "cache-1.arrow", table())
    opened = Parquet(str(tmp_path))
    records = list(opened.scan())
    assert [r.sample_id for r in records] == [f"{number}-{i}" for number in (0, 1) for i in range(5)]
    assert [opened.read(r.locator) for r in records] == PICTURES * 2
    assert len(list(Parquet(str(tmp_path), files="data/*-00001-*").scan())) == 5
    assert list(opened.stamp()) == ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]


def test_plain_bytes_and_lists_of_one_picture_are_pictures_too(tmp_path, name):
    plain = table(photo=pa.array(PICTURES, pa.binary()))
    opened = Parquet(str(write(tmp_path / name, plain)))
    records = list(opened.scan())
    assert records[0].sample_id == "general_00000"
    assert [opened.read(record.locator) for record in records] == PICTURES
    lists = table(photo=pa.array([[{"bytes": data, "path": None}] for data in PICTURES], pa.list_(IMAGE)))
    opened = Parquet(str(write(tmp_path / f"lists.{name}", lists)))
    assert [opened.read(record.locator) for record in opened.scan()] == PICTURES


def test_a_row_can_have_several_pictures_and_none_is_a_bad_record(tmp_path, name):
    a, b = {"bytes": b"a", "path": "p"}, {"bytes": b"b", "path": "q"}
    values = [[a] * 3, [], None, [a], [b]]
    opened = Parquet(str(write(tmp_path / name, table(photo=pa.array(values, pa.list_(IMAGE))))))
    records = list(opened.scan())
    assert opened.read(records[0].locator) == [b"a"] * 3
    few = list(Parquet(str(tmp_path / name), max_images=2).scan())
    assert few[0].problem == "has 3 source images, more than dataset.max_images=2" and few[3] == records[3]
    assert records[1].problem == records[2].problem == "has no image"
    assert [opened.read(record.locator) for record in records[3:]] == [b"a", b"b"]
    nulls = table(photo=pa.array([None] + [{"bytes": None, "path": None}] * 4, IMAGE))
    opened = Parquet(str(write(tmp_path / f"nulls.{name}", nulls)))
    first, second, *_ = opened.scan()
    assert isinstance(first, BadRecord) and first.problem == "has no image"
    with pytest.raises(ValueError, match="the row has no image"):
        opened.read(second.locator)


def test_several_picture_columns_hold_a_source_each_and_a_null_is_none(tmp_path, name):
    second = [{"bytes": b"second", "path": None}, None, None, None, None]
    content = table(second=pa.array(second, IMAGE))
    opened = Parquet(str(write(tmp_path / name, content)), fields={"image": ["second", "photo"]})
    records = list(opened.scan())
    assert opened.read(records[0].locator) == [b"second", PICTURES[0]]
    assert opened.read(records[1].locator) == PICTURES[1]
    assert opened.read(records[4].locator) == PICTURES[4]


def test_a_picture_by_path_alone_is_the_file_beside_and_never_one_outside(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "a.png").write_bytes(PICTURES[0])
    (tmp_path / "secret.png").write_bytes(b"secret")
    paths = ["a.png", "../secret.png", "b.png", "a.png", "a.png"]
    content = table(photo=pa.array([{"bytes": None, "path": path} for path in paths], IMAGE))
    opened = Parquet(str(write(tmp_path / "bench" / "d.parquet", content)))
    records = list(opened.scan())
    assert opened.read(records[0].locator) == PICTURES[0]
    for record, says in [(records[1], "lies outside"), (records[2], "there is no such file")]:
        with pytest.raises(ValueError, match=says):
            opened.read(record.locator)


def test_which_of_several_picture_columns_is_the_source_must_be_said(tmp_path, name):
    path = write(tmp_path / name, table(raw=table()["photo"]))
    with pytest.raises(UserError, match=r"has pictures in photo, raw, which column .*; set dataset\.fields\.image="):
        list(Parquet(str(path)).scan())
    with pytest.raises(UserError, match="has pictures in photo, raw, no column 'level'"):
        list(Parquet(str(path), fields={"image": "level"}).scan())
    record = next(Parquet(str(path), fields={"image": "raw"}).scan())
    assert "photo" not in record.extra


# ---- bad files ----


def refusal(path, **arguments):
    with pytest.raises(UserError) as caught:
        list(Parquet(str(path), **arguments).scan())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_one_sentence(tmp_path, name, share):
    path = write(tmp_path / name, table())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    if name == "d.stream.arrow" and share == 0.999:
        opened = Parquet(str(path))
        with pytest.raises((UserError, ValueError), match="cannot be read as Arrow"):
            [opened.read(record.locator) for record in opened.scan()]
        return
    kind = "Parquet" if name == "d.parquet" else "Arrow"
    message = refusal(path)
    assert message.startswith(f"dataset.path: {path} cannot be read as {kind}: ")
    assert message.endswith("it may be truncated, fetch it again")


def test_a_file_of_3_gb_of_zeros_is_one_sentence(tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(3 * 2**30)  # sparse
    assert "cannot be read as" in refusal(path)


def test_files_of_another_kind_are_told(tmp_path):
    path = tmp_path / "d.parquet"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert "is a pointer of Git LFS, not the file itself; fetch it with: git lfs pull" in refusal(path)
    path.write_bytes(PICTURES[0])
    assert "cannot be read as Parquet" in refusal(path)
    assert "has pictures in no column, which column" in refusal(write(path, table(photo=None)))
    assert list(Parquet(str(write(path, table().slice(0, 0)))).scan()) == []


def test_a_row_group_that_is_damaged_fails_when_it_is_read(tmp_path):
    path = write(tmp_path / "d.parquet", table())
    opened = Parquet(str(path))
    records = list(opened.scan())
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 40] = b"\xff" * 40
    path.write_bytes(data)
    assert Parquet(str(path)).read(records[0].locator) == PICTURES[0]
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        Parquet(str(path)).read(records[2].locator)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"path": "nowhere"}, "nowhere: there is no such file or folder"),
        ({"path": "."}, "holds no .parquet or .arrow file"),
        ({"path": ".", "files": "*.x"}, r"dataset.files: .* holds no \*\.x; give another"),
        ({"path": ".", "files": "/x"}, "dataset.files=/x: .*; give a pattern relative to dataset.path"),
    ],
)
def test_files_that_are_not_there_are_named(tmp_path, arguments, says):
    with pytest.raises(UserError, match=says):
        Parquet(str(tmp_path / arguments.pop("path")), **arguments)


def test_without_pyarrow_the_package_to_install_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "d.parquet", table())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r'need pyarrow; install it with: pip install "editbench\[parquet\]"'):
        Parquet(str(path))
