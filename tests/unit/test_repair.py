"""The ledger and the shards after a crash: index and shards agree, nothing committed is lost, no data is wrong."""

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from editbench.errors import UserError
from editbench.run.folder import RunDir
from editbench.run.lines import JsonLines, read_lines
from editbench.run.records import Edit, to_dict
from editbench.run.recovery import take_up_stored
from editbench.run.sealed_json import seal
from editbench.run.shards import ShardWriter, read_image, sample_end, shard_name

SHARD_BYTES = 7_000
"""Room for about three samples."""


@pytest.fixture(scope="module", autouse=True)
def quick_disk() -> Iterator[None]:
    """Nothing loses power here: what is written need not reach the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


def failed(sample_id: str, tried: int) -> Edit:
    return Edit(sample_id, "physical", "edit_failed", f"u{tried}", "i", tried, error='no "图"\nat all')


def png_of(sample_id: str, tried: int) -> bytes:
    return f"PNG {sample_id} {tried} ".encode() * (20 + 30 * (tried % 3))


class Writer:
    """Writes as phase 1 does: the image into a shard, then the line into the index."""

    def __init__(self, run: RunDir) -> None:
        self._shards = ShardWriter(run.edits, SHARD_BYTES, run.committed_shard_end())
        self._index = JsonLines(run.edits_index)

    def edited(self, sample_id: str, tried: int) -> Edit:
        png = png_of(sample_id, tried)
        edit = Edit(sample_id, "physical", "edited", f"u{tried}", "i", tried, length=len(png))
        edit.sha256 = hashlib.sha256(png).hexdigest()
        metadata = {key: value for key, value in to_dict(edit).items() if key not in ("shard", "offset")}
        edit.shard, edit.offset = self._shards.append(f"{sample_id}-{tried}", png, seal(metadata))
        self._index.append(edit)
        return edit

    def failed(self, sample_id: str, tried: int) -> Edit:
        edit = failed(sample_id, tried)
        self._index.append(edit)
        return edit

    def write(self, outcomes: list[tuple[str, bool]], start: int = 0) -> list[Edit]:
        tries = enumerate(outcomes, start)
        return [self.edited(name, tried) if good else self.failed(name, tried) for tried, (name, good) in tries]

    def close(self) -> None:
        self._shards.close()
        self._index.close()


def new_run(folder: Path) -> RunDir:
    run = RunDir(folder)
    run.create()
    return run


def members(run: RunDir) -> list[str]:
    """Names in all shards in order, as any reader of tar files sees them."""
    names: list[str] = []
    for path in sorted(run.edits.glob("*.tar")):
        with tarfile.open(path) as tar:
            names += tar.getnames()
    return names


def check_image(run: RunDir, edit: Edit) -> None:
    png = read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
    assert png == png_of(edit.sample_id, edit.seed)


def cut(path: Path, fraction: float) -> int:
    """Cut a file to this fraction of its bytes; returns its new size."""
    size = int(path.stat().st_size * fraction)
    os.truncate(path, size)
    return size


OUTCOMES = st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), min_size=1, max_size=12)
FRACTIONS = st.floats(0, 1)


@settings(max_examples=80, deadline=None)
@given(outcomes=OUTCOMES, index_kept=FRACTIONS, lost=FRACTIONS, again=OUTCOMES, closed=st.booleans())
@example(outcomes=[(name, True) for name in "abcdefab"], index_kept=0.0, lost=1.0, again=[("a", True)], closed=True)
def test_a_crash_between_shard_and_index_loses_nothing_that_was_whole(
    tmp_path_factory: pytest.TempPathFactory,
    outcomes: list[tuple[str, bool]],
    index_kept: float,
    lost: float,
    again: list[tuple[str, bool]],
    closed: bool,
) -> None:
    """The index is cut anywhere; the last shard anywhere behind what is left of the index: so a crash leaves it."""
    run = new_run(tmp_path_factory.mktemp("run"))
    writer = Writer(run)
    written = writer.write(outcomes)
    if closed:
        writer.close()
    cut(run.edits_index, index_kept)
    whole = list(read_lines(run.edits_index, Edit))
    assert whole == written[: len(whole)]
    committed = run.committed_shard_end() or (0, 0)
    last = max(run.edits.glob("*.tar"))
    first = committed[1] if last.name == shard_name(committed[0]) else 0
    size = first + int((last.stat().st_size - first) * lost)
    os.truncate(last, size)

    taken = take_up_stored(run)

    stored = [
        edit
        for edit in written[len(whole) :]
        if edit.shard is not None
        and (shard_name(edit.shard) < last.name or sample_end(edit.offset, edit.length) <= size)
    ]
    assert taken == len(stored)
    assert list(read_lines(run.edits_index, Edit)) == [*whole, *stored]
    assert take_up_stored(run) == 0
    writer = Writer(run)
    more = writer.write(again, start=100)
    writer.close()
    expected = [*whole, *stored, *more]
    assert list(read_lines(run.edits_index, Edit)) == expected
    assert run.read_edits() == {edit.sample_id: edit for edit in expected}
    images = [edit for edit in expected if edit.shard is not None]
    for edit in images:
        check_image(run, edit)
    keys = [f"{edit.sample_id}-{edit.seed}" for edit in images]
    assert members(run) == [f"{key}.{suffix}" for key in keys for suffix in ("json", "png")]


@settings(max_examples=80, deadline=None)
@given(outcomes=OUTCOMES, index_kept=FRACTIONS, which=st.integers(0, 3), shard_kept=FRACTIONS)
def test_files_cut_anywhere_are_repaired_or_refused_and_never_give_other_data(
    tmp_path_factory: pytest.TempPathFactory,
    outcomes: list[tuple[str, bool]],
    index_kept: float,
    which: int,
    shard_kept: float,
) -> None:
    run = new_run(tmp_path_factory.mktemp("run"))
    writer = Writer(run)
    written = writer.write(outcomes)
    writer.close()
    cut(run.edits_index, index_kept)
    whole = list(read_lines(run.edits_index, Edit))
    shards = sorted(run.edits.glob("*.tar"))
    damaged = shards[which % len(shards)]
    before = {path: path.read_bytes() for path in shards if path != damaged}
    size = cut(damaged, shard_kept)

    taken = take_up_stored(run)
    shard, end = run.committed_shard_end() or (0, 0)
    if damaged.name == shard_name(shard) and size < end:
        with pytest.raises(UserError, match=f"{damaged.name} has {size} bytes, but the index names images"):
            Writer(run)
        assert damaged.stat().st_size == size
    else:
        writer = Writer(run)
        check_image(run, writer.edited("new", 50))
        writer.close()

    lines = list(read_lines(run.edits_index, Edit))
    assert lines[: len(whole)] == whole
    assert len(lines) - len(whole) - taken in (0, 1)
    assert all(edit in written for edit in lines[: len(whole) + taken])
    for edit in lines:
        if edit.shard is None:
            continue
        if shard_name(edit.shard) == damaged.name and edit.offset + edit.length > size:
            if edit.sample_id != "new":
                with pytest.raises(ValueError, match="not the image that the index names"):
                    read_image(run.edits, edit.shard, edit.offset, edit.length, edit.sha256)
        else:
            check_image(run, edit)
    for path, content in before.items():
        if path.name < shard_name(shard):
            assert path.read_bytes() == content


@settings(max_examples=60, deadline=None)
@given(where=FRACTIONS, flip=st.integers(1, 255))
@example(where=1.0, flip=1)
@example(where=0.6, flip=1)
def test_a_flipped_byte_behind_the_index_is_refused_or_the_sample_left_out(
    tmp_path_factory: pytest.TempPathFactory, where: float, flip: int
) -> None:
    """What is whole before the byte is taken up; the byte itself only where tar gives it no meaning."""
    run = new_run(tmp_path_factory.mktemp("run"))
    writer = Writer(run)
    written = writer.write([("a", True), ("b", True), ("c", True)])
    path = run.edits / shard_name(0)
    run.edits_index.unlink()
    whole = bytearray(path.read_bytes())
    at = round(where * (len(whole) - 1))
    whole[at] ^= flip
    path.write_bytes(whole)
    before = [edit for edit in written if sample_end(edit.offset, edit.length) <= at]
    refused = False
    try:
        take_up_stored(run)
    except UserError as error:
        refused = True
        assert "restore the file, or remove it" in str(error)
    taken = list(read_lines(run.edits_index, Edit))
    assert taken == written[: len(taken)]
    assert len(taken) >= len(before)
    assert refused or len(taken) >= len(written) - 1  # without a word only the last one is left out
    for edit in taken:
        check_image(run, edit)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from("abc猫")),
        st.tuples(st.just("reopen"), st.none()),
        st.tuples(st.just("tear"), FRACTIONS),
        st.tuples(st.just("zeros"), st.integers(1, 5000)),
    ),
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_a_ledger_keeps_every_whole_line_through_any_tears_and_restarts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    """A tear is a line of which a part reached the disk, or zeros where it was to be: the writer has died then."""
    path = tmp_path_factory.mktemp("ledger") / "index.jsonl"
    ledger = JsonLines(path)
    kept: list[Edit] = []
    for number, (step, value) in enumerate(steps):
        if step == "append":
            kept.append(failed(str(value), number))
            ledger.append(kept[-1])
        elif step == "reopen":
            ledger.close()
            ledger = JsonLines(path)
        else:
            line = seal(to_dict(failed("torn", number)))
            with path.open("ab") as file:
                file.write(bytes(value) if step == "zeros" else line[: int(len(line) * value)])
            assert list(read_lines(path, Edit)) == kept  # a reader at this moment
            ledger.close()
            ledger = JsonLines(path)
        assert list(read_lines(path, Edit)) == kept
    ledger.close()
    latest = {edit.sample_id: edit for edit in read_lines(path, Edit)}
    assert latest == {edit.sample_id: edit for edit in kept}
    assert path.read_bytes() == b"".join(seal(to_dict(edit)) + b"\n" for edit in kept)
