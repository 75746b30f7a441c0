"""What the nano editor itself makes at several stages of its training, for the judge to learn from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nano.denoiser import Frozen, ProbedDenoiser, cell_errors, denoise, exported_denoiser, unpack
from nano.flaws import Judged, draw, judged, pixels_of
from nano.scenes import SceneEdit, SceneSampler

MISTAKEN = 0.12  # error of a cell above which the denoiser meant something else; no decoder should mend that
OWN = 0.4  # share of a batch that is the editor's own


def own_outcomes(shipped: Path, each: int, seed: int = 70_000) -> Judged:
    """Let the exported editor and its earlier stages edit new scenes.

    Args:
        shipped: Holds `editor` and `stages`.
        each: Edits by every stage.
        seed: Of the scenes.
    """
    frozen = Frozen.exported(shipped / "editor")
    sampler = SceneSampler(np.random.default_rng(seed), False)
    edits, pictures = [], []
    for folder in (shipped / "editor" / "transformer", *sorted((shipped / "stages").iterdir())):
        model = exported_denoiser(folder)
        for begin in range(0, each, 96):
            drawn = [sampler.edit() for _ in range(min(96, each - begin))]
            pictures.append(frozen.pictures(denoise(model, frozen.pairs(sampler, drawn), seed=seed + len(edits))))
            edits += drawn
    return judged(edits, np.concatenate(pictures))


def mixed(own: Judged) -> Callable[[SceneSampler, int], Judged]:
    """Draw a share of each batch from the editor's own outcomes, the others as `flaws.draw` does."""

    def outcomes(sampler: SceneSampler, count: int) -> Judged:
        index = sampler.rng.choice(len(own.edits), round(OWN * count), replace=False)
        return own.take(index).and_also(draw(sampler, count - len(index)))

    return outcomes


def own_latents(frozen: Frozen, model: ProbedDenoiser) -> tuple[torch.Tensor, torch.Tensor]:
    """What the denoiser makes of new scenes, for the VAE's decoder: its errors are not those of the encoder with noise.

    Args:
        frozen: The VAE and the text encoder.
        model: The denoiser.

    Returns:
        Latents, (N, 16, 8, 8), and what is to be made of them, (N, 3, 64, 64) in -1..1.
    """
    seed, each = 75_000, 1920
    sampler = SceneSampler(np.random.default_rng(seed), False)
    tokens, edits = [], []
    for begin in range(0, each, 96):
        drawn = [sampler.edit() for _ in range(min(96, each - begin))]
        tokens.append(denoise(model, frozen.pairs(sampler, drawn), seed=seed + begin))
        edits += drawn
    latents = unpack(torch.cat(tokens)) * frozen.std + frozen.mean
    wanted = torch.from_numpy(pixels_of([edit.target for edit in edits])).permute(0, 3, 1, 2) * 2 - 1
    alike = (denoised_errors(frozen, torch.cat(tokens), edits) < MISTAKEN).all(axis=1)
    usable = torch.from_numpy(np.flatnonzero(alike))
    return latents[usable], wanted[usable]


def denoised_errors(frozen: Frozen, tokens: torch.Tensor, edits: list[SceneEdit]) -> np.ndarray:
    """Errors of all cells of denoised latents, (N, 16)."""
    return np.concatenate(
        [cell_errors(frozen.pictures(tokens[i : i + 96]), edits[i : i + 96]) for i in range(0, len(edits), 96)]
    )
