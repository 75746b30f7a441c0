"""Started by `bench/scale.py`: ranks send PNG bytes to rank 0, which writes them; prints the seconds of a round.

The ranks are forked from one process that has imported everything, so 32 of them start on a small machine.
"""

import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from editbench.config.schema import DistributedConfig
from editbench.distributed.gather import Gather
from editbench.distributed.group import process_group
from editbench.distributed.ranks import Ranks
from editbench.job import SilentSink
from editbench.run.folder import RunDir
from editbench.run.records import Edit, Sample
from editbench.run.sinks import EditSink

TIMEOUT_S = 300
SHARD_SIZE_MIB = 256


class Counts:
    """Stands for the session, which shows and counts."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()

    def count(self, state: str) -> None:
        """Take note of one more sample."""
        self.states[state] += 1


def work(ranks: Ranks, rounds: int, size: int, folder: Path) -> None:
    """One rank: a payload a round, a barrier behind it, as in phase 1; rank 0 prints seconds per round."""
    os.environ |= {"RANK": str(ranks.rank), "WORLD_SIZE": str(ranks.world_size)}
    png = random.Random(ranks.rank).randbytes(size)
    names = [[f"{number}-{rank}" for rank in range(ranks.world_size)] for number in range(rounds)]
    samples = [Sample(0, name, name, "physical", "", "", "", [0, 0, 0]) for row in names for name in row]
    with process_group(ranks, DistributedConfig(timeout_s=TIMEOUT_S)) as group:
        counts: Any = Counts()
        sink = EditSink(RunDir(folder), SHARD_SIZE_MIB, samples, counts) if ranks.rank == 0 else SilentSink()
        torch.distributed.barrier()
        began = time.perf_counter()
        with Gather(group, sink.handle, lambda: None) as gather:
            for row in names:
                edit = Edit(row[ranks.rank], "physical", "edited", "", "", 0)
                gather.put(lambda edit=edit: (edit, png))
                gather.meet(False)
        sink.close()
        if ranks.rank == 0:
            assert counts.states["edited"] == len(samples)
            print((time.perf_counter() - began) / rounds)


def main(ranks: int, rounds: int, size: int, port: int, folder: Path) -> None:
    """Start the ranks and wait for them."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    forked = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(dir=folder) as run:
        RunDir(Path(run)).create()
        started = [
            forked.Process(target=work, args=(Ranks(rank, ranks, rank, ranks), rounds, size, Path(run)))
            for rank in range(ranks)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
    if any(process.exitcode for process in started):
        sys.exit(1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:5]), Path(sys.argv[5]))
