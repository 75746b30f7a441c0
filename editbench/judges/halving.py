"""Asks for a batch; one that fails is halved until what fails stands alone."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from editbench.distributed import devices
from editbench.errors import UserError
from editbench.judges.base import Request
from editbench.text import printable

logger = logging.getLogger(__name__)


def ask(
    requests: Sequence[Request],
    prepare: Callable[[Sequence[Request]], Any],
    answer: Callable[[Any], list[Any]],
    prepared: Any = None,
) -> list[Any]:
    """Ask for one batch; a batch that fails is halved until what fails stands alone.

    Args:
        requests: The batch.
        prepare: The judge's `prepare`.
        answer: Gives the answers to what was prepared.
        prepared: What `prepare` made of the requests, if it was called already.

    Returns:
        For each request its answer, or the exception that it raised when asked alone.

    Raises:
        UserError: what is wrong is wrong for all samples.
    """
    if not requests:
        return []
    try:
        answers = answer(prepare(requests) if prepared is None else prepared)
        if len(answers) != len(requests):
            raise ValueError(f"the judge gave {len(answers)} answers to {len(requests)} requests")
        return list(answers)
    except Exception as error:
        if isinstance(error, UserError) or devices.is_lost(error):
            raise
        if len(requests) == 1:
            logger.debug("the traceback", exc_info=True)
            error.__traceback__ = error.__cause__ = error.__context__ = None  # they hold on to the tensors of this try
            return [error]
        cause = printable(f"{type(error).__name__}: {error}")
        logger.warning("a batch of %d failed and is halved: %s", len(requests), cause)
    devices.empty_cache()  # outside the except clause: the exception holds on to the batch's tensors
    middle = len(requests) // 2
    return ask(requests[:middle], prepare, answer) + ask(requests[middle:], prepare, answer)
