"""Draws tokens so that a reply depends on its own request and seed alone, whatever else is in the batch.

Imports torch and transformers: to be imported where a model is loaded.
"""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor


class SeededSampling(LogitsProcessor):
    """Makes the most likely token a drawn one, each row by a generator of its own; for greedy decoding.

    The largest of logit / temperature + Gumbel noise is token i with probability softmax(logits / temperature)_i
    (Gumbel 1954; Maddison et al. 2014, arXiv 1411.0030). Generating with `do_sample` would draw all rows from one
    generator, and a reply would depend on its neighbours.

    Args:
        seeds: One for each row.
        temperature: Above 0; 1 draws from the model's own distribution.
        device: Where the logits are.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._temperature = temperature

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Add noise to the logits of the next token, (B, vocabulary)."""
        waits = torch.empty(scores.shape, dtype=torch.float64, device=scores.device)
        for row, generator in zip(waits, self._generators, strict=True):
            row.exponential_(generator=generator)  # -log of it is Gumbel noise
        return scores.double() / self._temperature - waits.log()
