"""How often a pipeline's denoiser is called: what an edit costs, whatever the settings say."""

import contextlib
from collections.abc import Iterator
from typing import Any


class DenoiserPasses:
    """Counts the calls of a pipeline's denoiser, and starts every edit with empty caches.

    Args:
        pipe: The pipeline; one without `transformer` and `unet` is not counted.
        cached: Whether its cache can stand for the blocks of a whole pass.
    """

    def __init__(self, pipe: Any, cached: bool) -> None:
        self._pipe = pipe
        self._edits = self._passes = self._cached = 0
        self._now = [0, 0]
        denoiser = find_denoiser(pipe)
        self._first_hook = cache_hooks(denoiser)[0] if cached else None
        if denoiser is not None:
            denoiser.register_forward_hook(self._count)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """The body is one edit. One that fails is not counted, and leaves nothing behind in the caches."""
        self._now = [0, 0]
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the edit's own error is the one to be told
                self._pipe.maybe_free_model_hooks()  # the pipeline does it itself when it comes to its end
            raise
        self._edits += 1
        self._passes += self._now[0]
        self._cached += self._now[1]

    def describe(self) -> dict[str, float]:
        """Means per edit: passes, and of these the ones whose blocks the cache stood for. Empty before the first."""
        if not self._passes:
            return {}
        cached = {"cached_passes_per_edit": round(self._cached / self._edits, 2)} if self._first_hook else {}
        return {"denoiser_passes_per_edit": round(self._passes / self._edits, 2), **cached}

    def _count(self, *_: Any) -> None:
        self._now[0] += 1
        if self._first_hook:
            self._now[1] += not self._first_hook.state_manager.get_state().should_compute


def find_denoiser(pipe: Any) -> Any:
    """The model that is called in every step; None if the pipeline has none of the usual names."""
    return getattr(pipe, "transformer", None) or getattr(pipe, "unet", None)


def cache_hooks(denoiser: Any) -> list[Any]:
    """The hooks on a model and its parts that diffusers' caches are made of."""
    registries = [getattr(part, "_diffusers_hook", None) for part in denoiser.modules()]
    hooks = [hook for registry in registries if registry for hook in registry.hooks.values()]
    return [hook for hook in hooks if hasattr(hook, "state_manager")]
