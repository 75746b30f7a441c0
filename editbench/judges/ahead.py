"""Work that is done in threads while the results before it are used."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WORKERS = 4
"""Threads that prepare batches for one replica, where there are cores for them."""


def preparation_workers() -> int:
    """Threads that prepare batches: this process's part of the node's cores, at most `MAX_WORKERS`."""
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(cores, MAX_WORKERS))


def work_ahead(
    submit: Callable[[Item], Future[Result]],
    draws: Iterable[tuple[Item, Item | None]],
    most: int,
    stop: Callable[[], bool],
) -> Iterator[Result]:
    """Work on items in threads while the results before theirs are used; the results come in order.

    One item is taken ahead, and one more, up to a limit, whenever a result had to be waited for.

    Args:
        submit: Begins the work on an item.
        draws: Each item with the one that follows it; with None, nothing is taken before that item's result is used.
        most: Items that are taken ahead.
        stop: Once it gives true, no item is taken and no result is given.
    """
    source, waiting, ahead, follows = iter(draws), deque[Future[Result]](), 1, True
    while not stop():
        while len(waiting) <= ahead and (follows or not waiting) and (drawn := next(source, None)):
            waiting.append(submit(drawn[0]))
            follows = drawn[1] is not None
        if not waiting:
            return
        ahead = min(ahead + (not waiting[0].done()), most)
        result = waiting.popleft().result()
        if stop():
            return
        yield result
