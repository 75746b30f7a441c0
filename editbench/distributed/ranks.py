"""Who a process is among those of its job."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """Who this process is, as torchrun says; a process started without torchrun is alone."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int

    @staticmethod
    def from_env() -> "Ranks":
        """Read RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE."""
        defaults = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        return Ranks(*(int(os.environ.get(name, default)) for name, default in defaults.items()))
