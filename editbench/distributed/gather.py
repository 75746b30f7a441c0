"""The way of results to rank 0, behind the work; with `group.py` the only file in which ranks talk.

Results travel on the group without a limit of time. The same connections tell at once when a process has died: rank 0
listens to every rank, every rank listens to rank 0, and whoever loses the other ends.
"""

import functools
import itertools
import math
import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

from editbench.distributed.group import STORE_LOST, Group
from editbench.errors import EXIT_PEER_LOST, PeerLostError, UserError

_GRACE_S = 2.0
"""How long the work of this process may take to end by itself once the job has failed."""

_NO_MORE = -1
"""Sent in place of a result's length by a rank that has nothing more to send, and back by rank 0 at the end."""


class Gather:
    """Brings results of all ranks to rank 0, in the background, in any order.

    `put` hands over a function that makes the result (so that, say, PNG encoding leaves the caller's path too). At
    most one result of a rank is on its way: `put` blocks until the one before has arrived. Rank 0 takes one result
    at a time. Use as a context manager: leaving it waits until the results of all ranks have arrived and were
    handled. After an error nothing more is handled. Where the caller is at work and does not come back soon after
    the job has failed (another process died, or was silent for too long), the process is ended from here.

    Args:
        group: The job's processes. A rank that is silent for `group.timeout_s`, without a result and without a
            `meet` of all, fails the job and is named.
        handle: Called on rank 0 for one result at a time, from a thread of this class; not called on the others.
        abandon: Called before the process is ended from here.
    """

    def __init__(self, group: Group, handle: Callable[[Any], None], abandon: Callable[[], None]) -> None:
        self._group, self._handle, self._abandon = group, handle, abandon
        self._timeout_s, self._is_rank_0 = group.timeout_s, group.ranks.rank == 0
        self._writing = threading.Lock()
        self._failing = threading.Lock()
        self._handling_since = math.inf
        self._error: BaseException | None = None
        self._left, self._over = threading.Event(), threading.Event()
        self._arrived = threading.Event()
        self._arrived.set()
        self._queue: queue.Queue[Callable[[], Any] | None] = queue.Queue()
        # when each rank was last heard of; infinity while it waits for rank 0
        self._heard = dict.fromkeys(range(group.ranks.world_size), math.inf)
        self._sending = set(self._heard)
        self._one_done = threading.Event()
        others = [functools.partial(self._receive, rank) for rank in self._heard if rank != 0]
        works = [self._watch, *others] if self._is_rank_0 else [self._listen, self._watch_rank_0]
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), daemon=True) for work in (self._send_all, *works)
        ]

    def __enter__(self) -> "Gather":
        self._heard_all()
        for thread in self._threads:
            thread.start()
        return self

    def put(self, make: Callable[[], Any]) -> None:
        """Send what `make` returns to rank 0.

        Raises:
            Exception: what `make`, `handle` or the network raised for this or an earlier result.
        """
        self._offer(make)

    def meet(self, stopping: bool) -> bool:
        """`Group.meet`, which counts as a sign of every rank."""
        stopping = self._group.meet(stopping)
        self._heard_all()
        return stopping

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if error is not None:  # the process is about to end; the threads are daemons
                while self._error is None and not self._arrived.wait(timeout=0.1):
                    pass  # what was put before is done work
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

    def _offer(self, item: Callable[[], Any] | None) -> None:
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
        except dist.DistNetworkError:
            self._fail(PeerLostError(STORE_LOST))
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
        if self._writing.acquire(timeout=5):  # what is being written is written to its end
            self._abandon()
        os._exit(EXIT_PEER_LOST if isinstance(error, PeerLostError) else 1)

    def _send_all(self) -> None:
        while (make := self._queue.get()) is not None:
            result = make()
            if self._is_rank_0:
                self._take(0, functools.partial(_itself, result))
            else:
                data = torch.frombuffer(bytearray(pickle.dumps(result)), dtype=torch.uint8)
                self._send(torch.tensor([len(data)]), 0)
                self._send(data, 0)
            self._arrived.set()
        if self._is_rank_0:
            self._done(0)
        else:
            self._send(torch.tensor([_NO_MORE]), 0)

    def _receive(self, rank: int) -> None:
        """Rank 0: take what one rank sends, until it has nothing more."""
        length = torch.zeros(1, dtype=torch.int64)
        while True:
            self._recv(length, rank)
            if int(length) == _NO_MORE:
                return self._done(rank)
            self._take(rank, functools.partial(self._received, rank, int(length)))

    def _received(self, rank: int, length: int) -> Any:
        data = torch.empty(length, dtype=torch.uint8)
        self._recv(data, rank)
        return pickle.loads(data.numpy().tobytes())

    def _take(self, rank: int, receive: Callable[[], Any]) -> None:
        """Handle one result at a time; so one at a time is in rank 0's memory."""
        self._heard[rank] = math.inf
        with self._writing:
            self._heard[rank] = time.monotonic()
            result = receive()
            self._heard[rank], self._handling_since = math.inf, time.monotonic()
            if self._error is None:
                try:
                    self._handle(result)
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
            self._group.beat(count)
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
        for rank in range(1, self._group.ranks.world_size):
            self._send(torch.tensor([_NO_MORE]), rank)

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
            if said != (said := self._group.last_beat()):
                since = time.monotonic()
            elif time.monotonic() - since > self._timeout_s:
                error = UserError(
                    f"nothing came from rank 0 within distributed.timeout_s={self._timeout_s}; see its file under logs/"
                )
                error.on_all_ranks = self._group.ranks.rank != 1
                raise error

    def _heard_all(self) -> None:
        self._heard = dict.fromkeys(self._heard, time.monotonic())

    def _send(self, tensor: torch.Tensor, rank: int) -> None:
        try:
            dist.send(tensor, dst=rank, group=self._group.patient)
        except RuntimeError as error:
            raise PeerLostError(f"rank {rank} ended before the others; see its error") from error

    def _recv(self, tensor: torch.Tensor, rank: int) -> None:
        try:
            dist.recv(tensor, src=rank, group=self._group.patient)
        except RuntimeError as error:
            raise PeerLostError(f"rank {rank} ended before the others; see its error") from error


def _itself(result: Any) -> Any:
    """Rank 0 has its own results already."""
    return result
