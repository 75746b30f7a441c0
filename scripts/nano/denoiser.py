"""The editor's denoiser: a small Qwen-Image transformer, trained by flow matching on latents of scenes.

Beside the velocity, every layer's tokens are trained to tell what their cell holds in the target, whether it changes
and where it lies. VAE and text encoder are finished and stay as they are.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from make_tiny_checkpoints import build_scheduler
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration

from editbench.analysis.truth import RIGHT
from nano.pictures import assemble, cells_for_vae
from nano.scenes import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    FAMILIES,
    PLACINGS,
    RADII,
    SHAPES,
    SHIFTS,
    SIZE,
    SceneEdit,
    SceneSampler,
    colour_of,
    placing_of,
    shape_of,
)
from nano.text_encoder import HIDDEN, ProbedEncoder
from nano.training import Schedule, Stage, StepLoss, averaged_weights, cross_entropy
from nano.vae import LATENT, Core, exported_core, to_tensor, trained_core
from nano.words import editor_tokenizer

LAYERS, HEADS, HEAD = 4, 3, 32
WIDTH = HEADS * HEAD
ROPE = (8, 12, 12)  # dimensions of a head for frame, height and width
TOKEN = 4 * LATENT
STEPS = 2  # of denoising: what the scheduler makes of them is one great step and a small one
AT_NOISE = 0.85  # share of training at pure noise
PROBES = 0.2  # weight of the probes' loss
WEIGHT = 4.0  # of cells that change or hold a shape
LABELS = {
    "shape": len(SHAPES) + 1,
    "colour": len(COLOURS) + 1,
    "size": len(RADII) + 1,
    "right": len(SHIFTS) + 1,
    "down": len(SHIFTS) + 1,
    "background": len(BACKGROUNDS),
    "changed": 2,
}
PLACES = {"row": SIZE, "column": SIZE}
POOL, STEPS_PER_POOL = 3072, 400
BATCH, STEPS_IN_ALL = 48, 8000
KEPT = {200: "early", 400: "middle"}  # steps whose denoisers are shipped beside the last
AT_ONCE = 128  # edits that are prepared together
VAE_STAGES = ("vae_own", "vae")  # the last one first; the encoder is the same in all


def build_transformer() -> QwenImageTransformer2DModel:
    """An untrained denoiser whose gates are open and whose first head looks at the same place."""
    model = QwenImageTransformer2DModel(
        in_channels=TOKEN,
        out_channels=LATENT,
        num_layers=LAYERS,
        attention_head_dim=HEAD,
        num_attention_heads=HEADS,
        joint_attention_dim=HIDDEN,
        axes_dims_rope=ROPE,
    )
    with torch.no_grad():
        for block in model.transformer_blocks:
            for modulation in (block.img_mod, block.txt_mod):
                modulation[1].weight.mul_(0.1)
                modulation[1].bias.zero_()
                modulation[1].bias.view(6, WIDTH)[[2, 5]] = 1.0  # (shift, scale, gate) twice
            attention = block.attn
            for norm in (attention.norm_q, attention.norm_k, attention.norm_added_q, attention.norm_added_k):
                norm.weight.fill_(1.5)
            for projection in (attention.to_q, attention.to_k):
                projection.weight[:HEAD] *= 0.1
                projection.bias[:HEAD] = 0.0
                projection.bias[[ROPE[0], ROPE[0] + ROPE[1]]] = 1.0  # the fastest turning pairs of height and width
    return model


@dataclass
class Pairs:
    """Edits as the denoiser is given them.

    Attributes:
        source, target: Packed latents, (N, 16, 64).
        text: The encoder's hidden states, (N, L, H), zeros behind the last token.
        mask: (N, L) float32, 1 for tokens.
        labels: Each of LABELS, (N, 16) int64, of the target.
        edits: The edits themselves.
    """

    source: torch.Tensor
    target: torch.Tensor
    text: torch.Tensor
    mask: torch.Tensor
    labels: dict[str, torch.Tensor]
    edits: list[SceneEdit]


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Make tokens of latents as the pipeline does: (B, 16, 8, 8) -> (B, 16, 64)."""
    grid = latents.reshape(len(latents), LATENT, SIZE, 2, SIZE, 2).permute(0, 2, 4, 1, 3, 5)
    return grid.reshape(len(latents), CELLS, TOKEN)


def unpack(tokens: torch.Tensor) -> torch.Tensor:
    """Undo `pack`."""
    grid = tokens.reshape(len(tokens), SIZE, SIZE, LATENT, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(len(tokens), LATENT, 2 * SIZE, 2 * SIZE)


class Frozen:
    """The finished VAE and text encoder.

    Args:
        core: The VAE's trained part.
        encoder: The text encoder.
    """

    def __init__(self, core: Core, encoder: ProbedEncoder) -> None:
        self.core, self.encoder = core, encoder
        self.core.eval().requires_grad_(False)
        self.encoder.eval().requires_grad_(False)
        self.mean, self.std = latent_statistics(self.core)

    @classmethod
    def trained(cls, folder: Path) -> "Frozen":
        """From the checkpoints of the training in a folder."""
        encoder = ProbedEncoder(editor_tokenizer())
        encoder.load_state_dict(averaged_weights(folder, "text_encoder"))
        last = next(name for name in VAE_STAGES if (folder / f"{name}.pt").is_file())
        return cls(trained_core(folder, last), encoder)

    @classmethod
    def exported(cls, folder: Path) -> "Frozen":
        """From an exported editor."""
        encoder = ProbedEncoder(editor_tokenizer())
        encoder.encoder = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder / "text_encoder", dtype="float32")
        return cls(exported_core(folder / "vae"), encoder)

    @torch.no_grad()
    def latents(self, edits: list[SceneEdit], target: bool) -> torch.Tensor:
        """Packed latents of the sources or targets at mean 0 and deviation 1: (N, 16, 64)."""
        scenes = [edit.target if target else edit.source for edit in edits]
        found = []
        for begin in range(0, len(scenes), AT_ONCE):
            part = scenes[begin : begin + AT_ONCE]
            backgrounds = np.array([scene.background for scene in part])
            pictures = assemble(cells_for_vae(), backgrounds, np.array([scene.cells for scene in part]))
            found.append((self.core.encode(to_tensor(pictures)) - self.mean) / self.std)
        return pack(torch.cat(found))

    @torch.no_grad()
    def pictures(self, tokens: torch.Tensor) -> np.ndarray:
        """Decode packed latents: (N, 64, 64, 3) float in 0..1."""
        pixels = self.core.decode(unpack(tokens) * self.std + self.mean)
        return (pixels.clamp(-1, 1) / 2 + 0.5).permute(0, 2, 3, 1).numpy()

    @torch.no_grad()
    def texts(self, edits: list[SceneEdit], texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states behind the dropped prefix, padded, and their mask."""
        states = []
        for begin in range(0, len(edits), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            rows = self.encoder.reader.rows([[edit] for edit in edits[part]], [[text] for text in texts[part]])
            hidden = self.encoder(rows)
            states += [row[: spans[0][1]] for row, spans in zip(hidden, rows.spans, strict=True)]
        padded = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        lengths = torch.tensor([len(state) for state in states])
        return padded, (torch.arange(padded.shape[1]) < lengths[:, None]).float()

    def pairs(self, sampler: SceneSampler, edits: list[SceneEdit]) -> Pairs:
        """Prepare edits, each said in one of its ways."""
        languages = ["en" if sampler.rng.random() < 0.5 else "zh" for _ in edits]
        said = [
            edit.text(language, int(sampler.rng.integers(6))) for edit, language in zip(edits, languages, strict=True)
        ]
        text, mask = self.texts(edits, said)
        return Pairs(self.latents(edits, False), self.latents(edits, True), text, mask, target_labels(edits), edits)


def latent_statistics(core: Core) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel over random scenes, each (16, 1, 1)."""
    sampler = SceneSampler(np.random.default_rng(30_000), None)
    scenes = [sampler.scene() for _ in range(256)]
    backgrounds = np.array([scene.background for scene in scenes])
    pictures = assemble(cells_for_vae(), backgrounds, np.array([scene.cells for scene in scenes]))
    with torch.no_grad():
        latents = core.encode(to_tensor(pictures))
    return latents.mean(dim=(0, 2, 3))[:, None, None], latents.std(dim=(0, 2, 3))[:, None, None]


def target_labels(edits: list[SceneEdit]) -> dict[str, torch.Tensor]:
    """What each cell holds after the edit, 0 where nothing, and whether that is new."""
    targets = [edit.target.cells for edit in edits]
    placed = np.array([[(-1, -1, -1), *PLACINGS][placing_of(one) + 1] for cells in targets for one in cells]) + 1
    size, right, down = placed.T.reshape(3, len(edits), CELLS)
    changed = [
        [
            int(edit.source.background != edit.target.background or a != b)
            for a, b in zip(edit.source.cells, edit.target.cells, strict=True)
        ]
        for edit in edits
    ]
    named = {
        "shape": [[shape_of(one) + 1 for one in cells] for cells in targets],
        "colour": [[colour_of(one) + 1 for one in cells] for cells in targets],
        "size": size,
        "right": right,
        "down": down,
        "background": [[edit.target.background] * CELLS for edit in edits],
        "changed": changed,
    }
    return {name: torch.tensor(values) for name, values in named.items()}


class ProbedDenoiser(torch.nn.Module):
    """The denoiser with a probe on every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = build_transformer()
        sizes = LABELS | PLACES
        self.probes = torch.nn.ModuleList(
            torch.nn.ModuleDict({name: torch.nn.Linear(WIDTH, size) for name, size in sizes.items()})
            for _ in range(LAYERS)
        )
        self._hidden: list[torch.Tensor] = []
        for block in self.transformer.transformer_blocks:
            block.register_forward_hook(self._keep)

    def _keep(self, _block: torch.nn.Module, _inputs: object, outputs: tuple[torch.Tensor, torch.Tensor]) -> None:
        self._hidden.append(outputs[1])

    def forward(
        self, noisy: torch.Tensor, sigma: torch.Tensor, pairs: Pairs
    ) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
        """Velocity of the noisy tokens, (B, 16, 64), and every layer's logits."""
        self._hidden.clear()
        shapes = [[(1, SIZE, SIZE), (1, SIZE, SIZE)]] * len(noisy)
        velocity = self.transformer(
            hidden_states=torch.cat([noisy, pairs.source], dim=1),
            timestep=sigma,
            encoder_hidden_states=pairs.text,
            encoder_hidden_states_mask=None if bool(pairs.mask.all()) else pairs.mask,
            img_shapes=shapes,
            return_dict=False,
        )[0][:, :CELLS]
        logits = []
        for hidden, probes in zip(self._hidden, self.probes, strict=True):
            told = {name: probes[name](hidden[:, :CELLS]) for name in LABELS}
            logits.append(told | {name: probes[name](hidden) for name in PLACES})
        self._hidden.clear()
        return velocity, logits


def batch_of(pairs: Pairs, index: torch.Tensor) -> Pairs:
    """Some of the pairs, without padding that none of them needs."""
    longest = int(pairs.mask[index].sum(1).max())
    labels = {name: values[index] for name, values in pairs.labels.items()}
    edits = [pairs.edits[i] for i in index.tolist()]
    return Pairs(
        pairs.source[index],
        pairs.target[index],
        pairs.text[index, :longest],
        pairs.mask[index, :longest],
        labels,
        edits,
    )


def flow_loss(model: ProbedDenoiser, pairs: Pairs, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
    """Flow matching, changed cells counting more, and the probes' cross-entropy."""
    count = len(pairs.source)
    sigma = torch.rand(count, generator=generator)
    sigma[torch.rand(count, generator=generator) < AT_NOISE] = 1.0
    noise = torch.randn(pairs.target.shape, generator=generator)
    level = sigma[:, None, None]
    velocity, logits = model((1 - level) * pairs.target + level * noise, sigma, pairs)
    counts = (pairs.labels["changed"] > 0) | (pairs.labels["shape"] > 0)  # (B, 16)
    weight = 1 + (WEIGHT - 1) * counts[..., None]
    flow = ((velocity - (noise - pairs.target)).square() * weight).mean()
    told = torch.stack([_layer_loss(one, pairs.labels) for one in logits]).mean()
    return flow + PROBES * told, {"flow": float(flow.detach()), "probes": float(told.detach())}


def _layer_loss(told: dict[str, torch.Tensor], labels: dict[str, torch.Tensor]) -> torch.Tensor:
    cells = torch.arange(CELLS).repeat(2)
    places = {"row": cells // SIZE, "column": cells % SIZE}
    total = torch.zeros(())
    for name, logits in told.items():
        wanted = labels[name] if name in labels else places[name].expand(len(logits), -1)
        total = total + (1.0 if name in labels else 0.3) * cross_entropy(logits, wanted)
    return total


def scheduler_sigmas() -> torch.Tensor:
    """Noise levels that the pipeline passes through, with the 0 at the end."""
    scheduler: FlowMatchEulerDiscreteScheduler = build_scheduler()
    config = scheduler.config
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    mu = config.base_shift + slope * (CELLS - config.base_image_seq_len)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS), mu=mu)
    return scheduler.sigmas


@torch.no_grad()
def denoise(model: ProbedDenoiser, pairs: Pairs, seed: int) -> torch.Tensor:
    """Edit: packed latents of what the pipeline would make, (N, 16, 64)."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(pairs.source.shape, generator=generator)
    sigmas = scheduler_sigmas()
    for now, after in itertools.pairwise(sigmas):
        velocity, _ = model(latents, now.expand(len(latents)), pairs)
        latents = latents + (after - now) * velocity
    return latents


def cell_errors(edited: np.ndarray, edits: list[SceneEdit]) -> np.ndarray:
    """Error (rms, 0..1) of every cell against the target: (N, 64, 64, 3) in 0..1 -> (N, 16)."""
    backgrounds = np.array([edit.target.background for edit in edits])
    wanted = assemble(cells_for_vae(), backgrounds, np.array([edit.target.cells for edit in edits])) / 255
    side = edited.shape[1] // SIZE
    difference = (edited - wanted).reshape(len(edits), SIZE, side, SIZE, side, 3)
    return np.sqrt((difference**2).mean(axis=(2, 4, 5))).reshape(len(edits), CELLS)


def trained_denoiser(folder: Path, name: str = "denoiser") -> ProbedDenoiser:
    """The denoiser as a stage of training left it."""
    model = ProbedDenoiser()
    model.load_state_dict(averaged_weights(folder, name))
    return model


def exported_denoiser(folder: Path) -> ProbedDenoiser:
    """The denoiser of an exported editor or stage, its probes untrained."""
    model = ProbedDenoiser()
    model.transformer.load_state_dict(load_file(folder / "diffusion_pytorch_model.safetensors"))
    return model.eval()


def measurement(frozen: Frozen, each: int = 20) -> Callable[[torch.nn.Module], dict[str, float]]:
    """A function that measures strict success on held-out combinations, by family."""
    sampler = SceneSampler(np.random.default_rng(40_000), True)
    pairs = frozen.pairs(sampler, [sampler.edit(family) for family in FAMILIES for _ in range(each)])

    def measure(model: torch.nn.Module) -> dict[str, float]:
        errors = cell_errors(frozen.pictures(denoise(model, pairs, seed=1)), pairs.edits)  # type: ignore[arg-type]
        strict = (errors <= RIGHT).all(axis=1)
        found = {family: float(strict[i * each : (i + 1) * each].mean()) for i, family in enumerate(FAMILIES)}
        return {
            "strict": float(strict.mean()),
            "cells": float((errors <= RIGHT).mean()),
            "rms": float(errors.mean()),
            **found,
        }

    return measure


def train(folder: Path, steps: int = STEPS_IN_ALL) -> ProbedDenoiser:
    """Train the denoiser, and keep it at its earlier stages."""
    torch.manual_seed(3)
    frozen, model = Frozen.trained(folder), ProbedDenoiser()
    schedule = Schedule(steps, lr=2e-3, ema=0.995, measure_every=400)
    stage = Stage("denoiser", folder, model, schedule, loss_of_pools(model, frozen), measurement(frozen), seed=3)
    return stage.run(KEPT)


def loss_of_pools(model: ProbedDenoiser, frozen: Frozen, seed: int = 50_000) -> StepLoss:
    """Loss on pools of edits that are renewed every 400 steps."""
    pools: dict[int, Pairs] = {}

    def loss(step: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        number = step // STEPS_PER_POOL
        if number not in pools:
            pools.clear()
            sampler = SceneSampler(np.random.default_rng([seed, number]))
            pools[number] = frozen.pairs(sampler, [sampler.edit() for _ in range(POOL)])
        index = torch.tensor(rng.choice(POOL, BATCH, replace=False))
        return flow_loss(model, batch_of(pools[number], index), generator)

    return loss
