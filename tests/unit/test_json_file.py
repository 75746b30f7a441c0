"""The benchmark file: every record found at its exact place, everything else named by byte, record and field."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editbench.datasets import json_scanner
from editbench.datasets.base import BadRecord, Record
from editbench.datasets.json_file import JsonFile
from editbench.errors import UserError

IMAGE = bytes(range(256))
B64 = base64.b64encode(IMAGE).decode()


def fields(**changes):
    """A record as benchmark files hold it; None removes a field."""
    record = {
        "subset": "物理",
        "original_description": "一只猫",
        "original_description_en": "A cat",
        "edit_instruction": "加一顶帽子",
        "edit_instruction_en": "Add a hat",
        "src_img_b64": B64,
        "tags": ["indoor", {"deep": [1.5e-3, None, True]}],
        "original_image_path": "generated_images_2/00000_物理_medium.png",
        "seed": 42,
    }
    return {key: value for key, value in (record | changes).items() if value is not None}


@pytest.fixture
def scan(tmp_path):
    """Scans a file with the given bytes, text or structure."""

    def scan(content, **arguments):
        return list(dataset(tmp_path, content, **arguments).scan())

    return scan


def dataset(folder, content, **arguments):
    if not isinstance(content, bytes | str):
        content = json.dumps(content, ensure_ascii=False)
    path = folder / "bench.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return JsonFile(str(path), **arguments)


# ---- what a record gives ----


def test_a_record_in_english_by_default(scan):
    (record,) = scan([fields()])
    assert (record.sample_id, record.category) == ("00000_物理_medium", "物理")
    assert (record.instruction, record.description) == ("Add a hat", "A cat")
    assert (record.source, record.source_error) == (IMAGE, None)
    assert set(record.extra) == {"original_description", "edit_instruction", "tags", "original_image_path", "seed"}
    assert (record.extra["tags"], record.extra["seed"]) == (["indoor", {"deep": [1.5e-3, None, True]}], 42)


def test_a_record_in_chinese_on_request(scan):
    (record,) = scan([fields()], language="zh")
    assert (record.instruction, record.description) == ("加一顶帽子", "一只猫")


def test_the_fields_of_the_other_language_may_be_missing(scan):
    (record,) = scan([fields(edit_instruction=None, original_description=None)])
    assert isinstance(record, Record)
    (bad,) = scan([fields(edit_instruction=None)], language="zh")
    assert bad.problem == "edit_instruction is missing"


def test_a_missing_description_is_empty(scan):
    (record,) = scan([fields(original_description_en=None)])
    assert record.description == ""


def test_an_empty_instruction_and_one_of_200_kb_are_kept_as_they_are(scan):
    long = "Add a hat. " * 20_000
    assert [r.instruction for r in scan([fields(edit_instruction_en=""), fields(edit_instruction_en=long)])] == [
        "",
        long,
    ]


def test_control_and_bidirectional_characters_are_kept_as_they_are(scan):
    text = "a\x00b\x1b[31m\u202ec\u2028\n{original_description}"
    (record,) = scan([fields(edit_instruction_en=text)])
    assert record.instruction == text


def test_a_dict_of_lists_gives_the_category_unless_the_record_has_its_own(scan):
    records = scan({"物理": [fields(subset=None), fields(subset="social")], "empty": [], "环境": [fields(subset=None)]})
    assert [record.category for record in records] == ["物理", "social", "环境"]
    assert [record.locator[0] for record in records] == [0, 1, 2]


@pytest.mark.parametrize("content", [[], {}, {"物理": []}, {"a": [], "b": []}])
def test_a_file_without_records_gives_none(scan, content):
    assert scan(content) == []


@pytest.mark.parametrize(
    ("path", "sample_id"),
    [
        ("generated_images_2/00000_物理_medium.png", "00000_物理_medium"),
        ("00001.png", "00001"),
        ("C:\\images\\00002.png", "00002"),
        ("images\\sub/00003.png", "00003"),
        ("/abs/../../00004.tar.gz", "00004.tar"),
        ("no_suffix", "no_suffix"),
        (".hidden", ".hidden"),
        ("a/b/", "b"),
        ("🐈.png", "🐈"),
        ("..", ".."),
        ("", "物理_00000"),
        ("  ", "物理_00000"),
        ("/", "物理_00000"),
        (None, "物理_00000"),
        (17, "物理_00000"),
        (["a.png", "b.png"], "a"),
        ([], "物理_00000"),
        (["a.png", 5], "物理_00000"),
    ],
)
def test_the_id_is_the_file_stem_of_the_path_else_category_and_index(scan, path, sample_id):
    (record,) = scan([fields(original_image_path=path)])
    assert record.sample_id == sample_id


def test_ids_without_a_path_count_through_the_whole_file(scan):
    bare = fields(subset=None, original_image_path=None)
    assert [r.sample_id for r in scan({"a": [bare, bare], "b": [bare]})] == ["a_00000", "a_00001", "b_00002"]


def test_a_record_without_category_is_of_category_general(scan):
    (record,) = scan([fields(subset=None)])
    assert record.category == "general"


@pytest.mark.parametrize(("own", "sample_id"), [("x/1", "x/1"), (7, "7"), (0, "0")])
def test_an_id_of_its_own_comes_before_the_image_s_name(scan, own, sample_id):
    (record,) = scan([fields(id=own)])
    assert (record.sample_id, record.repeat_id) == (sample_id, None)
    assert "id" not in record.extra


# ---- images by path ----


def by_path(path, **changes):
    return fields(src_img_b64=None, original_image_path=path, **changes)


@pytest.fixture
def photos(tmp_path):
    """A folder with a file beside the benchmark file, and one outside of it."""
    (tmp_path / "bench" / "photos").mkdir(parents=True)
    (tmp_path / "bench" / "photos" / "a.png").write_bytes(IMAGE)
    (tmp_path / "secret.png").write_bytes(b"secret")
    return tmp_path / "bench"


@pytest.mark.parametrize("path", ["photos/a.png", "photos\\a.png", "./photos/../photos/a.png"])
def test_without_base64_the_image_is_the_file_that_the_path_names(photos, path):
    opened = dataset(photos, [by_path(path)])
    (record,) = opened.scan()
    assert (record.sample_id, record.source, record.source_error) == ("a", None, None)
    assert opened.read(record.locator) == IMAGE


def test_base64_comes_before_the_path(photos):
    opened = dataset(photos, [fields(src_img_b64="AAAA", original_image_path="photos/a.png")])
    assert opened.read(next(opened.scan()).locator) == b"\x00\x00\x00"


@pytest.mark.parametrize("path", ["../secret.png", "photos/../../secret.png", "{outside}/secret.png", "..\\secret.png"])
def test_a_path_does_not_lead_out_of_the_folder_unless_the_user_names_one(photos, path):
    path = path.format(outside=photos.parent)
    (bad,) = dataset(photos, [by_path(path)]).scan()
    assert f"image {path!r} lies outside {photos}; set dataset.images" in bad.problem
    opened = dataset(photos, [by_path("secret.png")], images=str(photos.parent))
    assert opened.read(next(opened.scan()).locator) == b"secret"


def test_an_absolute_path_into_the_folder_and_a_link_in_it_are_followed(photos):
    (photos / "link.png").symlink_to(photos.parent / "secret.png")
    opened = dataset(photos, [by_path(str(photos / "photos" / "a.png")), by_path("link.png")])
    assert [opened.read(record.locator) for record in opened.scan()] == [IMAGE, b"secret"]


@pytest.mark.parametrize("path", ["b.png", "photos", "a\0b.png", "x" * 5000, "https://example.org/a.png"])
def test_an_image_that_is_not_there_is_a_bad_record(photos, path):
    first, bad = dataset(photos, [by_path("photos/a.png"), by_path(path)]).scan()
    assert isinstance(first, Record)
    says = "src_img_b64 is missing, and original_image_path does not help"
    assert bad.problem == f"{says}: image {path!r}: there is no such file in {photos}"


def test_an_image_of_3_gb_is_not_read(photos):
    with (photos / "huge.png").open("wb") as file:
        file.truncate(3 * 2**30)  # sparse
    opened = dataset(photos, [by_path("huge.png")])
    (record,) = opened.scan()
    with pytest.raises(ValueError, match=r"image 'huge\.png' has 3072 MiB, at most 512 MiB are read"):
        opened.read(record.locator)


def test_an_image_that_went_away_fails_when_it_is_read(photos):
    opened = dataset(photos, [by_path("photos/a.png")])
    (record,) = opened.scan()
    (photos / "photos" / "a.png").unlink()
    with pytest.raises(ValueError, match="there is no such file"):
        opened.read(record.locator)


# ---- base64 ----


@pytest.mark.parametrize(
    "text",
    [
        B64,
        f"data:image/png;base64,{B64}",
        f"data:image/svg+xml;charset=utf-8;base64,{B64}",
        f"data:;base64,{B64}",
        "\n".join(B64[i : i + 76] for i in range(0, len(B64), 76)),
        "data:image/png;base64,\r\n" + "\r\n".join(B64[i : i + 64] for i in range(0, len(B64), 64)) + "\r\n",
        f"  {B64}\t",
    ],
)
def test_every_usual_spelling_of_base64_is_decoded(scan, text):
    (record,) = scan([fields(src_img_b64=text)])
    assert (record.source, record.source_error) == (IMAGE, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "src_img_b64 is empty"),
        (" \n", "src_img_b64 is empty"),
        ("data:image/png;base64,", "src_img_b64 is empty"),
        ("!!!!", "src_img_b64 is no base64"),
        (B64[:-1], "src_img_b64 is no base64"),
        (B64[:100] + "*" + B64[100:], "src_img_b64 is no base64"),
        (B64[:3], "src_img_b64 is no base64"),
        ("图片", "src_img_b64 is no base64"),
        (f"data:image/png,{B64}", "src_img_b64 is no base64"),
        (f"https://example.org/{B64}.png", "src_img_b64 is no base64"),
        ("\ud800\udc00", "src_img_b64 is no base64"),
    ],
)
def test_junk_in_place_of_base64_fails_this_sample_alone(tmp_path, text, says):
    records = list(dataset(tmp_path, json.dumps([fields(src_img_b64=text), fields()])).scan())
    assert records[0].source == b""
    assert records[0].source_error.startswith(says)
    assert records[1].source_error is None


# ---- bad records ----


@pytest.mark.parametrize(
    ("record", "sample_id", "problem"),
    [
        (
            fields(src_img_b64=None, original_image_path=None),
            "物理_00001",
            "src_img_b64 is missing, and so is the path of an image in original_image_path",
        ),
        (fields(id=["a"]), "['a']", "id is a list, must be text"),
        (fields(id=True), "True", "id is a bool, must be text"),
        (fields(subset=3), "00000_物理_medium", "subset is an int, must be text"),
        (fields(edit_instruction_en=["Add"]), "00000_物理_medium", "edit_instruction_en is a list, must be text"),
        (fields(original_description_en={}), "00000_物理_medium", "original_description_en is a dict, must be text"),
        (
            fields(src_img_b64=5, edit_instruction_en=None),
            "00000_物理_medium",
            "src_img_b64 is an int, must be text; edit_instruction_en is missing",
        ),
        ("a string", "?", "is a str, must be an object"),
        (7, "?", "is an int, must be an object"),
        (None, "?", "is null, must be an object"),
        ([fields()], "?", "is a list, must be an object"),
    ],
)
def test_a_bad_record_is_told_by_index_id_and_field_and_the_others_are_read(scan, record, sample_id, problem):
    first, bad, last = scan([fields(), record, fields()])
    assert bad == BadRecord(1, sample_id, problem)
    assert isinstance(first, Record)
    assert isinstance(last, Record)


@pytest.mark.parametrize(
    "field", ["edit_instruction_en", "original_description_en", "subset", "original_image_path", "src_img_b64"]
)
def test_half_a_surrogate_pair_is_a_bad_record_as_no_file_can_hold_it(tmp_path, field):
    (bad,) = dataset(tmp_path, json.dumps([fields(**{field: "\u00e9\ud800"})])).scan()
    assert f"{field} holds half a surrogate pair" in bad.problem
    assert bad.sample_id.encode()  # can be written


def test_a_whole_surrogate_pair_is_a_character(tmp_path):
    text = json.dumps([fields(edit_instruction_en="🐈")])
    assert "\\ud83d\\udc08" in text
    (record,) = dataset(tmp_path, text).scan()
    assert record.instruction == "🐈"


def test_records_in_another_encoding_are_bad_records(scan):
    text = json.dumps([fields(edit_instruction="中文"), fields()], ensure_ascii=False)
    assert [bad.problem for bad in scan(text.encode("gb18030"))] == ["is not UTF-8", "is not UTF-8"]


# ---- broken files ----

WHOLE = json.dumps([fields()], ensure_ascii=False)
BROKEN = {
    "empty file": ("", "at byte 0 found the end of the file, wanted a JSON list, or a dict of category to list"),
    "white space": (" \n", "at byte 2 found the end of the file, wanted a JSON list"),
    "BOM alone": ("\ufeff", "at byte 3 found the end of the file, wanted a JSON list"),
    "a number": ("5", "at byte 0 found '5', wanted a JSON list"),
    "a string": ('"s"', "at byte 0 found '\"', wanted a JSON list"),
    "null": ("null", "at byte 0 found 'n', wanted a JSON list"),
    "UTF-16": (WHOLE.encode("utf-16"), "at byte 0 found 'ÿ', wanted a JSON list"),
    "UTF-16 without BOM": (WHOLE.encode("utf-16-le"), "at byte 1 found no whole JSON value"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "at byte 0 found '\\x89', wanted a JSON list"),
    "JSON lines": ('{"a": 1}\n{"a": 2}\n', "at byte 6 found '1', wanted the list of category a"),
    "only an opening": ("[", "at byte 1 found the end of the file, wanted a record"),
    "truncated in a record": ('[{}, {"a": "b', "at byte 5 found no whole JSON value"),
    "truncated after a record": (
        '[{"a":1}',
        "at byte 8 found the end of the file, wanted a comma or the end of the list",
    ),
    "truncated after a comma": ("[{},", "at byte 4 found the end of the file, wanted a record"),
    "missing comma": ('[{"a":1} {"b":2}]', "at byte 9 found '{', wanted a comma or the end of the list"),
    "missing comma in a record": ('[{"a":1 "b":2}]', "at byte 1 found no whole JSON value (Expecting ',' delimiter"),
    "comma too many": ("[{},]", "at byte 4 found no whole JSON value"),
    "wrong bracket": ("[{}}", "at byte 3 found '}', wanted a comma or the end of the list"),
    "trailing garbage": ("[{}] x", "at byte 5 found 'x', wanted the end of the file"),
    "two lists": ("[{}][{}]", "at byte 4 found '[', wanted the end of the file"),
    "a control character": ('[{"a":"\x01"}]', "at byte 1 found no whole JSON value (Invalid control character"),
    "a dict of numbers": ('{"a": 5}', "at byte 6 found '5', wanted the list of category a"),
    "a dict of dicts": ('{"a": {}}', "at byte 6 found '{', wanted the list of category a"),
    "a number as category": ("{5: []}", "at byte 2 found 5, wanted a category's name in quotes"),
    "no colon": ('{"a" []}', "at byte 5 found '[', wanted a colon"),
    "a comma too many in a dict": ('{"a":[{}],}', "at byte 10 found no whole JSON value"),
    "a dict that does not end": (
        '{"a":[{}]',
        "at byte 9 found the end of the file, wanted a comma or the end of the dict",
    ),
    "garbage behind a dict": ('{"a":[]} x', "at byte 9 found 'x', wanted the end of the file"),
    "a category in GBK": (
        '{"中":[]}'.encode("gbk"),
        "at byte 5 found b'\"\\xd6\\xd0\"', wanted a category's name in UTF-8",
    ),
    "100,000 brackets": ("[" * 100_000, "at byte 1 found lists or objects nested too deeply, wanted a record"),
    "a number of 5000 digits": ("[" + "1" * 5000 + "]", "at byte 1 found no whole JSON value (Exceeds the limit"),
}


@pytest.mark.parametrize("window", [1, 7, 2**20])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_sentence_with_the_byte_what_was_found_and_what_was_wanted(
    tmp_path, monkeypatch, name, window
):
    monkeypatch.setattr(json_scanner, "_WINDOW", window)
    content, says = BROKEN[name]
    with pytest.raises(UserError) as caught:
        list(dataset(tmp_path, content).scan())
    assert f"dataset.path={tmp_path / 'bench.json'}: {says}" in str(caught.value)
    assert "the file must be UTF-8 JSON: a list of records" in str(caught.value)


def test_records_before_the_break_are_given_first(tmp_path):
    found = dataset(tmp_path, WHOLE[:-1] + ",").scan()
    assert isinstance(next(found), Record)
    with pytest.raises(UserError):
        next(found)


def test_a_record_beyond_the_limit_is_taken_for_a_broken_file(tmp_path, monkeypatch):
    monkeypatch.setattr(json_scanner, "_WINDOW", 16)
    monkeypatch.setattr(json_scanner, "MAX_RECORD_BYTES", 1000)
    content = '[{"a": "' + "x" * 100_000
    opened = dataset(tmp_path, content)
    with pytest.raises(UserError, match="found no whole JSON value"):
        list(opened.scan())


@pytest.mark.parametrize(
    ("name", "says"), [("x.json", "there is no such file$"), ("demo.json", r"python scripts/pack_benchmark\.py")]
)
def test_a_missing_file_is_named(tmp_path, name, says):
    with pytest.raises(UserError, match=says):
        JsonFile(str(tmp_path / name))


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="is a folder; give the benchmark file"):
        JsonFile(str(tmp_path))


# ---- finding records: the same as json.loads, at the exact bytes ----

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3).filter(str.isprintable), inner, max_size=3)
    ),
    max_leaves=8,
)
KEY = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
FILES = st.lists(ANY_JSON, max_size=6) | st.dictionaries(KEY, st.lists(ANY_JSON, max_size=3), max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    content=FILES,
    indent=st.sampled_from([None, 0, 1, 4]),
    ascii_only=st.booleans(),
    compact=st.booleans(),
    bom=st.booleans(),
    space=st.sampled_from(["", "\n", " \r\n\t "]),
    window=st.integers(1, 40),
)
def test_any_file_through_any_window_gives_what_json_loads_gives(
    tmp_path_factory, content, indent, ascii_only, compact, bom, space, window
):
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent, separators=(",", ":") if compact else None)
    data = b"\xef\xbb\xbf" * bom + (space + text + space).encode()
    path = tmp_path_factory.mktemp("json") / "bench.json"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(json_scanner, "_WINDOW", window)
        found = list(json_scanner.RecordScanner(file, path).records())
    if isinstance(content, dict):
        expected = [(category, record) for category, records in content.items() for record in records]
    else:
        expected = [(None, record) for record in content]
    assert [(category, json.loads(raw)) for category, _, raw in found] == expected
    assert all(data[offset : offset + len(raw)] == raw for _, offset, raw in found)


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=60),
    start=st.sampled_from(
        [b"", b"[", b"{", b'[{"a":', b'{"a":['],
    ),
    window=st.integers(1, 9),
)
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path_factory, data, start, window):
    path = tmp_path_factory.mktemp("junk") / "bench.json"
    path.write_bytes(start + data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_scanner, "_WINDOW", window)
        try:
            found = list(JsonFile(str(path)).scan())
        except UserError as error:
            assert str(path) in str(error)
            return
    assert all(isinstance(record, BadRecord) for record in found)


@pytest.mark.parametrize("window", [7, 1000, 2**20])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_read_finds_each_record_again(tmp_path, monkeypatch, window, indent, as_dict, bom):
    monkeypatch.setattr(json_scanner, "_WINDOW", window)
    records = [fields(edit_instruction_en=f"第{i}号 🐈", original_image_path=f"{i:05d}.png") for i in range(5)]
    content = {"物理": records[:2], "环境": records[2:]} if as_dict else records
    for number, record in enumerate(records):
        record["src_img_b64"] = base64.b64encode(bytes([number])).decode()
    opened = dataset(tmp_path, bom + json.dumps(content, ensure_ascii=False, indent=indent).encode())
    scanned = list(opened.scan())
    assert [record.instruction for record in scanned] == [f"第{i}号 🐈" for i in range(5)]
    assert [opened.read(record.locator) for record in reversed(scanned)] == [
        b"\x04",
        b"\x03",
        b"\x02",
        b"\x01",
        b"\x00",
    ]


def test_read_needs_no_category_where_that_stood_outside(tmp_path):
    opened = dataset(tmp_path, {"物理": [fields(subset=None)]})
    (scanned,) = opened.scan()
    assert opened.read(scanned.locator) == IMAGE


def test_a_locator_survives_json(tmp_path):
    opened = dataset(tmp_path, [fields()])
    (scanned,) = opened.scan()
    assert opened.read(json.loads(json.dumps(scanned.locator))) == IMAGE


def test_reading_a_place_where_no_record_is_any_more_says_so(tmp_path):
    opened = dataset(tmp_path, [fields()])
    (scanned,) = opened.scan()
    opened.path.write_bytes(b"x" + opened.path.read_bytes())
    with pytest.raises(ValueError, match="record 0 is no longer what was planned: is no JSON"):
        opened.read(scanned.locator)


def test_the_stamp_changes_with_the_file(tmp_path):
    opened = dataset(tmp_path, [fields()])
    before = opened.stamp()
    assert opened.stamp() == before
    opened.path.write_text(opened.path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert opened.stamp() != before
    assert json.loads(json.dumps(before)) == before
