"""Shards: what is appended is found again, also after a killed run, by us and by any reader of tar files."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from editbench.errors import UserError
from editbench.run.sealed_json import seal
from editbench.run.shards import BLOCK, ShardWriter, read_image, sample_end, scan, shard_name

MIB = 2**20


def png(number, size=700):
    return bytes([number]) * size


def write(folder, numbers, max_bytes=MIB, committed=None, close=True):
    """Append samples; returns their places as (shard, offset, length, sha256)."""
    writer = ShardWriter(folder, max_bytes, committed)
    places = []
    for number in numbers:
        shard, offset = writer.append(f"key{number}", png(number), b'{"n": %d}' % number)
        places.append((shard, offset, 700, hashlib.sha256(png(number)).hexdigest()))
    if close:
        writer.close()
    return places


def end_of(place):
    shard, offset, length, _ = place
    return shard, sample_end(offset, length)


def members(path):
    with tarfile.open(path) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]


def test_every_image_is_read_back_by_its_place(tmp_path):
    places = write(tmp_path, range(5))
    assert [read_image(tmp_path, *place) for place in places] == [png(number) for number in range(5)]


def test_a_shard_holds_json_then_png_of_each_sample_in_order(tmp_path):
    write(tmp_path, [3, 1])
    assert members(tmp_path / "shard-00000.tar") == [
        ("key3.json", b'{"n": 3}'),
        ("key3.png", png(3)),
        ("key1.json", b'{"n": 1}'),
        ("key1.png", png(1)),
    ]


def test_an_image_is_there_before_the_shard_is_closed(tmp_path):
    places = write(tmp_path, [1], close=False)
    assert read_image(tmp_path, *places[0]) == png(1)


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command here")
def test_the_tar_command_reads_a_shard(tmp_path):
    write(tmp_path, range(3))
    run = subprocess.run(
        ["tar", "-xvf", "shard-00000.tar"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stderr == ""
    assert (tmp_path / "key2.png").read_bytes() == png(2)
    assert (tmp_path / "key0.json").read_bytes() == b'{"n": 0}'


def test_the_same_samples_give_the_same_shard_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write(tmp_path / "a", range(3))
    write(tmp_path / "b", range(3))
    assert (tmp_path / "a" / shard_name(0)).read_bytes() == (tmp_path / "b" / shard_name(0)).read_bytes()


def test_members_carry_no_time_and_no_owner(tmp_path):
    write(tmp_path, [1])
    with tarfile.open(tmp_path / shard_name(0)) as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.isreg()) for m in tar} == {
            (0, 0, 0, "", "", 0o644, True)
        }


def test_a_shard_that_has_reached_its_limit_is_closed_and_the_next_begun(tmp_path):
    one_sample = 2 * BLOCK + BLOCK + 2 * BLOCK  # header and text, header, 700 bytes padded to 1024
    places = write(tmp_path, range(5), max_bytes=2 * one_sample)
    assert [shard for shard, *_ in places] == [0, 0, 1, 1, 2]
    assert [place[1] for place in places] == [1536, 1536 + one_sample, 1536, 1536 + one_sample, 1536]
    assert [read_image(tmp_path, *place) for place in places] == [png(number) for number in range(5)]
    names = [[name for name, _ in members(tmp_path / shard_name(shard))] for shard in range(3)]
    assert names[1] == ["key2.json", "key2.png", "key3.json", "key3.png"]
    assert [len(listed) for listed in names] == [4, 4, 2]


def test_an_image_larger_than_the_limit_gets_a_shard(tmp_path):
    places = write(tmp_path, range(3), max_bytes=1)
    assert [shard for shard, *_ in places] == [0, 1, 2]


def test_appending_goes_on_after_a_close(tmp_path):
    first = write(tmp_path, [1, 2])
    second = write(tmp_path, [3], committed=end_of(first[-1]))
    assert [name for name, _ in members(tmp_path / shard_name(0))][-2:] == ["key3.json", "key3.png"]
    assert [read_image(tmp_path, *place) for place in first + second] == [png(1), png(2), png(3)]


def test_closed_in_two_starts_or_in_one_a_shard_has_the_same_bytes(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write(tmp_path / "one", range(4))
    first = write(tmp_path / "two", range(2))
    write(tmp_path / "two", range(2, 4), committed=end_of(first[-1]))
    assert (tmp_path / "one" / shard_name(0)).read_bytes() == (tmp_path / "two" / shard_name(0)).read_bytes()


def test_a_full_shard_is_not_grown_after_a_resume(tmp_path):
    first = write(tmp_path, [1], max_bytes=1)
    second = write(tmp_path, [2], max_bytes=1, committed=end_of(first[-1]))
    assert (first[0][0], second[0][0]) == (0, 1)
    assert len(members(tmp_path / shard_name(0))) == 2


@settings(max_examples=30, deadline=None)
@given(torn=st.integers(0, 2560), junk=st.binary(max_size=50), times=st.sampled_from([1, 200]))
@example(torn=0, junk=b"left by a killed run, longer than what comes", times=200)
def test_a_torn_end_is_cut_off_wherever_it_broke(tmp_path_factory, torn, junk, times):
    folder = tmp_path_factory.mktemp("shards")
    places = write(folder, [1, 2], close=False)
    path = folder / shard_name(0)
    whole = path.read_bytes()
    committed = end_of(places[0])
    path.write_bytes(whole[: committed[1] + torn] + junk * times)  # the index knows the first sample only
    again = write(folder, [2], committed=committed)
    assert again == places[1:]
    assert path.read_bytes() == whole + bytes(2 * BLOCK)


def test_a_later_shard_that_the_index_does_not_know_is_removed(tmp_path):
    places = write(tmp_path, [1])
    (tmp_path / shard_name(1)).write_bytes(b"begun by a killed run")
    (tmp_path / shard_name(12)).write_bytes(b"and more")
    write(tmp_path, [], committed=end_of(places[0]))
    assert [path.name for path in tmp_path.iterdir()] == [shard_name(0)]


def test_without_a_committed_sample_everything_starts_anew(tmp_path):
    write(tmp_path, range(3), max_bytes=1)
    write(tmp_path, [7])
    assert [path.name for path in tmp_path.iterdir()] == [shard_name(0)]
    assert [name for name, _ in members(tmp_path / shard_name(0))] == ["key7.json", "key7.png"]


def test_an_empty_shard_is_a_tar_file_too(tmp_path):
    write(tmp_path, [])
    assert members(tmp_path / shard_name(0)) == []


@pytest.mark.parametrize("kept", [0, 100])
def test_a_shard_that_lost_committed_samples_is_never_filled_up_with_zeros(tmp_path, kept):
    places = write(tmp_path, [1, 2])
    path = tmp_path / shard_name(0)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=rf"shard-00000.tar has {kept} bytes"):
        write(tmp_path, [3], committed=end_of(places[-1]))
    assert path.stat().st_size == kept


def test_a_committed_shard_that_is_gone_is_an_error(tmp_path):
    places = write(tmp_path, [1])
    (tmp_path / shard_name(0)).unlink()
    with pytest.raises(UserError, match=r"shard-00000\.tar has 0 bytes"):
        write(tmp_path, [2], committed=end_of(places[-1]))


def test_other_bytes_than_the_index_names_are_never_returned(tmp_path):
    shard, offset, length, sha256 = write(tmp_path, [1, 2])[0]
    path = tmp_path / shard_name(0)
    for where in ((shard, offset + 1), (shard, offset - 1), (shard, offset + 100_000)):
        with pytest.raises(ValueError, match="not the image that the index names"):
            read_image(tmp_path, *where, length, sha256)
    damaged = bytearray(path.read_bytes())
    damaged[offset + 350] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=rf"shard-00000.tar: the 700 bytes at {offset}"):
        read_image(tmp_path, shard, offset, length, sha256)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"shard-00003.tar is missing"):
        read_image(tmp_path, 3, 0, 1, "")


@pytest.mark.parametrize(
    ("offset", "length", "end"), [(512, 0, 512), (512, 1, 1024), (1024, 512, 1536), (1024, 513, 2048)]
)
def test_a_sample_ends_on_a_whole_block(offset, length, end):
    assert sample_end(offset, length) == end


def test_shard_names_sort_as_their_numbers():
    names = [shard_name(number) for number in (0, 1, 9, 10, 99_999)]
    assert names == sorted(names)
    assert names[0] == "shard-00000.tar"


def stored(folder, numbers):
    writer = ShardWriter(folder, MIB)
    for number in numbers:
        sealed = seal({"n": number, "sha256": hashlib.sha256(png(number)).hexdigest()})
        writer.append(f"key{number}", png(number), sealed)
    writer.close()
    return folder / "shard-00000.tar"


def found(path, start=0):
    return [(sample.key, sample.metadata["n"], sample.png, sample.offset) for sample in scan(path, start)]


def test_a_scan_finds_every_sample_and_its_place(tmp_path):
    path = stored(tmp_path, [1, 2, 3])
    samples = found(path)
    assert [(key, n, content) for key, n, content, _ in samples] == [(f"key{n}", n, png(n)) for n in (1, 2, 3)]
    whole = path.read_bytes()
    assert all(whole[offset : offset + 700] == png(n) for _, n, _, offset in samples)
    assert found(path, sample_end(samples[0][3], 700)) == samples[1:]


def test_a_shard_torn_at_any_byte_gives_its_whole_samples(tmp_path):
    path = stored(tmp_path, [1, 2])
    samples, whole = found(path), path.read_bytes()
    ends = [sample_end(offset, 700) for *_, offset in samples]
    for size in reversed(range(len(whole))):
        os.truncate(path, size)
        assert found(path) == samples[: sum(end <= size for end in ends)]


def test_a_flipped_byte_anywhere_never_gives_other_data(tmp_path):
    path = stored(tmp_path, [1, 2])
    samples, whole = found(path), path.read_bytes()
    end = sample_end(samples[-1][3], 700)
    with path.open("r+b", buffering=0) as file:
        for at in range(end):
            os.pwrite(file.fileno(), bytes([whole[at] ^ 0x41]), at)
            kept = []
            with contextlib.suppress(ValueError):  # refused from here on; what came before must be right all the same
                for sample in scan(path):
                    kept.append((sample.key, sample.metadata["n"], sample.png, sample.offset))
            assert kept == samples[: len(kept)], at
            os.pwrite(file.fileno(), whole[at : at + 1], at)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("claimed", [8**11 - 1, 2**62, -1, -(2**40)])
def test_a_member_that_claims_more_than_there_is_costs_no_memory(tmp_path, claimed):
    path = stored(tmp_path, [1])
    info = tarfile.TarInfo("huge.json")
    info.size = claimed
    with path.open("r+b") as file:
        file.seek(-2 * BLOCK, os.SEEK_END)
        file.write(info.tobuf(format=tarfile.GNU_FORMAT))
    kept = []
    try:
        for sample in scan(path):
            kept.append(sample.key)
    except ValueError as error:
        assert "huge.json" in str(error) or "byte 2560" in str(error)
    assert kept == ["key1"]


@pytest.mark.parametrize("name", ["/etc/x.json", "../x.json", "a/b.json", "a.b.json", "x.txt", "x.json\n"])
def test_members_with_paths_or_other_names_are_refused(tmp_path, name):
    path = tmp_path / "shard-00000.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(name), None)
    with pytest.raises(ValueError, match="is none that editbench writes; refused"):
        list(scan(path))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_links_devices_and_folders_are_refused(tmp_path, kind):
    path = tmp_path / "shard-00000.tar"
    info = tarfile.TarInfo("a.json")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(path, "w") as tar:
        tar.addfile(info)
    with pytest.raises(ValueError, match="is none that editbench writes; refused"):
        list(scan(path))
