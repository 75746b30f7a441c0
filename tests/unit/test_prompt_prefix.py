"""What prompts begin with: how much of it is shared, how rows are laid out around it, and what a cache holds."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from editbench.judges import prompt_prefix
from editbench.judges.prompt_prefix import FilledLayer, PromptPrefixes, pad_behind_prefix, prefix_length

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

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def model(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        assert use_cache
        self.asked.append(input_ids[0].tolist())
        kept = input_ids[:, None, :, None].float()
        return SimpleNamespace(past_key_values=SimpleNamespace(layers=[SimpleNamespace(keys=kept, values=-kept)]))


def test_a_prefix_is_computed_once_and_no_batch_changes_it() -> None:
    model = OneLayer()
    prefixes = PromptPrefixes(model)
    for rows in (2, 3):
        cache = prefixes.cache(torch.tensor([5, 6]), rows, 4)
        (layer,) = cache.layers
        assert layer.keys.tolist() == [[[[5.0], [6.0]]]] * rows and layer.values.tolist() == [[[[-5.0], [-6.0]]]] * rows
        layer.keys.fill_(0)
    assert model.asked == [[5, 6]]


def test_the_prefix_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_prefix, "KEPT", 2)
    model = OneLayer()
    prefixes = PromptPrefixes(model)
    for token in (1, 2, 1, 3, 1, 2):
        prefixes.cache(torch.tensor([token]), 1, 2)
    assert model.asked == [[1], [2], [3], [2]]
