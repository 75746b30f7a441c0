"""Finding a checkpoint and telling it from others by its fingerprint, without reading its weights."""

import json
import shutil

import pytest

from editbench.components import checkpoint as checkpoints
from editbench.components.checkpoint import NOTE_FILE, find, find_lora
from editbench.errors import UserError


def safetensors(header, weights):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + weights


def describe_tensor(shape):
    return {"layer.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "checkpoint"
    (folder / "vae").mkdir(parents=True)
    (folder / "index.json").write_text('{"_class_name": "Pipe"}')
    (folder / "vae" / "config.json").write_text('{"dim": 4}')
    (folder / "vae" / "model.safetensors").write_bytes(safetensors(describe_tensor([4]), bytes(16)))
    (folder / "b.safetensors").write_bytes(safetensors(describe_tensor([2, 2]), bytes(16)))
    return folder


def fingerprint(folder):
    return find(str(folder), None, False).fingerprint


def test_a_folder_is_described_by_place_size_and_fingerprint(folder):
    found = find(str(folder), None, False)
    sizes = sum((folder / name).stat().st_size for name in ("b.safetensors", "vae/model.safetensors"))
    assert (found.path, found.revision, found.size_bytes, found.note) == (folder, None, sizes, "")
    assert len(found.fingerprint) == 64


def test_the_fingerprint_does_not_depend_on_the_place_or_on_times(folder, tmp_path):
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    assert fingerprint(copy) == fingerprint(folder)


def test_links_count_as_what_they_point_to(folder, tmp_path):
    linked = tmp_path / "snapshot"
    (linked / "vae").mkdir(parents=True)
    for path in folder.rglob("*.*"):
        (linked / path.relative_to(folder)).symlink_to(path)
    assert fingerprint(linked) == fingerprint(folder)


def test_a_relative_path_gives_the_same_fingerprint(folder, monkeypatch):
    expected = fingerprint(folder)
    monkeypatch.chdir(folder.parent)
    assert find("checkpoint", None, False).fingerprint == expected
    assert find("./checkpoint", None, False).fingerprint == expected


LARGER = {"layer.weight": {"dtype": "F32", "shape": [5], "data_offsets": [0, 20]}}
CHANGES = {
    "a tensor's shape": lambda f: (f / "b.safetensors").write_bytes(safetensors(describe_tensor([4, 1]), bytes(16))),
    "more weights": lambda f: (f / "b.safetensors").write_bytes(safetensors(LARGER, bytes(20))),
    "a config file": lambda f: (f / "vae" / "config.json").write_text('{"dim": 5}'),
    "a new file": lambda f: (f / "vae" / "merges.txt").write_text("a b"),
    "an empty new file": lambda f: (f / "extra.json").write_text(""),
    "a file that is gone": lambda f: (f / "index.json").unlink(),
    "a renamed file": lambda f: (f / "b.safetensors").rename(f / "c.safetensors"),
    "a moved file": lambda f: (f / "vae" / "config.json").rename(f / "config.json"),
    "the note": lambda f: (f / NOTE_FILE).write_text("random weights"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_changes_with(folder, change):
    before = fingerprint(folder)
    CHANGES[change](folder)
    assert fingerprint(folder) != before


def test_hidden_files_do_not_count(folder):
    before = fingerprint(folder)
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "download.metadata").write_text("time stamp")
    (folder / ".gitattributes").write_text("*")
    assert fingerprint(folder) == before


def test_other_values_of_the_same_shapes_are_another_checkpoint(folder):
    before = fingerprint(folder)
    (folder / "b.safetensors").write_bytes(safetensors(describe_tensor([2, 2]), b"\1" * 16))
    assert fingerprint(folder) != before


def test_of_large_weights_only_samples_are_read(folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "_SAMPLES", 4)
    monkeypatch.setattr(checkpoints, "_SAMPLE_BYTES", 2)
    values = bytearray(16)  # sampled at 0, 4, 8 and 12
    (folder / "b.safetensors").write_bytes(safetensors(describe_tensor([2, 2]), bytes(values)))
    before = fingerprint(folder)
    values[3] = 1
    (folder / "b.safetensors").write_bytes(safetensors(describe_tensor([2, 2]), bytes(values)))
    assert fingerprint(folder) == before
    values[5] = 1
    (folder / "b.safetensors").write_bytes(safetensors(describe_tensor([2, 2]), bytes(values)))
    assert fingerprint(folder) != before


def test_what_is_not_loaded_does_not_count(folder):
    before = fingerprint(folder)
    (folder / "README.md").write_text("a model card")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert fingerprint(folder) == before


# ---- what an interrupted download leaves ----

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"


def shard(folder, number, of):
    (folder / f"model-{number:05}-of-{of:05}.safetensors").write_bytes(safetensors(describe_tensor([4]), bytes(16)))


def index(folder, *shards):
    names = {f"t{number}": name for number, name in enumerate(shards)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def pipeline(folder, **parts):
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "P", "unused": [None, None]} | parts))


GAPS = {
    "nothing": (lambda f: (f / "b.safetensors").write_bytes(b""), "b.safetensors is cut off"),
    "a few bytes": (lambda f: (f / "b.safetensors").write_bytes(b"\1\2\3"), "b.safetensors is cut off"),
    "no header": (lambda f: (f / "b.safetensors").write_bytes(b"\xff" * 100), "b.safetensors is cut off, or no saf"),
    "a list": (
        lambda f: (f / "b.safetensors").write_bytes(b"\x08" + bytes(7) + b"[1, 2]  "),
        "b.safetensors has a header",
    ),
    "cut weights": (
        lambda f: (f / "vae" / "model.safetensors").write_bytes(safetensors(describe_tensor([4]), bytes(15))),
        r"vae/model.safetensors has \d+ bytes in place of \d+",
    ),
    "a pointer": (lambda f: (f / "b.safetensors").write_bytes(POINTER), "b.safetensors is a pointer of Git LFS"),
    "a pointer of a tokenizer": (lambda f: (f / "tokenizer.json").write_bytes(POINTER), "tokenizer.json is a pointer"),
    "a dangling link": (lambda f: (f / "c.safetensors").symlink_to(f / "blob"), "c.safetensors is a link to a file"),
    "a shard by its name": (lambda f: [index(f), shard(f, 1, 2)], "model-00002-of-00002.safetensors is missing"),
    "a shard by the index": (lambda f: index(f, "b.safetensors", "x.safetensors"), "x.safetensors is missing"),
    "the index": (lambda f: shard(f, 1, 1), "model.safetensors.index.json is missing"),
    "a broken index": (
        lambda f: (f / "m.safetensors.index.json").write_text("{"),
        "m.safetensors.index.json ",
    ),
    "a part": (lambda f: pipeline(f, vae=["a", "B"], unet=["a", "B"]), "unet is missing, a part that model_index"),
    "a part's weights": (
        lambda f: [pipeline(f, text=["a", "B"]), (f / "text").mkdir(), (f / "text" / "config.json").write_text("{}")],
        "text has no .safetensors file",
    ),
    "a part's settings": (
        lambda f: [pipeline(f, vae=["a", "B"]), (f / "vae" / "config.json").unlink()],
        "vae/config.json is missing",
    ),
}


@pytest.mark.parametrize("gap", GAPS)
def test_a_checkpoint_that_is_not_whole_is_refused_with_what_it_lacks(folder, gap):
    make, says = GAPS[gap]
    make(folder)
    with pytest.raises(UserError, match=f"checkpoint {folder} is not whole: {says}.*; download or copy it again$"):
        find(str(folder), None, False)


def test_a_whole_checkpoint_in_shards_is_accepted(folder):
    pipeline(folder, vae=["a", "B"], scheduler=["a", "B"])
    (folder / "scheduler").mkdir()
    (folder / "vae" / "model.safetensors").unlink()
    shard(folder / "vae", 1, 2)
    shard(folder / "vae", 2, 2)
    index(folder / "vae", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    (folder / "README.md").symlink_to("nowhere")
    assert find(str(folder), None, False).size_bytes > 0


@pytest.mark.usefixtures("empty_hub_cache")
def test_a_lora_that_is_cut_off_is_refused(folder):
    (folder / "b.safetensors").write_bytes(safetensors(describe_tensor([2, 2]), bytes(15)))
    with pytest.raises(UserError, match=r"LoRA .*: b\.safetensors has \d+ bytes in place of"):
        find_lora(str(folder), "b.safetensors", None, False)


def test_the_note_is_read_from_its_file(folder):
    (folder / NOTE_FILE).write_text("  Random weights: 没有意义.\n", encoding="utf-8")
    assert find(str(folder), None, False).note == "Random weights: 没有意义."


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds no \.safetensors file; convert it"):
        find(str(tmp_path), None, False)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize(
    "name", ["/nowhere/at/all", "./missing", "../missing", "~/missing-checkpoint", "a/b/c", "name"]
)
def test_a_missing_folder_is_named_without_asking_the_hub(name, download, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"checkpoint {name}: there is no such folder$"):
        find(name, None, download)


def test_an_empty_name_is_not_the_working_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="there is no such folder"):
        find("", None, False)


def test_missing_tiny_checkpoints_come_with_the_command_that_builds_them(tmp_path):
    with pytest.raises(UserError, match=r"python scripts/make_tiny_checkpoints\.py"):
        find(str(tmp_path / "checkpoints" / "tiny" / "qwen3_vl"), None, False)


@pytest.fixture
def empty_hub_cache(tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    assert constants.HF_HUB_OFFLINE, "tests must not reach for the hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("empty_hub_cache")
def test_a_hub_id_that_is_not_in_the_cache_is_none_or_an_error_by_choice():
    assert find("nobody/nothing", None, download=False) is None
    with pytest.raises(UserError, match=r"nobody/nothing: no such folder.*local cache, and offline mode is on .HF_HUB"):
        find("nobody/nothing", None, download=True)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("RepositoryNotFoundError", "no such repository, or a private one: check the name"),
        ("GatedRepoError", "its makers ask for consent"),
        ("RevisionNotFoundError", "it has no such revision"),
        ("AnotherError", "404 Client Error"),
    ],
)
def test_what_the_hub_refuses_is_told_in_words(monkeypatch, kind, says):
    def refuse(**_):
        raise type(kind, (Exception,), {})("404 Client Error\n\nmore")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(UserError, match=rf"checkpoint nobody/typo: cannot be downloaded \(.*{says}"):
        find("nobody/typo", None, download=True)


@pytest.mark.usefixtures("empty_hub_cache")
def test_a_hub_id_that_cannot_be_one_is_an_error():
    with pytest.raises(UserError, match=r"checkpoint nobody/no thing: cannot be downloaded \(Repo id"):
        find("nobody/no thing", None, download=True)


def test_a_hub_id_in_the_cache_is_found_with_its_commit(folder, empty_hub_cache):
    commit = "c0ffee" * 6 + "c0ff"
    repository = empty_hub_cache / "models--somebody--something"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(folder, repository / "snapshots" / commit)
    found = find("somebody/something", None, download=False)
    assert found.revision == commit
    assert found.fingerprint == fingerprint(folder)
    assert find("somebody/something", "other-branch", download=False) is None


def test_weights_beside_a_pipeline_s_folders_do_not_count(folder):
    (folder / "model_index.json").write_text("{}")
    (folder / "vae").mkdir(exist_ok=True)
    (folder / "vae" / "model.safetensors").write_bytes(safetensors(describe_tensor([2, 2]), bytes(16)))
    found = find(str(folder), None, False)
    assert found.size_bytes == sum(file.stat().st_size for file in (folder / "vae").glob("*.safetensors"))


# ---- LoRAs ----


def test_a_lora_is_one_file_known_by_its_content(folder, tmp_path):
    found = find_lora(str(folder), "b.safetensors", None, False)
    assert (found.path, found.revision) == (folder / "b.safetensors", None)
    assert found.size_bytes == (folder / "b.safetensors").stat().st_size
    (tmp_path / "sub").mkdir()
    shutil.copyfile(folder / "b.safetensors", tmp_path / "sub" / "renamed.safetensors")
    assert find_lora(str(tmp_path), "sub/renamed.safetensors", None, False).fingerprint == found.fingerprint
    (folder / "b.safetensors").write_bytes(safetensors(describe_tensor([2, 2]), b"\1" * 16))
    assert find_lora(str(folder), "b.safetensors", None, False).fingerprint != found.fingerprint


def test_a_lora_that_is_not_there_is_an_error(folder):
    with pytest.raises(UserError, match=r"LoRA .*: has no file c\.safetensors"):
        find_lora(str(folder), "c.safetensors", None, True)
    with pytest.raises(UserError, match=r"LoRA /no/where: there is no such folder"):
        find_lora("/no/where", "c.safetensors", None, True)


def test_a_lora_of_the_hub_is_found_in_the_cache_with_its_commit(folder, empty_hub_cache):
    assert find_lora("somebody/something", "sub/b.safetensors", None, download=False) is None
    with pytest.raises(UserError, match=r"LoRA somebody/something/sub/b\.safetensors: .*offline mode is on"):
        find_lora("somebody/something", "sub/b.safetensors", None, download=True)
    commit = "c0ffee" * 6 + "c0ff"
    repository = empty_hub_cache / "models--somebody--something"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    place = repository / "snapshots" / commit / "sub"
    place.mkdir(parents=True)
    shutil.copyfile(folder / "b.safetensors", place / "b.safetensors")
    found = find_lora("somebody/something", "sub/b.safetensors", None, download=False)
    assert (found.path, found.revision) == (place / "b.safetensors", commit)
