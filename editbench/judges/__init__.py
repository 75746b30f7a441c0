"""Judges: anything that replies in words to a rubric's prompt and one or two images.

A new judge is a class with this shape, named by `_target_` in a YAML under `conf/judge/` that starts from
`judge_loop`; its constructor takes `devices` (such as `["cuda:0"]`, or `["cpu"]`) and the YAML's keyword arguments
beside the loop's, and loads the model. Heavy imports belong into the constructor. An argument named `checkpoint`
(with `revision`) is resolved to a local folder first and counts by its content. Scores are read from the replies by
`reply.py`, never by the judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

CUT_OFF = "…"
"""Last character of a reply that was cut off; a number right before it is no score, its end is missing."""


@dataclass(frozen=True)
class Request:
    """What the judge is asked about one sample.

    Attributes:
        index: The sample's position in the plan.
        system: The rubric's system prompt.
        user: The rubric's user template, filled in.
        images: Mode RGB: the edited image, or the source and the edited image.
        followups: For a reply that held no score: (that reply, what is said to it), oldest first.
    """

    index: int
    system: str
    user: str
    images: tuple[Image.Image, ...]
    followups: tuple[tuple[str, str], ...] = ()


class Judge(Protocol):
    """Replies to batches of requests."""

    def reply(self, requests: Sequence[Request]) -> list[str]:
        """Give one reply per request, in order; none may depend on the others.

        Raises:
            Exception: the batch as a whole failed (out of memory, a bad image); it is halved and tried again.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Return facts for the report; the key `note` is repeated in plain sight."""
        ...
