"""Who a process is among those of its job."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from editbench.errors import UserError

GIVEN_BY_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Ranks:
    """Who this process is, as torchrun says; a process started without torchrun is alone."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int

    @staticmethod
    def from_env(environ: Mapping[str, str] = os.environ) -> "Ranks":
        """Read RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE.

        The last two may be missing, where a launcher starts one process on each machine.

        Raises:
            UserError: only a part of it is set, or it contradicts itself.
        """
        given = {name: environ[name] for name in GIVEN_BY_LAUNCHERS if name in environ}
        if not given:
            return Ranks(0, 1, 0, 1)
        found = "the environment has " + ", ".join(f"{name}={value}" for name, value in given.items())
        unset = f"unset what another job has left ({' '.join(given)}), or let torchrun set them all"
        needed = GIVEN_BY_LAUNCHERS if any(name.startswith("LOCAL") for name in given) else GIVEN_BY_LAUNCHERS[:2]
        if lacking := [name for name in needed if name not in given]:
            raise UserError(f"{found}, but no {' and no '.join(lacking)}; {unset}")
        if not all(value.isdecimal() for value in given.values()):
            raise UserError(f"{found}: these must be whole numbers; {unset}")
        ranks = Ranks(*[*map(int, given.values()), 0, 1][:4])
        if ranks.rank >= ranks.world_size or ranks.local_rank >= ranks.local_world_size:
            raise UserError(f"{found}: a rank must be below the number of ranks; {unset}")
        return ranks
