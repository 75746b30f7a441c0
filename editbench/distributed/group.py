"""Ranks, the process group and what all ranks do together: the only file with collectives.

Everything travels on gloo, as CPU data: JSON as uint8 tensors, never as pickles. The way of results to rank 0 is in
`gather.py`.
"""

import contextlib
import dataclasses
import datetime
import itertools
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

import torch
import torch.distributed as dist

from editbench.config.schema import DistributedConfig
from editbench.distributed.host_memory import available_host_memory, concurrent_loads
from editbench.errors import PeerLostError, UserError

Item = TypeVar("Item")

_patient: Any = None
"""Group for waits whose length depends on the work, not on the health, of other ranks."""

_store: Any = None
"""The job's key-value store, of this start of its processes alone."""

_PIECE = 1000

_SECONDS_TO_SAY_PREEMPTED = 5

_barriers = 0
_timeout_s = 0

_PEER_LOST = re.compile("gloo.*(Connection (closed by|reset by) peer|Broken pipe|Connection refused)", re.S)


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


@contextlib.contextmanager
def process_group(ranks: Ranks, settings: DistributedConfig) -> Iterator[None]:
    """Join the job's process group, and leave it at the end."""
    torch.set_num_threads(settings.cpu_threads)
    if "RANK" not in os.environ:
        os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
        os.environ.setdefault("MASTER_PORT", "0")
    timeout = datetime.timedelta(seconds=settings.timeout_s)
    store, _, _ = next(dist.rendezvous("env://", ranks.rank, ranks.world_size, timeout=timeout))
    store.set_timeout(timeout)
    if ranks.local_world_size == ranks.world_size:
        # torchrun's restart keeps the store, and with it the dead workers' addresses. With several nodes this number
        # is not the same on all of them; there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives each restart its own store.
        store = dist.PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    dist.init_process_group("gloo", store=store, rank=ranks.rank, world_size=ranks.world_size, timeout=timeout)
    global _patient, _store, _timeout_s
    _timeout_s = settings.timeout_s
    _patient = dist.new_group(backend="gloo", timeout=datetime.timedelta(days=365))
    _store = dist.PrefixStore(_broadcast(secrets.token_hex(8)), store)  # counters of an earlier start are not ours
    try:
        yield
        if dist.is_initialized():
            dist.barrier(_patient)  # torchrun ends all when one exits with a code: not before rank 0 wrote its status
            dist.destroy_process_group()
    except RuntimeError as error:  # after an error the connections are closed by the end of the process alone
        if not _PEER_LOST.search(str(error)):
            raise
        raise PeerLostError(f"rank {ranks.rank} lost its connection: another rank ended first") from error


def patient_group() -> Any:
    """The group whose operations have no limit of time."""
    return _patient


def draw(what: str, items: Sequence[Item], ranks: Ranks) -> Iterator[Item | None]:
    """Take items that no other rank has, in order, until there are no more or a rank wants the job to stop.

    The one who asks may take an item ahead of its work. So that no item waits for the work of the rank that drew it
    while another rank is idle, towards the end a None stands behind each item.

    Args:
        what: Name of the counter in the job's store, one for each list of items.
        items: The same on all ranks.
        ranks: Who this process is.
    """
    while not _store.check(["stopping"]) and (number := int(_store.add(f"drawn-{what}", 1)) - 1) < len(items):
        yield items[number]
        if number >= len(items) - 3 * ranks.world_size:
            yield None


def stop_drawing() -> None:
    """Let no rank draw any more."""
    _store.set("stopping", "1")


def beat(count: int) -> None:
    """Rank 0: show the others that this process lives."""
    _store.set("alive", str(count))


def last_beat() -> str:
    """What rank 0 said last in `beat`; empty before the first time."""
    return _store.get("alive").decode() if _store.check(["alive"]) else ""


def leave_preempted(ranks: Ranks) -> None:
    """Leave the group while others may still wait in it, because of a signal to all ranks.

    Raises:
        PeerLostError: on rank 0, if the signal has not come to all: torchrun sends one to the rest when a rank fails.
    """
    dist.destroy_process_group()
    _store.set(f"preempted-{ranks.rank}", "1")
    if ranks.rank == 0:
        try:
            _store.wait(
                [f"preempted-{rank}" for rank in range(ranks.world_size)],
                datetime.timedelta(seconds=_SECONDS_TO_SAY_PREEMPTED),
            )
        except dist.DistStoreError as error:
            raise PeerLostError("another rank ended while the model was being loaded; see its error") from error


def barrier(stopping: bool = False) -> bool:
    """Wait until all ranks are here: the batch synchronization point.

    Args:
        stopping: Whether this rank wants the job to stop.

    Returns:
        Whether any rank wants the job to stop; the same on all ranks.

    Raises:
        UserError: ranks did not come within `distributed.timeout_s`; one of the others names them.
        PeerLostError: a rank has ended.
    """
    global _barriers
    _barriers += 1
    _store.set(f"at-{dist.get_rank()}", str(_barriers))
    if stopping:
        _store.set(f"stopping-{_barriers}", "1")
    try:
        dist.barrier()
    except RuntimeError as error:
        raise _who_is_missing(_barriers, "Timed out" in str(error)) from error
    return bool(_store.check([f"stopping-{_barriers}"]))


def _who_is_missing(barrier: int, timed_out: bool) -> UserError:
    missing: list[int] = []
    here: list[int] = []
    for rank in range(dist.get_world_size()):
        key = f"at-{rank}"
        came = _store.check([key]) and int(_store.get(key)) >= barrier
        (here if came else missing).append(rank)
    named = f"rank {', '.join(map(str, missing))}"
    if not timed_out:
        return PeerLostError(f"{named if missing else 'another rank'} ended before the others; see its error")
    error = UserError(
        f"{named} did not reach the end of the round within distributed.timeout_s={_timeout_s}; see its file under "
        "logs/, or give more time"
    )
    error.on_all_ranks = dist.get_rank() != min(here)
    return error


def on_rank_0(ranks: Ranks, work: Callable[[], Any]) -> Any:
    """Let rank 0 work and give its JSON result to all ranks.

    Raises:
        UserError: on all ranks, if rank 0's work raised it.
    """
    outcome: dict[str, Any] = {}
    if ranks.rank == 0:
        try:
            outcome = {"result": work()}
        except UserError as error:
            outcome = {"error": str(error)}
    outcome = _broadcast(outcome)
    if "error" in outcome:
        refusal = UserError(outcome["error"])
        refusal.on_all_ranks = True
        raise refusal
    return outcome["result"]


class Shared(Sequence[Item]):
    """A list that came from rank 0 as JSON; an item is decoded when it is asked for."""

    def __init__(self, lines: list[str], restore: Callable[[dict[str, Any]], Item]) -> None:
        self._lines, self._restore = lines, restore

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, at: int) -> Item: ...

    @overload
    def __getitem__(self, at: slice) -> "Shared[Item]": ...

    def __getitem__(self, at: int | slice) -> "Item | Shared[Item]":
        if isinstance(at, slice):
            return Shared(self._lines[at], self._restore)
        return self._restore(json.loads(self._lines[at]))


def share(ranks: Ranks, items: list[Item], restore: Callable[[dict[str, Any]], Item]) -> Sequence[Item]:
    """Give rank 0's list of dataclass objects to all ranks, piece by piece, so that no rank holds it twice.

    Args:
        ranks: Who this process is.
        items: On rank 0; what the others pass is ignored.
        restore: Makes an item again of its fields, those of dataclasses in it as dicts.
    """
    lines: list[str] = []
    for start in itertools.count(0, _PIECE):
        piece = _broadcast([json.dumps(item, default=_fields) for item in items[start : start + _PIECE]])
        if not piece:
            break
        if ranks.rank != 0:
            lines += piece
    return items if ranks.rank == 0 else Shared(lines, restore)


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def all_gather(value: Any) -> list[Any]:
    """Give every rank's JSON value to all ranks, in rank order."""
    data = json.dumps(value).encode()
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, torch.tensor([len(data)], dtype=torch.int64))
    longest = max(int(length) for length in lengths)
    padded = [torch.zeros(longest, dtype=torch.uint8) for _ in lengths]
    dist.all_gather(padded, to_tensor(data.ljust(longest)))
    return [json.loads(to_bytes(tensor)[: int(length)]) for tensor, length in zip(padded, lengths, strict=True)]


def deal(items: Sequence[Item], world_size: int) -> list[list[Item]]:
    """Share items out with a stride: rank r gets `items[r::world_size]`."""
    return [list(items[rank::world_size]) for rank in range(world_size)]


def node_first(ranks: Ranks, work: Callable[[], Item]) -> Item:
    """Do the same work on every rank, on the first of each node before the others (it may fill a cache)."""
    if ranks.local_rank == 0:
        result = work()
    dist.barrier(group=_patient)
    return result if ranks.local_rank == 0 else work()


@contextlib.contextmanager
def loading_turn(ranks: Ranks, limit: int | str, copied_bytes: int) -> Iterator[None]:
    """Let the body, which loads a model, run on as many ranks of each node at a time as host memory takes.

    Args:
        ranks: Who this process is; turns follow local ranks.
        limit: How many at most, or `auto`.
        copied_bytes: Host memory that each load takes for itself; weights mapped from their files are shared.
    """
    room = available_host_memory()
    at_once = min(all_gather(concurrent_loads(limit, copied_bytes, room, ranks.local_world_size)))
    turns = max(all_gather(-(-ranks.local_world_size // at_once)))
    mine = ranks.local_rank // at_once
    for _ in range(mine):
        barrier()
    yield
    for _ in range(turns - mine):
        barrier()


def pack(header: dict[str, Any], body: bytes = b"") -> bytes:
    """Put a JSON header and raw bytes into one payload: header length (8 bytes), header, body."""
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + body


def unpack(payload: bytes) -> tuple[dict[str, Any], bytes]:
    """Undo `pack`."""
    end = 8 + int.from_bytes(payload[:8], "little")
    return json.loads(payload[8:end]), payload[end:]


def _broadcast(value: Any) -> Any:
    """Give rank 0's JSON value to all ranks; what the others pass is ignored."""
    data = json.dumps(value).encode() if dist.get_rank() == 0 else b""
    length = torch.tensor([len(data)], dtype=torch.int64)
    dist.broadcast(length, src=0, group=_patient)
    payload = to_tensor(data) if data else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(payload, src=0, group=_patient)
    return json.loads(to_bytes(payload))


def to_tensor(data: bytes) -> torch.Tensor:
    """Copy bytes into a tensor, (N) uint8."""
    if not data:  # frombuffer refuses an empty buffer
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def to_bytes(tensor: torch.Tensor) -> bytes:
    """Undo `to_tensor`."""
    return tensor.numpy().tobytes()
