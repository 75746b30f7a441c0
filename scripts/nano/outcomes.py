"""What the nano editor itself makes at several stages of its training, for the judge to learn from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nano.denoiser import Frozen, ProbedDenoiser, denoise
from nano.flaws import Judged, draw, judged
from nano.scenes import CATEGORIES, FAMILIES, SceneSampler
from nano.training import averaged_weights

OWN = 0.5  # share of batches that are the editor's own


def own_outcomes(training: Path, stages: list[str], each: int, seed: int = 70_000) -> dict[str, Judged]:
    """Let every stage edit new scenes; returns the outcomes by category of the rubrics.

    Args:
        training: Folder of the training's checkpoints.
        stages: Names of kept stages; `final` is the trained denoiser.
        each: Edits by every stage.
        seed: Of the scenes.
    """
    frozen = Frozen(training)
    sampler = SceneSampler(np.random.default_rng(seed), False)
    edits, pictures = [], []
    for number, stage in enumerate(stages):
        model = ProbedDenoiser()
        own = training / f"denoiser-{stage}.pt"
        model.load_state_dict(
            torch.load(own, weights_only=True) if own.is_file() else averaged_weights(training, "denoiser")
        )
        for begin in range(0, each, 96):
            drawn = [sampler.edit() for _ in range(min(96, each - begin))]
            pictures.append(
                frozen.pictures(denoise(model, frozen.pairs(sampler, drawn), seed=seed + number * each + begin))
            )
            edits += drawn
    edited = np.concatenate(pictures)
    found = {}
    for category in sorted(set(CATEGORIES.values())):
        index = [i for i, edit in enumerate(edits) if CATEGORIES[FAMILIES[edit.family]] == category]
        found[category] = judged([edits[i] for i in index], edited[index])
    return found


def mixed(own: dict[str, Judged]) -> Callable[[SceneSampler, int, tuple[str, ...]], Judged]:
    """Draw half of all batches from the editor's own outcomes, the others as `flaws.draw` does."""

    def outcomes(sampler: SceneSampler, count: int, families: tuple[str, ...]) -> Judged:
        if sampler.rng.random() >= OWN:
            return draw(sampler, count, families)
        pool = own[CATEGORIES[families[0]]]
        index = sampler.rng.choice(len(pool.edits), count, replace=len(pool.edits) < count)
        return Judged(
            [pool.edits[i] for i in index],
            pool.edited[index],
            pool.scores[index],
            pool.wrong[index],
            pool.changed[index],
        )

    return outcomes
