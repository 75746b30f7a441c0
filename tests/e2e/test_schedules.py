"""Who edits what does not matter to the edited images, and no rank waits for another where nobody asked for it."""

from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
from benchmark_file import write_benchmark
from running import run_phase

from editbench.distributed.group import Group
from editbench.distributed.ranks import Ranks
from editbench.run.folder import RunDir

SAMPLES = 12

SLOW_RANK = '''
import os
import time
from pathlib import Path

from editbench.editors.fake import FakeEditor
from editbench.judges.fake import FakeJudge

RANK = int(os.environ["RANK"])


def note_and_wait(name, others):
    """Rank 0 is done only when the other ranks have done so many."""
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(file, f"{RANK}\\n".encode())
    os.close(file)
    deadline = time.monotonic() + 60
    while RANK == 0 and Path(name).read_text().count("1") < others:
        assert time.monotonic() < deadline, "the other rank does not go on"
        time.sleep(0.01)


class SlowRankEditor(FakeEditor):
    def edit(self, source, instruction, seed, on_step):
        note_and_wait("edits.txt", 10)
        return super().edit(source, instruction, seed, on_step)


class SlowRankJudge(FakeJudge):
    def reply(self, prepared):
        note_and_wait("batches.txt", 4)
        return super().reply(prepared)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a benchmark and the slow classes."""
    write_benchmark(tmp_path / "bench.json", (["物理", "环境", "社会", "因果", "指代"] * SAMPLES)[:SAMPLES])
    (tmp_path / "slow_rank.py").write_text(SLOW_RANK, encoding="utf-8")
    return tmp_path


def edited(run_dir: Path) -> dict[str, str | None]:
    return {edit.sample_id: edit.sha256 for edit in RunDir(run_dir).read_edits().values()}


def test_both_schedules_give_the_same_bytes_on_any_number_of_ranks(folder: Path) -> None:
    fakes = ["editor=fake", "judge=fake", f"dataset.path={folder / 'bench.json'}"]
    found = []
    for schedule, world_size in (("strided", 2), ("dynamic", 3)):
        run_dir = folder / f"{schedule}{world_size}"
        run_phase("edit", run_dir, [*fakes, f"edit.schedule={schedule}"], world_size)
        assert len(RunDir(run_dir).edits_index.read_bytes().splitlines()) == SAMPLES
        found.append(edited(run_dir))
    assert found[0] == found[1] and len(found[0]) == SAMPLES and None not in found[0].values()


def test_a_slow_rank_holds_nobody_up(folder: Path) -> None:
    """Rank 0 ends its first edit, and its first batch, when the other rank has done nearly all the rest."""
    slow = ["editor=fake", "editor._target_=slow_rank.SlowRankEditor", "edit.schedule=dynamic"]
    slow += ["judge=fake", "judge._target_=slow_rank.SlowRankJudge", "judge.batch_size=2"]
    slow += [f"dataset.path={folder / 'bench.json'}"]
    for phase in ("edit", "score"):
        run_phase(phase, folder / "run", slow)
    assert len(edited(folder / "run")) == SAMPLES
    assert len(RunDir(folder / "run").read_judgments("fake")) == SAMPLES
    for name, least in (("edits.txt", 10), ("batches.txt", 4)):
        assert Counter((folder / name).read_text().split())["1"] >= least


class Store:
    """A counter as the job's store has it."""

    def __init__(self) -> None:
        self.value = 0

    def check(self, _keys: list[str]) -> bool:
        return False

    def add(self, _key: str, number: int) -> int:
        self.value += number
        return self.value


@pytest.mark.parametrize(("items", "world_size"), [(0, 2), (1, 3), (5, 2), (20, 2), (20, 1)])
def test_each_item_is_drawn_once_and_none_ahead_of_its_work_at_the_end(items: int, world_size: int) -> None:
    def drawn(store: Store, rank: int) -> Iterator[tuple[int, int | None]]:
        group = Group.__new__(Group)
        group.ranks, group.store = Ranks(rank, world_size, rank, world_size), store
        return group.draw("items", range(items))

    shared = Store()
    turns = [turn for turns in zip_longest(*(drawn(shared, rank) for rank in range(world_size))) for turn in turns]
    assert sorted(turn[0] for turn in turns if turn is not None) == list(range(items))
    alone = list(drawn(Store(), 0))
    assert [item for item, _ in alone] == list(range(items))
    ahead = [item for item, following in alone if following is not None]
    assert ahead == list(range(max(0, items - 3 * world_size)))
