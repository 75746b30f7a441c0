"""Tokens that are drawn: with the probabilities that the logits say, and by each row's own seed alone."""

import pytest
import torch
from scipy import stats

from editbench.judges.seeded_sampling import SeededSampling

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, float("-inf")])


def draw(seeds: list[int], temperature: float, logits: torch.Tensor = LOGITS, steps: int = 1) -> list[list[int]]:
    """The tokens of each row, step by step, from the same logits each time."""
    sampling = SeededSampling(seeds, temperature, torch.device("cpu"))
    rows = logits.expand(len(seeds), -1)
    ids = torch.zeros(len(seeds), 1, dtype=torch.long)
    return torch.stack([sampling(ids, rows).argmax(dim=1) for _ in range(steps)], dim=1).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability_says(temperature: float) -> None:
    drawn = torch.tensor(draw(list(range(4000)), temperature, steps=2))  # of neighbouring seeds, and of later steps
    expected = torch.softmax(LOGITS.double() / temperature, dim=0)
    for step in range(2):
        counts = torch.bincount(drawn[:, step], minlength=5)
        assert counts[4] == 0  # what is impossible stays so
        assert stats.chisquare(counts[:4].numpy(), (expected[:4] * 4000).numpy()).pvalue > 0.001
    together = torch.bincount(drawn[:, 0] * 4 + drawn[:, 1], minlength=16).reshape(4, 4)
    assert stats.chi2_contingency(together.numpy()).pvalue > 0.001  # one step tells nothing of the next


def test_a_row_depends_on_its_own_seed_and_not_on_its_neighbours() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1))
    alone = {seed: draw([seed], 1.0, logits, steps=20)[0] for seed in (0, 7, 2**63 - 1)}
    assert len({tuple(tokens) for tokens in alone.values()}) == 3
    assert draw([7, 0, 2**63 - 1, 7], 1.0, logits, steps=20) == [alone[7], alone[0], alone[2**63 - 1], alone[7]]


def test_near_temperature_0_the_most_likely_token_is_drawn() -> None:
    assert draw(list(range(50)), 1e-3) == [[0]] * 50
