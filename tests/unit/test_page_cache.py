"""Reading ahead: the weights are in the page cache afterwards, and nothing is read where there is no room."""

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from editbench import page_cache
from editbench.settings import ComponentConfig

SIZE = 32 * 2**20


@pytest.fixture
def judge(tmp_path: Path) -> ComponentConfig:
    """A judge whose checkpoint is on the disk, and as far as the system lets us, not in the page cache."""
    folder = tmp_path / "judge"
    folder.mkdir()
    weights = folder / "model.safetensors"
    with weights.open("wb") as file:
        file.write(bytes(SIZE))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return ComponentConfig("a.Class", "judge", {"checkpoint": str(folder)})


def cached(judge: ComponentConfig) -> float:
    """The fraction of the weights' pages that lie in the page cache."""
    with (Path(judge.kwargs["checkpoint"]) / "model.safetensors").open("rb") as file:
        # a private writable mapping: ctypes takes the address of nothing else; nothing is written
        pages = mmap.mmap(file.fileno(), SIZE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.addressof(there := ctypes.c_char.from_buffer(pages))
    vector = (ctypes.c_ubyte * (SIZE // mmap.PAGESIZE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(SIZE), vector) == 0
    del there
    pages.close()
    return sum(byte & 1 for byte in vector) / len(vector)


def test_the_weights_are_in_the_page_cache_afterwards(judge: ComponentConfig) -> None:
    if cached(judge) > 0.5:
        pytest.skip("this file system keeps what is to be dropped")
    page_cache.warm(judge).join(timeout=60)
    assert cached(judge) == 1.0


def test_nothing_is_read_where_there_is_no_room(judge: ComponentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "available_host_memory", lambda: SIZE + 1)
    monkeypatch.setattr(page_cache, "_read", lambda _: pytest.fail("it was read"))
    page_cache.warm(judge).join(timeout=60)


@pytest.mark.parametrize("kwargs", [{}, {"checkpoint": "/nowhere/at/all"}, {"checkpoint": "not-there/judge"}])
def test_a_judge_without_weights_here_is_let_be(kwargs: dict[str, str]) -> None:
    page_cache._warm(ComponentConfig("a.Class", "judge", kwargs))
