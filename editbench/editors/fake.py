"""A fake editor for tests and planning: a quick deterministic Pillow change. Reports call it a fake."""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageChops


class FakeEditor:
    """Shifts and tints the source as the instruction's and seed's hash says.

    Args:
        device: Not used.
        latency_s: Seconds each edit waits, as a model would take.
        fail_every: n > 0: raise for every sample whose instruction's hash is divisible by n.
    """

    def __init__(self, device: str, latency_s: float = 0.0, fail_every: int = 0) -> None:
        self._latency_s = latency_s
        self._fail_every = fail_every

    def edit(
        self, source: Image.Image, instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Return the source, shifted and tinted; same arguments, same pixels."""
        digest = hashlib.sha256(f"{seed} {instruction}".encode()).digest()
        time.sleep(self._latency_s)
        if self._fail_every and digest[4] % self._fail_every == 0:
            raise RuntimeError(f"fail_every={self._fail_every} wants this sample to fail")
        shifted = ImageChops.offset(source, digest[0], digest[1])
        on_step(1, 1)
        return Image.blend(shifted, Image.new("RGB", source.size, (digest[2], digest[3], 128)), 0.25)

    @staticmethod
    def most_source_images(kwargs: dict[str, Any]) -> int | None:
        """Any number."""
        return None

    def edit_several(
        self, sources: Sequence[Image.Image], instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Return the first source as `edit` does, after the others have been mixed into it one after the other."""
        mixed = sources[0]
        for source in sources[1:]:
            mixed = Image.blend(mixed, source.resize(mixed.size), 0.5)
        return self.edit(mixed, instruction, seed, on_step)

    def describe(self) -> dict[str, Any]:
        """Say that it is a fake."""
        return {"class": "FakeEditor", "note": "FAKE editor: the pictures come from no model and mean nothing."}
