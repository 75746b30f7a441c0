"""Run by torchrun from test_gather.py: `gather_worker.py SCENE FOLDER`. What it sees goes to `FOLDER/rank<r>.json`."""

import hashlib
import json
import random
import sys
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from editbench.config.schema import DistributedConfig
from editbench.distributed.gather import Gather
from editbench.distributed.group import Group, process_group
from editbench.distributed.ranks import Ranks
from editbench.errors import UserError

TIMEOUT_S = 600  # longer than the test waits: what ends must not end by it
SIZES = [0, 1, 7, 511, 4096, 65_537, 3_000_001]
HELD_S = 0.7  # how long rank 0 looks for a put that must not return
RANKS = Ranks.from_env()


def payload(rank: int, number: int) -> bytes:
    return random.Random(f"{rank} {number}").randbytes(SIZES[(rank + number) % len(SIZES)])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def deliver(group: Group, counts: list[int]) -> dict[str, list[str]]:
    """Every rank r sends counts[r] payloads; returns the digests sent here and, on rank 0, those that arrived."""
    arrived: list[bytes] = []
    sent = [payload(RANKS.rank, number) for number in range(counts[RANKS.rank])]
    with Gather(group, arrived.append, print) as gather:
        for data in sent:
            gather.put(lambda data=data: data)
    return {"sent": [digest(data) for data in sent], "arrived": [digest(data) for data in arrived]}


def hold_back(group: Group) -> dict[str, object]:
    """The last rank puts 12 payloads while rank 0's handler holds the first one: how far does it get?

    Returns:
        On rank 0, whether all puts returned while the first payload was held, and how many had returned before
        each payload was taken, beyond those taken already.
    """
    store = dist.distributed_c10d._get_default_store()
    sender, puts = RANKS.world_size - 1, 12
    ahead: list[int] = []
    all_put_early: list[bool] = []

    def handle(_: bytes) -> None:
        if not all_put_early:
            try:
                store.wait(["all_put"], timedelta(seconds=HELD_S))
                all_put_early.append(True)
            except dist.DistStoreError:
                all_put_early.append(False)
        ahead.append(store.add("put", 0) - len(ahead))

    with Gather(group, handle, print) as gather:
        if RANKS.rank == sender:
            for _ in range(puts):
                gather.put(lambda: bytes(1_000_000))
                store.add("put", 1)
            store.set("all_put", "1")
    return {"all_put_early": all_put_early, "ahead": ahead}


def never_at_once(group: Group, limit: int) -> dict[str, int]:
    """Counts who else is loading; those of one turn wait for each other, so the limit is reached as well."""
    store = dist.distributed_c10d._get_default_store()
    with group.loading_turn(limit):
        inside = store.add(f"inside{limit}", 1)
        together = min(limit, RANKS.world_size - RANKS.rank // limit * limit)
        most = store.add(f"entered{limit}-{RANKS.rank // limit}", 1)
        if most == together:
            store.set(f"complete{limit}-{RANKS.rank // limit}", "1")
        store.wait([f"complete{limit}-{RANKS.rank // limit}"], timedelta(seconds=30))
        store.add(f"inside{limit}", -1)
    return {"inside": inside, "turn": RANKS.rank // limit}


def first_of_the_node(group: Group, folder: Path) -> str:
    """The first rank fills a cache, the others must find it."""
    cache = folder / "cache"

    def work() -> str:
        if cache.exists():
            return f"found by {RANKS.rank}: {cache.read_text()}"
        cache.write_text(f"filled by {RANKS.rank}")
        return cache.read_text()

    return group.node_first(work, "the download")


def rank_0_refuses(group: Group) -> str:
    def refuse() -> None:
        raise UserError("rank 0 does not want this")

    try:
        group.on_rank_0(refuse, "the planning")
    except UserError as error:
        return str(error)
    return "nothing was raised"


def everything(group: Group, folder: Path) -> dict[str, object]:
    size = RANKS.world_size
    return {
        "unequal": deliver(group, [7, 14, 3][:size]),
        "none_elsewhere": deliver(group, [0, 5, 0][:size]),
        "only_rank_0": deliver(group, [4, 0, 0][:size]),
        "none_at_all": deliver(group, [0] * size),
        "held": hold_back(group),
        "given": group.on_rank_0(lambda: {"文": ["x" * 100_000, None, 1.5]}, "the planning"),
        "nothing_given": group.on_rank_0(lambda: None, "the planning"),
        "refused": rank_0_refuses(group),
        "gathered": group.all_gather({"rank": RANKS.rank, "text": "é" * 1000 * RANKS.rank}),
        "node_first": first_of_the_node(group, folder),
        "loading": {limit: never_at_once(group, limit) for limit in (1, 2, 3)},
        "stopping": [group.meet(RANKS.rank == one) for one in (-1, RANKS.world_size - 1, -1, 0)],
        "missed": sum(not group.meet(RANKS.rank == size - 1) for _ in range(600)),
    }


def fail(group: Group, where: str) -> None:
    """One payload or rank fails while the others want to go on; nobody may wait for the timeout."""

    def handle(_: bytes) -> None:
        if where.startswith("handle"):
            raise OSError("no space left on the device")

    def make() -> bytes:
        if where == "make" and RANKS.rank == 1:
            raise ValueError("this payload cannot be made")
        return bytes(1_000_000)

    many = 20
    with Gather(group, handle, print) as gather:
        if where == "handle_in_barrier" and RANKS.rank == 0:
            group.meet()
        if where == "rank" and RANKS.rank == 1:
            raise LookupError("this rank is broken")
        if where == "handle_at_exit" and RANKS.rank == 0:
            return
        for _ in range(many):
            gather.put(make)
        group.meet()


def silent(group: Group, folder: Path) -> None:
    """Rank 0 goes on planning until another one has said that it takes too long."""
    told = "told"
    try:
        group.on_rank_0(lambda: group.store.wait([told], timedelta(seconds=60)), "the planning")
    except UserError as error:
        (folder / f"rank{RANKS.rank}.txt").write_text(str(error))
        group.store.set(told, "1")
        raise


def main() -> None:
    scene, folder = sys.argv[1], Path(sys.argv[2])
    with process_group(RANKS, DistributedConfig(timeout_s=2 if scene == "silent" else TIMEOUT_S)) as group:
        if scene == "everything":
            (folder / f"rank{RANKS.rank}.json").write_text(json.dumps(everything(group, folder)))
        elif scene == "silent":
            silent(group, folder)
        else:
            fail(group, scene)


main()
