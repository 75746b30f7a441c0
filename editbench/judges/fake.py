"""A fake judge for tests and planning. Reports call it a fake."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from editbench.judges.base import Request


class FakeJudge:
    """Replies with a score derived from the images' pixels, or from a list.

    Args:
        devices: Not used.
        replies: Replies in dataset order, the sample at index i getting item i; an item that is a list of two holds
            the reply, and what the judge goes on with where that holds no score; one that is a mapping holds such items
            by criterion of the protocol. None: derived from the pixels, in the form that is asked for.
        latency_s: Seconds each batch waits, as a model would take.
        temperature: Above 0: what is derived from the pixels is derived from the seed too.
    """

    def __init__(
        self,
        devices: list[str],
        replies: list[str | list[str] | dict[str, str | list[str]]] | None = None,
        latency_s: float = 0.0,
        temperature: float = 0.0,
    ) -> None:
        self._replies = replies
        self._draws = temperature > 0
        self._latency_s = latency_s

    def prepare(self, requests: Sequence[Request]) -> list[Request]:
        """There is nothing to prepare."""
        return list(requests)

    def reply(self, prepared: Sequence[Request], seeds: Sequence[int] | None = None) -> list[str]:
        """Reply; same images, and with a temperature same seed, same reply."""
        time.sleep(self._latency_s)
        drawn = seeds if seeds is not None and self._draws else [None] * len(prepared)
        return [self._one(request, seed) for request, seed in zip(prepared, drawn, strict=True)]

    def check_labels(self, labels: Sequence[str]) -> None:
        """Any label will do."""

    def label_probabilities(self, prepared: Sequence[Request], labels: Sequence[str]) -> list[list[float]]:
        """Give a reply of the list that is a label all the probability, another none; else go by the pixels."""
        time.sleep(self._latency_s)
        if self._replies is not None:
            return [[float(self._one(request) == label) for label in labels] for request in prepared]
        weights = [[_digest(request)[i % 32] + 1 for i in range(len(labels))] for request in prepared]
        return [[0.9 * weight / sum(row) for weight in row] for row in weights]

    def describe(self) -> dict[str, Any]:
        """Say that it is a fake."""
        return {"note": "FAKE judge: the scores come from no model and mean nothing."}

    def _one(self, request: Request, seed: int | None = None) -> str:
        form = request.form
        if self._replies is None and form is not None:
            digest, steps = _digest(request, seed), int(form.high - form.low) + 1
            return "\n".join(f"{label}: {form.low + digest[i] % steps:g}" for i, label in enumerate(form.labels))
        if self._replies is None:
            return f"Score: {int.from_bytes(_digest(request, seed)[:4], 'big') % 10001 / 1000:.3f}"
        if request.index >= len(self._replies):
            raise ValueError(f"judge.replies has {len(self._replies)} items, none for the sample at {request.index}")
        item = self._replies[request.index]
        if isinstance(item, dict):
            name = form.criterion if form else ""
            if name not in item:
                raise ValueError(f"judge.replies has nothing for {name!r} of the sample at {request.index}")
            item = item[name]
        return item if isinstance(item, str) else item[-1 if request.wanted == "number" else 0]


def _digest(request: Request, seed: int | None = None) -> bytes:
    drawn = b"" if seed is None else str(seed).encode()
    return hashlib.sha256(b"".join(image.tobytes() for image in request.images) + drawn).digest()
