"""How many requests a server has at a time: fewer once it puts one off, more again as it answers."""

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from editbench.errors import ServerError, StoppedError

FIRST_WAIT_S, LONGEST_BACKOFF_S = 0.5, 60.0

_LOOK_S = 0.2
"""Who waits looks this often, in seconds, whether the phase is stopping."""

_FIRST_ROUNDS, _MOST_ROUNDS = 2, 16
"""So many times as many answers as there are requests at a time, at first and at most, before one more is tried."""


@dataclass
class Turn:
    """A request while the server has it.

    Attributes:
        beside: Requests that the server had when it was sent.
        answers: Requests that it had answered by then.
        outcome: To be set: whether the server has `answered` it, has `put_off` requests, or the request has `failed`.
        wait_s: Seconds that the server wants requests to wait that it puts off; None if it says nothing.
        refused: Set at its end: how often in a row a request was put off that the server had nothing beside.
    """

    beside: int
    answers: int
    outcome: str = "failed"
    wait_s: float | None = None
    refused: int = 0


class Gate:
    """Lets requests through to a server in the order in which they come, some at a time; used by several threads.

    A request that is put off lowers their number to those that the server has beside it, one at least: it goes on as
    fast as the server answers those. Only where there are none, and nothing was answered meanwhile, is there a pause
    that grows, or where the server asks for one; nothing is sent before its end. As requests are answered, one more at
    a time is tried, the later the more often that was too many. Whoever waits stops waiting as soon as the phase is
    stopping or the server is given up.

    Args:
        most: Requests at a time in the beginning, and at most.

    Attributes:
        stopping: Tells whether the phase is stopping.
        retries: How many requests were to be sent again.
    """

    def __init__(self, most: int) -> None:
        self.stopping: Callable[[], bool] = lambda: False
        self.retries = 0
        self._changed = threading.Condition()
        self._waiting = deque[object]()
        self._most = self._limit = most
        self._in_flight = self._answers = self._refused = 0
        self._opens = 0.0
        self._rounds, self._more_at, self._tries_more = _FIRST_ROUNDS, 0, False
        self._given_up: str | None = None
        self._of_thread = threading.local()

    @property
    def waited_s(self) -> float:
        """Seconds that requests of the calling thread have waited here."""
        return getattr(self._of_thread, "waited_s", 0.0)

    @contextlib.contextmanager
    def turn(self) -> Iterator[Turn]:
        """Wait until a request may be sent; the body sends it and says what came of it.

        Raises:
            ServerError: the server was given up.
            StoppedError: the phase is stopping, and the request may not be sent yet.
        """
        with self._waits():
            me = object()
            self._waiting.append(me)
            try:
                while not self._may_go(me):
                    self._wait(self._opens - time.monotonic())
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
            turn = Turn(self._in_flight, self._answers)
            self._in_flight += 1
        try:
            yield turn
        finally:
            with self._changed:
                self._in_flight -= 1
                if turn.outcome == "answered":
                    self._answered()
                elif turn.outcome == "put_off":
                    self._put_off(turn)
                self._changed.notify_all()

    def pause(self, pauses: int, wanted_s: float | None) -> None:
        """Let one request wait, before it asks for a turn again; takes what `pause_s` takes, raises as `turn` does."""
        ends = time.monotonic() + pause_s(pauses, wanted_s)
        with self._waits():
            self.retries += 1
            while (left := ends - time.monotonic()) > 0:
                self._wait(left)

    def give_up(self, why: str) -> None:
        """Let no request through any more: each raises a ServerError that says why."""
        with self._changed:
            self._given_up = why
            self._changed.notify_all()

    @contextlib.contextmanager
    def _waits(self) -> Iterator[None]:
        """Hold the lock, see that the server was not given up, and count the time for the thread."""
        began = time.monotonic()
        try:
            with self._changed:
                if self._given_up is not None:
                    raise ServerError(self._given_up)
                yield
        finally:
            self._of_thread.waited_s = self.waited_s + time.monotonic() - began

    def _wait(self, seconds: float) -> None:
        """Wait until something changes, so many seconds at most, or a short while (as it does for 0 and less)."""
        if self.stopping():
            raise StoppedError
        self._changed.wait(min(seconds, _LOOK_S) if seconds > 0 else _LOOK_S)
        if self._given_up is not None:
            raise ServerError(self._given_up)

    def _may_go(self, me: object) -> bool:
        return self._waiting[0] is me and self._in_flight < self._limit and time.monotonic() >= self._opens

    def _answered(self) -> None:
        self._answers += 1
        self._refused = 0
        was_full = self._in_flight + 1 >= self._limit  # else it does not show that the server takes so many
        if was_full and self._limit < self._most and self._answers >= self._more_at:
            if self._tries_more:  # and it was not too many
                self._rounds = max(1, self._rounds // 2)
            self._set_limit(self._limit + 1)
            self._tries_more = True

    def _put_off(self, turn: Turn) -> None:
        if self._tries_more:
            self._rounds = min(2 * self._rounds, _MOST_ROUNDS)
        alone = not self._in_flight and self._answers == turn.answers
        self._set_limit(1 if alone else max(1, min(self._limit, max(turn.beside, self._in_flight))))
        self._tries_more = False
        self._refused += alone
        self.retries += 1
        turn.refused = self._refused
        if alone or turn.wait_s is not None:
            self._close_for(pause_s(self._refused - 1, turn.wait_s))

    def _set_limit(self, limit: int) -> None:
        self._limit, self._more_at = limit, self._answers + self._rounds * limit

    def _close_for(self, seconds: float) -> None:
        self._opens = max(self._opens, time.monotonic() + seconds)


def pause_s(pauses: int, wanted_s: float | None) -> float:
    """Seconds of a pause: what the server wants, else growing; drawn, so that not all end at the same moment.

    Args:
        pauses: How many there were before.
        wanted_s: Seconds that the server wants; None if it says nothing.
    """
    if wanted_s is None:
        wanted_s = min(FIRST_WAIT_S * 2.0 ** min(pauses, 20), LONGEST_BACKOFF_S) * random.uniform(0.5, 1.0)
    return wanted_s + random.uniform(0.0, FIRST_WAIT_S)
