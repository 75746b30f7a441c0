"""Ranks, the process group and what all ranks do together; the way of results to rank 0 is in `gather.py`.

Everything travels on gloo, as CPU data. Ranks of one job trust each other: what they exchange are pickles.
"""

import contextlib
import datetime
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from editbench.config.schema import DistributedConfig
from editbench.distributed.ranks import Ranks
from editbench.distributed.rendezvous import rendezvous
from editbench.errors import PeerLostError, UserError

Result = TypeVar("Result")
Item = TypeVar("Item")

_PEER_LOST = re.compile("gloo.*(Connection (closed by|reset by) peer|Broken pipe|Connection refused)", re.S)

STORE_LOST = "the job's store is gone: torchrun, or the node that it ran on, has ended"

_LAST_ROUNDS = 3


class Group:
    """The job's processes, as `process_group` gives them.

    Attributes:
        ranks: Who this process is.
        timeout_s: Seconds that ranks wait for each other before they name who is missing.
        store: The key-value store of this start of the job alone.
        patient: Group whose operations have no limit of time, for waits that `Gather` watches over.
    """

    def __init__(self, ranks: Ranks, timeout_s: int, store: dist.Store) -> None:
        self.ranks, self.timeout_s = ranks, timeout_s
        self.patient: Any = dist.new_group(backend="gloo", timeout=datetime.timedelta(days=365))
        self._meetings = 0
        self.store: dist.Store = store
        counters = self._broadcast(secrets.token_hex(8))  # of an earlier start of the processes they are not ours
        self.store = dist.PrefixStore(counters, store)

    def meet(self, stopping: bool = False, after: str = "the round") -> bool:
        """Wait until all ranks are here: `dist.barrier()`, the batch synchronization point.

        Args:
            stopping: Whether this rank wants the job to stop.
            after: What ranks have ended when they come here, for the error that names who is missing.

        Returns:
            Whether any rank wants the job to stop; the same on all ranks.

        Raises:
            UserError: ranks did not come within `distributed.timeout_s`; one of the others names them.
            PeerLostError: a rank has ended.
        """
        self._meetings += 1
        self.store.set(f"at-{self.ranks.rank}", str(self._meetings))
        if stopping:  # by add, which waits for the store's answer: all have to find it behind the barrier
            self.store.add(f"stopping-{self._meetings}", 1)
        try:
            dist.barrier()
        except RuntimeError as error:
            raise self._who_is_missing(after, "Timed out" in str(error)) from error
        return bool(self.store.check([f"stopping-{self._meetings}"]))

    def _who_is_missing(self, after: str, timed_out: bool) -> UserError:
        missing: list[int] = []
        here: list[int] = []
        for rank in range(self.ranks.world_size):
            key = f"at-{rank}"
            came = self.store.check([key]) and int(self.store.get(key)) >= self._meetings
            (here if came else missing).append(rank)
        named = f"rank {', '.join(map(str, missing))}"
        if not timed_out:
            return PeerLostError(f"{named if missing else 'another rank'} ended before the others; see its error")
        error = UserError(
            f"{named} did not reach the end of {after} within distributed.timeout_s={self.timeout_s}; see its file "
            "under logs/, or give more time"
        )
        error.on_all_ranks = self.ranks.rank != min(here)
        return error

    def on_rank_0(self, work: Callable[[], Result], what: str) -> Result:
        """Let rank 0 work and give its result, or its UserError, to all ranks.

        Args:
            work: Called on rank 0.
            what: What it does, for the error that says that it takes too long.
        """
        outcome: tuple[Any, UserError | None] = (None, None)
        if self.ranks.rank == 0:
            try:
                outcome = (work(), None)
            except UserError as error:
                outcome = (None, UserError(*error.args))
        self.meet(after=what)
        result, refusal = self._broadcast(outcome)
        if refusal is not None:
            refusal.on_all_ranks = True
            raise refusal
        return result  # type: ignore[no-any-return]

    def node_first(self, work: Callable[[], Result], what: str) -> Result:
        """Do the same work on every rank, on the first of each node before the others (it may fill a cache)."""
        done = [work()] if self.ranks.local_rank == 0 else []
        self.meet(after=what)
        return done[0] if done else work()

    def all_gather(self, value: Item) -> list[Item]:
        """Give every rank's value to all ranks, in rank order."""
        values: list[Any] = [None] * self.ranks.world_size
        dist.all_gather_object(values, value)
        return values

    def _broadcast(self, value: Item) -> Item:
        """Give rank 0's value to all ranks; what the others pass is ignored."""
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    @contextlib.contextmanager
    def loading_turn(self, at_once: int) -> Iterator[None]:
        """Let the body, which loads a model, run on so many ranks of each node at a time, by their local ranks."""
        turns = max(self.all_gather(-(-self.ranks.local_world_size // at_once)))
        mine = self.ranks.local_rank // at_once
        for _ in range(mine):
            self.meet(after="loading the model")
        yield
        for _ in range(turns - mine):
            self.meet(after="loading the model")

    def draw(self, what: str, items: Sequence[Item]) -> Iterator[tuple[Item, Item | None]]:
        """Take items that no other rank has, in order, until there are no more or a rank wants the job to stop.

        The item that follows is drawn ahead, so that it can be prepared; not so the last ones, or an item would wait
        for the work of the rank that drew it while another rank is idle.

        Args:
            what: Name of the counter in the job's store, one for each list of items.
            items: The same on all ranks.

        Yields:
            (the item, the one that follows if it is known).
        """
        few = len(items) - _LAST_ROUNDS * self.ranks.world_size

        def take() -> int | None:
            if self.store.check(["stopping"]):
                return None
            number = int(self.store.add(f"drawn-{what}", 1)) - 1
            return number if number < len(items) else None

        number = take() if items else None
        while number is not None:
            following = take() if number < few else None
            yield items[number], None if following is None else items[following]
            number = take() if following is None else following

    def stop_drawing(self) -> None:
        """Let no rank draw any more."""
        self.store.set("stopping", "1")

    def beat(self, count: int) -> None:
        """Rank 0: show the others that this process lives."""
        self.store.set("alive", str(count))

    def last_beat(self) -> str:
        """What rank 0 said last in `beat`; empty before the first time."""
        return self.store.get("alive").decode() if self.store.check(["alive"]) else ""


@contextlib.contextmanager
def process_group(ranks: Ranks, settings: DistributedConfig) -> Iterator[Group]:
    """Join the job's process group, and leave it at the end, all ranks together."""
    torch.set_num_threads(settings.cpu_threads)
    store = rendezvous(ranks, settings.timeout_s)
    try:
        group = Group(ranks, settings.timeout_s, store)
        yield group
        if dist.is_initialized():
            group.meet(after="the phase")  # torchrun ends all when one exits with a code: not before rank 0 is done
            dist.destroy_process_group()
    except dist.DistNetworkError as error:
        raise PeerLostError(STORE_LOST) from error
    except RuntimeError as error:  # after an error the connections are closed by the end of the process alone
        if not _PEER_LOST.search(str(error)):
            raise
        raise PeerLostError(f"rank {ranks.rank} lost its connection: another rank ended first") from error
