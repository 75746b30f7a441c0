"""What prompts begin with: how much of it is shared, how rows are laid out around it, and what a cache holds."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from editbench.judges import prompt_prefix
from editbench.judges.prompt_prefix import (
    FilledLayer,
    PromptPrefixes,
    attend,
    known_padding,
    mask_where_needed,
    pad_behind_prefix,
    prefix_length,
)

IMAGE = 9


def padded(*rows: list[int]) -> dict[str, torch.Tensor]:
    """Rows of tokens, padded on the right with zeros."""
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": torch.zeros(len(rows), 3)}


@pytest.mark.parametrize(
    ("rows", "shared"),
    [
        ([[1, 2, 3, IMAGE, 4], [1, 2, 3, IMAGE, 5]], 3),
        ([[1, 2, 3, IMAGE, 4, 4], [1, 2, 7, IMAGE, 4]], 2),
        ([[1, 2, 3, 4], [1, 2, 3]], 2),  # a row's last token is the one that is answered
        ([[1, 2, 3, 4]], 3),
        ([[1, IMAGE, 3, 4]], 1),
        ([[1, 2, 0, 0, 5], [1, 2]], 1),  # padding is not shared
    ],
)
def test_shared_is_what_all_rows_begin_with_before_an_image(rows: list[list[int]], shared: int) -> None:
    assert prefix_length(padded(*rows), IMAGE) == shared


def test_padding_moves_behind_the_prefix_and_rows_end_together() -> None:
    inputs = padded([1, 2, 3, 4, 5], [1, 2, 6], [1, 2, 7, 8])
    laid_out = pad_behind_prefix(inputs, 2)
    assert laid_out["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 0, 0, 6], [1, 2, 0, 7, 8]]
    assert laid_out["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 1], [1, 1, 0, 1, 1]]
    assert laid_out["pixel_values"] is inputs["pixel_values"]


def test_a_filled_layer_begins_with_the_prefix_and_takes_more_until_it_is_full() -> None:
    keys, values = torch.rand(1, 2, 3, 4), torch.rand(1, 2, 3, 4)
    layer = FilledLayer(keys, values, batch_size=2, capacity=6)
    assert layer.get_seq_length() == 3 and layer.get_mask_sizes(2) == (5, 0)
    added = torch.rand(2, 2, 2, 4)
    all_keys, all_values = layer.update(added, -added)
    assert torch.equal(all_keys, torch.cat([keys.expand(2, -1, -1, -1), added], dim=2))
    assert torch.equal(all_values, torch.cat([values.expand(2, -1, -1, -1), -added], dim=2))
    assert layer.get_seq_length() == 5
    layer.update(added[:, :, :1], added[:, :, :1])
    with pytest.raises(RuntimeError):
        layer.update(added[:, :, :1], added[:, :, :1])


class OneLayer:
    """A model whose keys and values are its tokens; counts what it is asked for."""

    device = "cpu"

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def set_attn_implementation(self, by_part: dict[str, str]) -> None:
        assert by_part == {"text_config": prompt_prefix.ATTENTION}

    def model(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        assert use_cache
        self.asked.append(input_ids[0].tolist())
        kept = input_ids[:, None, :, None].float()
        return SimpleNamespace(past_key_values=SimpleNamespace(layers=[SimpleNamespace(keys=kept, values=-kept)]))


def test_a_prefix_is_computed_once_and_no_batch_changes_it() -> None:
    model = OneLayer()
    prefixes = PromptPrefixes(model)
    for rows in (2, 3):
        cache = prefixes.cache((5, 6), rows, 4)
        (layer,) = cache.layers
        assert layer.keys.tolist() == [[[[5.0], [6.0]]]] * rows and layer.values.tolist() == [[[[-5.0], [-6.0]]]] * rows
        layer.keys.fill_(0)
    assert model.asked == [[5, 6]]


def test_only_so_many_prefixes_are_kept_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_prefix, "KEPT", 2)
    model = OneLayer()
    prefixes = PromptPrefixes(model)
    for token in (1, 2, 1, 3, 1, 2, 3):
        (layer,) = prefixes.cache((token,), 1, 2).layers
        assert layer.keys.tolist() == [[[[token]]]]
    assert model.asked == [[1], [2], [3], [3]]


def test_for_a_single_pass_nothing_behind_the_prefix_is_kept() -> None:
    (layer,) = PromptPrefixes(OneLayer()).cache((5, 6), 2).layers
    added = torch.rand(2, 1, 3, 1)
    for _ in range(2):
        assert layer.get_seq_length() == 2 and layer.get_mask_sizes(3) == (5, 0)
        keys, values = layer.update(added, -added)
        assert keys[:, :, :2].flatten().tolist() == [5, 6, 5, 6] and torch.equal(keys[:, :, 2:], added)
        assert values[:, :, :2].flatten().tolist() == [-5, -6, -5, -6] and torch.equal(values[:, :, 2:], -added)


@pytest.mark.parametrize(("cached", "queries"), [(0, 5), (3, 5), (3, 1), (7, 2)])
def test_attention_behind_a_prefix_sees_the_prefix_and_nothing_later(cached: int, queries: int) -> None:
    torch.manual_seed(0)
    module = SimpleNamespace(num_key_value_groups=2, is_causal=True)
    query = torch.rand(2, 4, queries, 8)
    key, value = (torch.rand(2, 2, cached + queries, 8) for _ in range(2))
    output, _ = attend(module, query, key, value, None, scaling=0.5)
    scores = query @ key.repeat_interleave(2, dim=1).transpose(2, 3) * 0.5
    later = torch.ones(queries, cached + queries).triu(cached + 1).bool()
    expected = scores.masked_fill(later, -torch.inf).softmax(dim=-1) @ value.repeat_interleave(2, dim=1)
    assert torch.allclose(output, expected.transpose(1, 2), atol=1e-6)


def test_a_mask_is_made_where_rows_are_padded_or_the_prefix_is_longer_than_the_rest() -> None:
    sizes = {"batch_size": 2, "q_length": 2, "kv_length": 4, "q_offset": 2}
    assert mask_where_needed(**sizes, attention_mask=None) is None
    padding = torch.ones(2, 4, dtype=torch.bool)
    assert mask_where_needed(**sizes, attention_mask=padding) is None
    padding[1, 1] = False
    seen = mask_where_needed(**sizes, attention_mask=padding)[:, 0].int().tolist()
    assert seen == [[[1, 1, 1, 0], [1, 1, 1, 1]], [[1, 0, 1, 0], [1, 0, 1, 1]]]
    longer = {"batch_size": 1, "q_length": 2, "kv_length": 5, "q_offset": 3}
    assert mask_where_needed(**longer)[0, 0].int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert mask_where_needed(batch_size=1, q_length=1, kv_length=5, q_offset=4) is None
    assert mask_where_needed(**sizes, allow_is_causal_skip=False) is not None


def test_a_mask_of_the_device_is_not_looked_at_where_padding_is_known() -> None:
    """The meta device has no values: asking for one raises."""
    ones = torch.ones(2, 5, dtype=torch.bool, device="meta")
    one_token = {"batch_size": 2, "q_length": 1, "kv_length": 5, "q_offset": 4, "device": "meta"}
    with pytest.raises(RuntimeError, match="meta tensors"):
        mask_where_needed(**one_token, attention_mask=ones)
    with known_padding(False):
        assert mask_where_needed(**one_token, attention_mask=ones) is None
    with known_padding(True):
        assert mask_where_needed(**one_token, attention_mask=ones).shape == (2, 1, 1, 5)
        assert mask_where_needed(**one_token, attention_mask=None) is None  # of the prefix alone
