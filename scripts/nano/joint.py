"""Denoiser and decoder together, on the pixels that come out: the last stage of the editor.

Latents that are equally far from the wanted ones can look more or less right. From pure noise one step leads to the
picture, so the picture's error can be trained on directly; what encoder and text encoder put out stays as it is.
"""

from pathlib import Path

import numpy as np
import torch

from nano.denoiser import VAE_STAGES, Frozen, ProbedDenoiser, batch_of, flow_loss, unpack
from nano.flaws import pixels_of
from nano.scenes import SceneSampler
from nano.training import Schedule, Stage, averaged_weights
from nano.vae import Core, build_vae, pixel_loss

POOL = 1536
BATCH = 10
OF_FLOW = 0.3  # weight of the denoiser's own loss


class Joint(torch.nn.Module):
    """Denoiser and VAE.

    Args:
        folder: Of the checkpoints that both begin with.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.denoiser = ProbedDenoiser()
        self.denoiser.load_state_dict(averaged_weights(folder, "denoiser"))
        self.core = Core(build_vae())
        begin = next(name for name in VAE_STAGES[1:] if (folder / f"{name}.pt").is_file())
        self.core.load_state_dict(averaged_weights(folder, begin))
        self.core.vae.encoder.requires_grad_(False)
        self.core.vae.quant_conv.requires_grad_(False)


def train(folder: Path, steps: int = 600) -> None:
    """Train both; writes `vae_joint.pt` and `denoiser_joint.pt` beside its own checkpoint."""
    torch.manual_seed(8)
    model = Joint(folder)
    frozen = Frozen(folder)
    sampler = SceneSampler(np.random.default_rng(77_000), False)
    pairs = frozen.pairs(sampler, [sampler.edit() for _ in range(POOL)])

    def loss(step: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        some = batch_of(pairs, torch.tensor(rng.choice(POOL, BATCH, replace=False)))
        noise = torch.randn(some.target.shape, generator=generator)
        velocity, _ = model.denoiser(noise, torch.ones(BATCH), some)
        pixels = model.core.decode(unpack(noise - velocity) * frozen.std + frozen.mean)
        wanted = torch.from_numpy(pixels_of([edit.target for edit in some.edits])).permute(0, 3, 1, 2) * 2 - 1
        of_pixels, figures = pixel_loss(pixels - wanted)
        of_flow, _ = flow_loss(model.denoiser, some, generator)
        return of_pixels + OF_FLOW * of_flow, figures

    schedule = Schedule(steps, lr=5e-4, warmup=30, ema=0.99, measure_every=0)
    found = Stage("joint", folder, model, schedule, loss, seed=8).run()
    torch.save({"averaged": found.denoiser.state_dict()}, folder / "denoiser_joint.pt")
    torch.save({"averaged": found.core.state_dict()}, folder / "vae_joint.pt")
