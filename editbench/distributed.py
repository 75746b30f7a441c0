"""Ranks, synchronization, and the way of bytes to rank 0: the only file with collectives.

Everything travels on gloo, as CPU data: PNG bytes and JSON as uint8 tensors, never as pickles.
"""

import contextlib
import datetime
import json
import os
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from editbench.checkpoints import Checkpoint
from editbench.config import DistributedConfig
from editbench.devices import available_host_memory, concurrent_loads
from editbench.errors import PeerLostError, UserError

Item = TypeVar("Item")

_patient: Any = None
"""Group for waits whose length depends on the work, not on the health, of other ranks."""

_NO_MORE = -1
"""Sent in place of a payload's length by a rank that has nothing more to send."""

_PEER_LOST = re.compile("Connection (closed by|reset by) peer|Broken pipe|Connection refused")


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
    global _patient
    _patient = dist.new_group(backend="gloo", timeout=datetime.timedelta(days=365))
    try:
        yield
        dist.barrier(_patient)  # torchrun ends all when one exits with a code: not before rank 0 has written its status
    except RuntimeError as error:
        if not _PEER_LOST.search(str(error)):
            raise
        raise PeerLostError(f"rank {ranks.rank} lost its connection: another rank ended first") from error
    finally:
        dist.destroy_process_group()


def barrier(timeout_s: int, stopping: bool = False) -> bool:
    """Wait until all ranks are here: the batch synchronization point.

    Args:
        timeout_s: Seconds to wait before the job fails.
        stopping: Whether this rank wants the job to stop.

    Returns:
        Whether any rank wants the job to stop.

    Raises:
        UserError: ranks did not come in time; rank 0's sentence names them.
    """
    began = time.monotonic()
    try:
        dist.monitored_barrier(timeout=datetime.timedelta(seconds=timeout_s), wait_all_ranks=True)
    except RuntimeError as error:
        late = re.search(r"Ranks? ([\d, ]+) failed to pass monitoredBarrier", str(error))
        if late is None:
            raise
        if time.monotonic() - began < timeout_s:  # gloo words a lost connection in the same way
            raise UserError(f"rank {late.group(1).strip()} ended before the others; see its error") from error
        raise UserError(
            f"rank {late.group(1).strip()} did not reach the end of the round within distributed.timeout_s="
            f"{timeout_s}; see its file under logs/, or give more time"
        ) from error
    flag = torch.tensor([int(stopping)])
    dist.barrier()
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)


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


def all_gather(value: Any) -> list[Any]:
    """Give every rank's JSON value to all ranks, in rank order."""
    data = json.dumps(value).encode()
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, torch.tensor([len(data)], dtype=torch.int64))
    longest = max(int(length) for length in lengths)
    padded = [torch.zeros(longest, dtype=torch.uint8) for _ in lengths]
    dist.all_gather(padded, _to_tensor(data.ljust(longest)))
    return [json.loads(_to_bytes(tensor)[: int(length)]) for tensor, length in zip(padded, lengths, strict=True)]


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
def loading_turn(ranks: Ranks, limit: int | str, checkpoint: Checkpoint | None) -> Iterator[None]:
    """Let the body, which loads a model, run on as many ranks of each node at a time as host memory takes.

    Args:
        ranks: Who this process is; turns follow local ranks.
        limit: How many at most, or `auto`.
        checkpoint: What is loaded; None if nothing large.
    """
    size = checkpoint.size_bytes if checkpoint else 0
    at_once = min(all_gather(concurrent_loads(limit, size, available_host_memory(), ranks.local_world_size)))
    turns = max(all_gather(-(-ranks.local_world_size // at_once)))
    mine = ranks.local_rank // at_once
    for _ in range(mine):
        dist.barrier()
    yield
    for _ in range(turns - mine):
        dist.barrier()


class Gather:
    """Brings payloads of all ranks to rank 0, in the background, in any order.

    `put` hands over a function that makes the payload (so that, say, PNG encoding leaves the caller's path too);
    at most one is being made or sent and one waits, then `put` blocks. Rank 0 takes one payload at a time.
    Use as a context manager: leaving it waits until the payloads of all ranks have arrived and were handled. After
    an error nothing more is handled.

    Args:
        handle: Called on rank 0 for one payload at a time, from a thread of this class; None on the others.
        timeout_s: Seconds rank 0 waits for the next payload before the job fails.
    """

    def __init__(self, handle: Callable[[bytes], None] | None, timeout_s: int) -> None:
        self._handle = handle
        self._timeout_s = timeout_s
        self._took = time.monotonic()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._queue: queue.Queue[Callable[[], bytes] | None] = queue.Queue(maxsize=1)
        self._group: Any = dist.new_group(backend="gloo", timeout=datetime.timedelta(seconds=timeout_s))
        works = [self._send_all] + ([lambda: self._receive(handle)] if handle else [])
        self._threads = [threading.Thread(target=self._guard, args=(work,), daemon=True) for work in works]

    def __enter__(self) -> "Gather":
        for thread in self._threads:
            thread.start()
        return self

    def put(self, make: Callable[[], bytes]) -> None:
        """Send what `make` returns to rank 0.

        Raises:
            Exception: what `make`, `handle` or the network raised for this or an earlier payload.
        """
        self._offer(make)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:  # the process is about to end; the threads are daemons
            with self._lock:
                self._error = self._error or error
            return
        self._offer(None)
        for thread in self._threads:
            while thread.is_alive():
                thread.join(timeout=0.1)
                self._raise()
        self._raise()
        # A rank that closed its connections now would break rank 0's wait for another one; how long that takes is
        # for rank 0 to judge.
        dist.barrier(group=_patient)

    def _offer(self, item: Callable[[], bytes] | None) -> None:
        while True:
            self._raise()
            with contextlib.suppress(queue.Full):
                return self._queue.put(item, timeout=0.1)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error

    def _send_all(self) -> None:
        while (make := self._queue.get()) is not None:
            payload = make()
            if self._handle:
                self._take(self._handle, payload)
            else:
                dist.send(torch.tensor([len(payload)], dtype=torch.int64), dst=0, group=self._group)
                dist.send(_to_tensor(payload), dst=0, group=self._group)
        if not self._handle:
            dist.send(torch.tensor([_NO_MORE], dtype=torch.int64), dst=0, group=self._group)

    def _receive(self, handle: Callable[[bytes], None]) -> None:
        sending = set(range(1, dist.get_world_size()))
        length = torch.zeros(1, dtype=torch.int64)
        while sending:
            try:
                source = dist.recv(length, group=self._group)
            except RuntimeError as error:
                if "Timed out" not in str(error):
                    raise
                raise UserError(
                    f"nothing came from rank {', '.join(map(str, sorted(sending)))} within distributed.timeout_s="
                    f"{self._timeout_s}; see their files under logs/, or give more time"
                ) from error
            if int(length) == _NO_MORE:
                sending.remove(source)
                continue
            payload = torch.empty(int(length), dtype=torch.uint8)
            dist.recv(payload, src=source, group=self._group)
            self._take(handle, _to_bytes(payload))
        while self._threads[0].is_alive():  # rank 0 is the last one at work, and nobody else can see whether it hangs
            self._threads[0].join(timeout=1)
            if time.monotonic() - self._took > self._timeout_s:
                print(  # noqa: T201
                    f"error: nothing came from rank 0 within distributed.timeout_s={self._timeout_s}; see its file "
                    "under logs/, or give more time",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)

    def _take(self, handle: Callable[[bytes], None], payload: bytes) -> None:
        with self._lock:
            self._took = time.monotonic()
            if self._error is None:
                try:
                    handle(payload)
                except BaseException as error:
                    self._error = error


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
    dist.broadcast(length, src=0)
    payload = _to_tensor(data) if data else torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(payload, src=0)
    return json.loads(_to_bytes(payload))


def _to_tensor(data: bytes) -> torch.Tensor:
    if not data:  # frombuffer refuses an empty buffer
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _to_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.numpy().tobytes()
