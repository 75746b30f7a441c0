"""The editor's VAE: 1024 pixels to 8 x 8 latents, so that 2 x 2 of them, one token of the denoiser, are one cell.

The four outer levels are set by hand: going in they average 16 x 16 pixels, going out they repeat each pixel 16 x 16
times. What is trained is the core between 64 pixels and the latents.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage
from safetensors.torch import load_file

from editbench.editors.single_frame import use_conv2d_for_single_frames
from nano.pictures import assemble, cells_for_vae
from nano.scenes import BACKGROUNDS, CELLS, KINDS, placings, thing
from nano.training import Schedule, Stage, averaged_weights

BASE = 4
MULTIPLIERS = [1, 2, 2, 2, 5, 8, 12, 20]
LATENT = 16  # channels
PER_CELL = 16  # pixels of the core along a cell's side
OUTER = 4  # levels set by hand
LEVEL = 64.0  # of the constant channel that keeps the last norm from scaling the colours
SMALL = 0.1  # keeps colours where SiLU is a straight line
NOISE = 0.25  # on latents while training, so that the denoiser's small errors are not seen
CROPS, SCENES = 1700, 1300  # steps
OWN = 900  # steps on what the denoiser makes
BATCH = 16  # scenes a step


def build_vae() -> AutoencoderKLQwenImage:
    """An untrained VAE with its outer levels set, computing single frames in 2-D."""
    vae = AutoencoderKLQwenImage(
        base_dim=BASE,
        z_dim=LATENT,
        dim_mult=MULTIPLIERS,
        num_res_blocks=1,
        temperal_downsample=[False] * (len(MULTIPLIERS) - 1),
        latents_mean=[0.0] * LATENT,
        latents_std=[1.0] * LATENT,
    )
    use_conv2d_for_single_frames(vae)
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, torch.nn.Conv3d):
                module.weight *= module.kernel_size[0] ** 0.5  # only one slice of the kernel counts
        _drop_unused(vae)
        _set_outer_levels(vae)
    return vae


def _drop_unused(vae: AutoencoderKLQwenImage) -> None:
    """Zeros where a single frame never looks, and no attention among latents: a cell's code is its own affair."""
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d) and module.kernel_size[0] == 3:
            module.weight[:, :, :-1] = 0
    for middle in (vae.encoder.mid_block, vae.decoder.mid_block):
        middle.attentions[0].proj.weight.zero_()
        middle.attentions[0].proj.bias.zero_()
        middle.attentions[0].requires_grad_(False)


def _set_outer_levels(vae: AutoencoderKLQwenImage) -> None:
    encoder, decoder = vae.encoder, vae.decoder
    outer = [
        encoder.conv_in,
        *encoder.down_blocks[: 2 * OUTER],
        *decoder.up_blocks[-OUTER:],
        decoder.norm_out,
        decoder.conv_out,
    ]
    for module in outer:
        module.requires_grad_(False)
        for name, weight in module.named_parameters():
            weight.fill_(1.0 if "gamma" in name else 0.0)
    for channel in range(3):
        encoder.conv_in.weight[channel, channel, -1, 1, 1] = 1.0
    for residual, resample in zip(
        encoder.down_blocks[0 : 2 * OUTER : 2], encoder.down_blocks[1 : 2 * OUTER : 2], strict=True
    ):
        _pass_through(residual, 3)
        for channel in range(3):
            resample.resample[1].weight[channel, channel, :2, :2] = 0.25
    for block in decoder.up_blocks[-OUTER:]:
        for residual in block.resnets:
            _pass_through(residual, 4)
        if block.upsamplers is not None:
            for channel in range(4):
                block.upsamplers[0].resample[1].weight[channel, channel, 1, 1] = 1.0
    decoder.norm_out.gamma[:3] = SMALL
    for channel in range(3):
        # The norm makes of a colour c about 2 c SMALL / LEVEL, and SiLU halves what is small.
        decoder.conv_out.weight[channel, channel, -1, 1, 1] = LEVEL / SMALL
    last = decoder.up_blocks[-OUTER - 1].upsamplers[0].resample[1]  # its middle is trained, as the core's way out
    last.requires_grad_(False)
    last.weight.zero_()
    last.bias.zero_()
    last.weight[:3, :, 1, 1] = torch.randn(3, last.weight.shape[1], generator=torch.Generator().manual_seed(1)) * 0.1
    last.bias[3] = LEVEL


def _pass_through(residual: torch.nn.Module, channels: int) -> None:
    """Have a residual block, all zeros so far, hand on its first channels."""
    if isinstance(residual.conv_shortcut, torch.nn.Conv3d):
        for channel in range(channels):
            residual.conv_shortcut.weight[channel, channel, 0, 0, 0] = 1.0


def _norm(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """The library's norm over channels in half as many passes over memory."""
    return x * (torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-12) * norm.gamma)


class Core(torch.nn.Module):
    """The trained part: 64 pixels to latents and back.

    Args:
        vae: From `build_vae`; its weights are the ones that are trained.
    """

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        super().__init__()
        self.vae = vae
        for module in vae.modules():
            if type(module).__name__ == "QwenImageRMS_norm":
                module.forward = functools.partial(_norm, module)
        last = vae.decoder.up_blocks[-OUTER - 1].upsamplers[0].resample[1]
        self.colours = torch.nn.Linear(last.weight.shape[1], 3)
        with torch.no_grad():
            self.colours.weight.copy_(last.weight[:3, :, 1, 1])
            self.colours.bias.copy_(last.bias[:3])

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Make latents, (B, 16, H / 8, W / 8), of pixels, (B, 3, H, W) in -1..1."""
        encoder = self.vae.encoder
        x = torch.nn.functional.pad(pixels, (0, 0, 0, 0, 0, BASE * MULTIPLIERS[OUTER - 1] - 3)).unsqueeze(2)
        for block in encoder.down_blocks[2 * OUTER :]:
            x = block(x)
        x = encoder.conv_out(encoder.nonlinearity(encoder.norm_out(encoder.mid_block(x))))
        return self.vae.quant_conv(x)[:, :LATENT, 0]

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Make pixels of latents; shapes as in `encode`."""
        decoder = self.vae.decoder
        x = decoder.mid_block(decoder.conv_in(self.vae.post_quant_conv(latents.unsqueeze(2))))
        blocks = decoder.up_blocks[:-OUTER]
        for block in blocks[:-1]:
            x = block(x)
        for residual in blocks[-1].resnets:
            x = residual(x)
        return self.colours(x[:, :, 0].movedim(1, -1)).movedim(-1, 1)

    @torch.no_grad()
    def finished(self) -> AutoencoderKLQwenImage:
        """The whole VAE with the core's way out in its place."""
        last = self.vae.decoder.up_blocks[-OUTER - 1].upsamplers[0].resample[1]
        last.weight[:3, :, 1, 1] = self.colours.weight
        last.bias[:3] = self.colours.bias
        _drop_unused(self.vae)
        return self.vae


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Make (B, 3, H, W) in -1..1 of (B, H, W, 3) uint8."""
    return torch.tensor(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def pictures_of(rng: np.random.Generator, count: int, filled: float, held_out: bool = False) -> torch.Tensor:
    """Draw random scenes as the core sees them, (count, 3, 64, 64), a share of all cells holding a shape."""
    things = [thing(kind, placing) for placing in placings(held_out) for kind in range(1, KINDS)]
    cells = rng.choice(things, (count, CELLS)) * (rng.random((count, CELLS)) < filled)
    return to_tensor(assemble(cells_for_vae(), rng.integers(len(BACKGROUNDS), size=count), cells))


def crops_of(rng: np.random.Generator, count: int) -> torch.Tensor:
    """Draw 2 x 2 cells from scenes that are nearly full, (count, 3, 32, 32)."""
    whole = pictures_of(rng, count // 2, 0.85)
    row, column = 16 * int(rng.integers(3)), 16 * int(rng.integers(3))
    return torch.cat([whole[:, :, row : row + 32, column : column + 32], whole[:, :, 32:, column : column + 32]])


def scenes_of(rng: np.random.Generator) -> torch.Tensor:
    """Draw a batch of scenes, half of them as full as in the benchmark and half of them fuller."""
    return torch.cat([pictures_of(rng, BATCH // 2, 0.5), pictures_of(rng, BATCH // 2, 0.12)])


def reconstruction(
    core: Core, pixels: torch.Tensor, generator: torch.Generator, noisy: float = 1.0
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of making pictures again from latents with a share of NOISE; latents are held at about unit size."""
    latents = core.encode(pixels)
    noise = torch.randn(latents.shape, generator=generator) * NOISE * noisy
    error = core.decode(latents + noise) - pixels
    size = latents.square().mean(dim=(0, 2, 3))  # (16,)
    found, figures = pixel_loss(error)
    return found + 0.002 * (size - 1).square().mean(), figures | {"latent": float(size.detach().mean().sqrt())}


def pixel_loss(error: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of an error of pixels, (B, 3, H, W) in -2..2: absolute, squared, and the more the worse a cell is."""
    squared = torch.nn.functional.avg_pool2d(error.square().mean(dim=1), PER_CELL)  # (B, rows, columns)
    worst = (squared * (squared / squared.mean()).detach()).mean()
    loss = error.abs().mean() + 4 * squared.mean() + 2 * worst
    return loss, {"rms": float(error.detach().square().mean().sqrt()) / 2}


def measure(core: Core) -> dict[str, float]:
    """PSNR in dB of unseen scenes, without noise, and the greatest error of a cell (rms, 0..1)."""
    rng = np.random.default_rng(10_000)
    pixels = torch.cat([pictures_of(rng, 32, 0.12, True), pictures_of(rng, 16, 0.5, True)])
    error = (core.decode(core.encode(pixels)).clamp(-1, 1) - pixels) / 2
    by_cell = error.reshape(len(pixels), 3, 4, 16, 4, 16).square().mean(dim=(1, 3, 5)).sqrt()
    return {
        "psnr": float(-10 * error.square().mean().log10()),
        "worst_cell": float(by_cell.max()),
        "p99_cell": float(by_cell.flatten().quantile(0.99)),
    }


def train(folder: Path, crops: int = CROPS, scenes: int = SCENES) -> Core:
    """Train the core: dense crops first, which are cheap, then whole scenes."""
    torch.manual_seed(0)
    core = Core(build_vae())

    def loss_of_crops(
        step: int, rng: np.random.Generator, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        return reconstruction(core, crops_of(rng, 3 * BATCH), generator, min(1.0, step / 1500))

    def loss_of_scenes(
        step: int, rng: np.random.Generator, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, float]]:
        return reconstruction(core, scenes_of(rng), generator, 0.6)

    first = Stage("vae_crops", folder, core, Schedule(crops, lr=3e-3), loss_of_crops, measure)
    core.load_state_dict(first.run().state_dict())
    second = Stage("vae", folder, core, Schedule(scenes, lr=1e-3), loss_of_scenes, measure, seed=1)
    return second.run()


def train_decoder(core: Core, folder: Path, own: tuple[torch.Tensor, torch.Tensor], steps: int = OWN) -> Core:
    """Train the decoder on what the denoiser makes, beside what the encoder does; latents stay as they are.

    Args:
        core: Where it begins.
        folder: Of the checkpoints.
        own: Latents that the denoiser makes, (N, 16, 8, 8), and what is to be made of them, (N, 3, 64, 64) in -1..1.
        steps: Steps in all.
    """
    torch.manual_seed(1)
    core.vae.encoder.requires_grad_(False)
    core.vae.quant_conv.requires_grad_(False)

    def loss(step: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        if step % 3 == 0:
            return reconstruction(core, scenes_of(rng), generator, 0.6)
        latents, pixels = own
        index = torch.tensor(rng.choice(len(latents), BATCH, replace=False))
        return pixel_loss(core.decode(latents[index]) - pixels[index])

    schedule = Schedule(steps, lr=1e-3, warmup=20, ema=0.98)
    return Stage("vae_own", folder, core, schedule, loss, measure, seed=7).run()


def trained_core(folder: Path, name: str) -> Core:
    """The core as a stage of training left it."""
    core = Core(build_vae())
    core.load_state_dict(averaged_weights(folder, name))
    return core


def exported_core(folder: Path) -> Core:
    """The core of an exported VAE."""
    vae = build_vae()
    vae.load_state_dict(load_file(folder / "diffusion_pytorch_model.safetensors"))
    return Core(vae)
