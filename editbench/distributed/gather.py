"""The way of bytes to rank 0, behind the work; with `distributed.py` the only file in which ranks talk.

Payloads travel on the group without a limit of time, as uint8 tensors, never as pickles. The same connections tell at
once when a process has died: rank 0 listens to every rank, every rank listens to rank 0, and whoever loses the other
ends.
"""

import functools
import itertools
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from editbench.distributed import group as distributed
from editbench.errors import EXIT_PEER_LOST, PeerLostError, UserError

_GRACE_S = 2.0
"""How long the work of this process may take to end by itself once the job has failed."""

_NO_MORE = -1
"""Sent in place of a payload's length by a rank that has nothing more to send, and back by rank 0 at the end."""


class Gather:
    """Brings payloads of all ranks to rank 0, in the background, in any order.

    `put` hands over a function that makes the payload (so that, say, PNG encoding leaves the caller's path too). At
    most one payload of a rank is on its way: `put` blocks until the one before has arrived. Rank 0 takes one payload
    at a time. Use as a context manager: leaving it waits until the payloads of all ranks have arrived and were
    handled. After an error nothing more is handled. Where the caller is at work and does not come back soon after
    the job has failed (another process died, or was silent for too long), the process is ended from here.

    Args:
        handle: Called on rank 0 for one payload at a time, from a thread of this class; None on the others.
        timeout_s: Seconds a rank may be silent before the job fails and names it: without a payload, and without a
            `barrier` passed by all.
        abandon: Called before the process is ended from here.
    """

    def __init__(
        self, handle: Callable[[bytes], None] | None, timeout_s: int, abandon: Callable[[], None] | None = None
    ) -> None:
        self._handle, self._timeout_s, self._abandon = handle, timeout_s, abandon
        self._group = distributed.patient_group()
        self._writing = threading.Lock()
        self._failing = threading.Lock()
        self._handling_since = math.inf
        self._error: BaseException | None = None
        self._left, self._over = threading.Event(), threading.Event()
        self._arrived = threading.Event()
        self._arrived.set()
        self._queue: queue.Queue[Callable[[], bytes] | None] = queue.Queue()
        # when each rank was last heard of; infinity while it waits for rank 0
        self._heard = dict.fromkeys(range(dist.get_world_size()), math.inf)
        self._sending = set(self._heard)
        self._one_done = threading.Event()
        works: list[Callable[[], None]] = [self._send_all, self._watch if handle else self._listen]
        if handle:
            works += [functools.partial(self._receive, rank) for rank in range(1, dist.get_world_size())]
        else:
            works.append(self._watch_rank_0)
        self._threads = [threading.Thread(target=self._guard, args=(work,), daemon=True) for work in works]

    def __enter__(self) -> "Gather":
        self._heard_all()
        for thread in self._threads:
            thread.start()
        return self

    def put(self, make: Callable[[], bytes]) -> None:
        """Send what `make` returns to rank 0.

        Raises:
            Exception: what `make`, `handle` or the network raised for this or an earlier payload.
        """
        self._offer(make)

    def barrier(self, stopping: bool) -> bool:
        """The batch synchronization point, which counts as a sign of every rank; see `distributed.barrier`."""
        stopping = distributed.barrier(stopping)
        self._heard_all()
        return stopping

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if error is not None:  # the process is about to end; the threads are daemons
                with self._failing:
                    self._error = self._error or error
                return
            self._offer(None)
            for thread in self._threads:
                while thread.is_alive():
                    thread.join(timeout=0.1)
                    self._raise()
            self._raise()
        finally:
            self._left.set()

    def _offer(self, item: Callable[[], bytes] | None) -> None:
        while not self._arrived.wait(timeout=0.1):
            self._raise()
        self._raise()
        self._arrived.clear()
        self._queue.put(item)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Let the caller raise the error, or end the process if it does not come to that soon."""
        with self._failing:
            first = self._error is None
            self._error = self._error or error
        if not first or not isinstance(error, UserError) or self._left.wait(_GRACE_S):
            return
        if not isinstance(error, PeerLostError) and not error.on_all_ranks:
            print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201
        if self._abandon and self._writing.acquire(timeout=5):  # what is being written is written to its end
            self._abandon()
        os._exit(EXIT_PEER_LOST if isinstance(error, PeerLostError) else 1)

    def _send_all(self) -> None:
        while (make := self._queue.get()) is not None:
            payload = make()
            if self._handle:
                self._take(self._handle, 0, functools.partial(bytes, payload))
            else:
                self._send(torch.tensor([len(payload)], dtype=torch.int64), 0)
                self._send(distributed.to_tensor(payload), 0)
            self._arrived.set()
        if self._handle:
            self._done(0)
        else:
            self._send(torch.tensor([_NO_MORE], dtype=torch.int64), 0)

    def _receive(self, rank: int) -> None:
        """Rank 0: take what one rank sends, until it has nothing more."""
        assert self._handle is not None
        length = torch.zeros(1, dtype=torch.int64)
        while True:
            self._recv(length, rank)
            if int(length) == _NO_MORE:
                return self._done(rank)
            self._take(self._handle, rank, functools.partial(self._payload, rank, int(length)))

    def _payload(self, rank: int, length: int) -> bytes:
        payload = torch.empty(length, dtype=torch.uint8)
        self._recv(payload, rank)
        return distributed.to_bytes(payload)

    def _take(self, handle: Callable[[bytes], None], rank: int, receive: Callable[[], bytes]) -> None:
        """Handle one payload at a time; so one at a time is in rank 0's memory."""
        self._heard[rank] = math.inf
        with self._writing:
            self._heard[rank] = time.monotonic()
            payload = receive()
            self._heard[rank], self._handling_since = math.inf, time.monotonic()
            if self._error is None:
                try:
                    handle(payload)
                except BaseException as error:
                    self._error = error
            self._handling_since = math.inf
        self._heard[rank] = time.monotonic()

    def _done(self, rank: int) -> None:
        self._sending.discard(rank)
        self._one_done.set()

    def _watch(self) -> None:
        """Rank 0: look for ranks that are silent for too long; at the end, tell all that they may go."""
        for count in itertools.count():
            if not self._sending:
                break
            distributed.beat(count)
            now = time.monotonic()
            if now - self._handling_since > self._timeout_s:
                raise UserError(
                    f"the run folder has not taken what is to be written within distributed.timeout_s={self._timeout_s}"
                )
            late = [rank for rank in sorted(self._sending) if now - self._heard[rank] > self._timeout_s]
            if late:
                raise UserError(
                    f"nothing came from rank {', '.join(map(str, late))} within distributed.timeout_s="
                    f"{self._timeout_s}; see their files under logs/, or give more time"
                )
            self._one_done.wait(timeout=1.0)
            self._one_done.clear()
        for rank in range(1, dist.get_world_size()):
            self._send(torch.tensor([_NO_MORE], dtype=torch.int64), rank)

    def _listen(self) -> None:
        """Other ranks: wait for the word that all is done.

        A rank that closed its connections before would break rank 0's wait for another one, and how long that takes
        is for rank 0 to judge.
        """
        self._recv(torch.zeros(1, dtype=torch.int64), 0)
        self._over.set()

    def _watch_rank_0(self) -> None:
        """Other ranks: see that rank 0, which watches all others, is alive itself."""
        said, since = "", time.monotonic()
        while not self._over.wait(min(5.0, self._timeout_s / 4)):
            if said != (said := distributed.last_beat()):
                since = time.monotonic()
            elif time.monotonic() - since > self._timeout_s:
                error = UserError(
                    f"nothing came from rank 0 within distributed.timeout_s={self._timeout_s}; see its file under logs/"
                )
                error.on_all_ranks = dist.get_rank() != 1
                raise error

    def _heard_all(self) -> None:
        self._heard = dict.fromkeys(self._heard, time.monotonic())

    def _send(self, tensor: torch.Tensor, rank: int) -> None:
        try:
            dist.send(tensor, dst=rank, group=self._group)
        except RuntimeError as error:
            raise PeerLostError(f"rank {rank} ended before the others; see its error") from error

    def _recv(self, tensor: torch.Tensor, rank: int) -> None:
        try:
            dist.recv(tensor, src=rank, group=self._group)
        except RuntimeError as error:
            raise PeerLostError(f"rank {rank} ended before the others; see its error") from error
