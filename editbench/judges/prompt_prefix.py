"""What the prompts of a batch have in common at their beginning, computed once and not for every sample.

The samples of a category begin with the same rubric. Its keys and values depend on nothing behind it, so they are
kept, and every batch starts from them. Imports torch and transformers: to be imported where a model is loaded.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

KEPT = 8
"""Prefixes that are kept, the first ones: 700 tokens of an 8B model take 0.1 GB. Others are computed for each batch."""

ATTENTION = "sdpa_behind_prefix"
"""Name of `attend` and `mask_where_needed` in transformers' registries."""

_PADDED: ContextVar[bool | None] = ContextVar("padded", default=None)


class PromptPrefixes:
    """Keys and values of prefixes.

    Args:
        model: A transformers model with `model` as the part below its head, whose layers all attend to all tokens. Its
            text part is set to `attend`.
    """

    def __init__(self, model: Any) -> None:
        model.set_attn_implementation({"text_config": ATTENTION})
        self._model = model
        self._kept: dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]] = {}

    def cache(self, tokens: tuple[int, ...], batch_size: int, capacity: int | None = None) -> Cache:
        """Give a cache that holds the prefix in every row; what is added to it changes nothing here.

        Args:
            tokens: The prefix, P >= 1 token ids.
            batch_size: Rows of the cache.
            capacity: Tokens that a row has room for, the prefix included; None: for a single pass, of which nothing
                is kept.
        """
        layers = self._layers(tokens)
        if capacity is None:
            return Cache([PrefixLayer(keys, values, batch_size) for keys, values in layers])
        return Cache([FilledLayer(keys, values, batch_size, capacity) for keys, values in layers])

    def _layers(self, tokens: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer, (1, heads, P, head size)."""
        if tokens in self._kept:
            return self._kept[tokens]
        with torch.inference_mode():
            ids = torch.tensor([tokens], device=self._model.device)  # (1, P) int64
            filled = self._model.model(input_ids=ids, use_cache=True).past_key_values
        layers = [(layer.keys, layer.values) for layer in filled.layers]
        if len(self._kept) < KEPT:
            self._kept[tokens] = layers
        return layers


class PrefixLayer(DynamicLayer):
    """A layer's keys and values of the prefix, for a single pass: what comes behind is attended to and not kept.

    Args:
        keys, values: Of the prefix, (1, heads, P, head size).
        batch_size: As in `PromptPrefixes.cache`.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, batch_size: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = (prefix.expand(batch_size, -1, -1, -1) for prefix in (keys, values))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the prefix with (B, heads, L, head size) of each behind it."""
        return torch.cat([self.keys, key_states], dim=2), torch.cat([self.values, value_states], dim=2)


class FilledLayer(DynamicLayer):
    """A layer's keys and values in memory that is there from the start, the first of them filled in.

    The library's layer copies all that it holds for every token that is added.

    Args:
        keys, values: Of the prefix, (1, heads, P, head size).
        batch_size, capacity: As in `PromptPrefixes.cache`.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, batch_size: int, capacity: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        _, heads, length, size = keys.shape
        self._keys, self._values = (keys.new_empty(batch_size, heads, capacity, size) for _ in range(2))
        self.keys, self.values = self._keys[:, :, :0], self._values[:, :, :0]
        rows = (batch_size, heads, length, size)
        self.update(keys.expand(rows), values.expand(rows))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add (B, heads, L, head size) of each; returns all that is there, as views.

        Raises:
            RuntimeError: there is no room left.
        """
        begin, more = self.keys.shape[2], key_states.shape[2]
        self._keys.narrow(2, begin, more).copy_(key_states)  # a slice would take a token that has no room for nothing
        self._values.narrow(2, begin, more).copy_(value_states)
        self.keys, self.values = self._keys[:, :, : begin + more], self._values[:, :, : begin + more]
        return self.keys, self.values


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of rows behind a prefix without a mask: queries of zeros stand for the prefix, and are cut off again.

    torch's fast causal kernels take as many queries as keys; with fewer, the library gives them a mask, and all scores
    are computed, those of later tokens too. Shapes as in transformers' `sdpa_attention_forward`.
    """
    cached = key.shape[2] - query.shape[2]
    if attention_mask is not None or query.shape[2] == 1 or cached == 0:
        masked: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return masked
    query = torch.nn.functional.pad(query, (0, 0, cached, 0))
    output, _ = sdpa_attention_forward(module, query, key, value, None, **kwargs)  # (B, L, heads, head size)
    return output[:, cached:], None


@contextlib.contextmanager
def known_padding(padded: bool) -> Iterator[None]:
    """Tell `mask_where_needed` whether rows are padded, so that it need not ask the device at every token."""
    before = _PADDED.set(padded)
    try:
        yield
    finally:
        _PADDED.reset(before)


def mask_where_needed(
    *args: Any, q_length: int, kv_length: int, attention_mask: torch.Tensor | None = None, **kwargs: Any
) -> torch.Tensor | None:
    """Give no mask where `attend` needs none: without padding, and behind a prefix that is no longer than the rest.

    Behind a longer one a mask is the lesser evil: with it every query computes scores for all keys, L * (P + L) of
    them, without it half of (P + L)^2. Arguments as in transformers' `sdpa_mask`.
    """
    causal = kwargs.get("allow_is_causal_skip", True) and kwargs.get("local_size") is None
    padded = _PADDED.get() if attention_mask is not None else False
    if padded is None:
        padded = not bool(attention_mask.all())  # type: ignore[union-attr]
    if causal and not padded and (q_length == 1 or kv_length <= 2 * q_length):
        return None
    kwargs["allow_is_causal_skip"] = False  # decided here: the library would ask the device again
    mask: torch.Tensor | None = sdpa_mask(
        *args, q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **kwargs
    )
    return mask


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, mask_where_needed)


def prefix_length(inputs: Mapping[str, Any], image_token: int) -> int:
    """Count the tokens that all rows begin with, before the first image and before any row's last token.

    Args:
        inputs: `input_ids` and `attention_mask`, (B, L), padded on the right.
        image_token: Id of the tokens that stand for an image.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    same = (ids == ids[:1]).all(dim=0) & (ids != image_token).all(dim=0)  # (L,)
    shortest = int(mask.sum(dim=1).min())
    return min(int(same.long().cumprod(dim=0).sum()), shortest - 1)


def pad_behind_prefix(inputs: Mapping[str, Any], prefix: int) -> dict[str, Any]:
    """Move the padding on the right to just behind the prefix, so that all rows begin and end together.

    Args:
        inputs: Tensors by name; those with the shape of `attention_mask`, (B, L), are laid out anew.
        prefix: Tokens that all rows begin with.
    """
    mask = inputs["attention_mask"]
    behind = torch.arange(mask.shape[1]) >= prefix  # (L,)
    order = torch.argsort(behind * (1 + mask), dim=1, stable=True)  # the prefix, then the padding, then the rest
    return {name: tensor.gather(1, order) if tensor.shape == mask.shape else tensor for name, tensor in inputs.items()}
