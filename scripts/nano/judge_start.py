"""Gives a new judge what the editor's text encoder has learnt: its words, its layers, and how it sees a cell.

The two are of different classes, so this is a beginning and no copy: the judge scales queries and keys, and turns the
positions of image tokens otherwise.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from nano.pictures import assemble, cells_drawn
from nano.scenes import CELLS, SIZE, SceneSampler
from nano.text_encoder import LAYERS, ProbedEncoder, draw_rows, look_numbers
from nano.training import averaged_weights
from nano.words import editor_tokenizer

VISION_STEPS, VISION_BATCH = 200, 16


def start_from_encoder(model: Any, folder: Path) -> float:
    """Fill a judge's words, first layers and vision part from the trained text encoder.

    Args:
        model: A `ProbedJudge`, changed in place.
        folder: Where the text encoder's checkpoint is.

    Returns:
        How much of the encoder's cells the judge's vision part does not see: the share of variance left, 0 to 1.
    """
    encoder = ProbedEncoder(editor_tokenizer())
    encoder.load_state_dict(averaged_weights(folder, "text_encoder"))
    encoder.eval().requires_grad_(False)
    with torch.no_grad():
        _copy_words(model, encoder)
        sizes = _query_sizes(encoder)
        for number in range(LAYERS):
            of_encoder = encoder.encoder.model.language_model.layers[number]
            of_judge = model.judge.model.language_model.layers[number]
            state = of_encoder.state_dict()
            of_judge.load_state_dict(state, strict=False)
            of_judge.self_attn.o_proj.bias.zero_()
            of_judge.self_attn.q_norm.weight.fill_(sizes[f"{number}.q"])
            of_judge.self_attn.k_norm.weight.fill_(sizes[f"{number}.k"])
        model.judge.model.language_model.norm.load_state_dict(encoder.encoder.model.language_model.norm.state_dict())
        model.probes.load_state_dict(encoder.probes.state_dict())
        model.source.load_state_dict(encoder.image_probes.state_dict())
        for layer in model.judge.model.language_model.layers[LAYERS:]:
            layer.self_attn.o_proj.weight.mul_(0.3)
            layer.mlp.down_proj.weight.mul_(0.3)
    return _teach_vision(model, encoder)


def _copy_words(model: Any, encoder: ProbedEncoder) -> None:
    known = encoder.reader.tokenizer.get_vocab()
    mine = model.reader.tokenizer.get_vocab()
    shared = [word for word in mine if word in known]
    words = model.judge.model.language_model.embed_tokens.weight
    words[[mine[word] for word in shared]] = encoder.encoder.model.language_model.embed_tokens.weight[
        [known[word] for word in shared]
    ]


def _query_sizes(encoder: ProbedEncoder) -> dict[str, float]:
    """Mean size (root mean square) of every layer's queries and keys on some scenes."""
    sizes: dict[str, float] = {}
    hooks = []
    for number, layer in enumerate(encoder.encoder.model.language_model.layers):
        for name in ("q", "k"):
            projection = getattr(layer.self_attn, f"{name}_proj")

            def keep(_module: Any, _inputs: Any, output: torch.Tensor, key: str = f"{number}.{name}") -> None:
                sizes[key] = float(output.square().mean().sqrt())

            hooks.append(projection.register_forward_hook(keep))
    rows, _ = draw_rows(encoder, np.random.default_rng(0), 16)
    encoder(rows)
    for hook in hooks:
        hook.remove()
    return sizes


def _teach_vision(model: Any, encoder: ProbedEncoder) -> float:
    """Train the judge's vision part to make of a cell what the encoder's makes; returns the share of variance left."""
    wanted_of = encoder.seen()  # (300, H)
    visual = model.judge.model.visual
    optimizer = torch.optim.AdamW(visual.parameters(), lr=3e-3)
    sampler = SceneSampler(np.random.default_rng(65_000), None)
    grid = torch.tensor([[1, 2 * SIZE, 2 * SIZE]] * VISION_BATCH)
    left = 1.0
    for step in range(VISION_STEPS):
        backgrounds = sampler.rng.integers(6, size=VISION_BATCH)
        cells = sampler.rng.integers(1, 25, (VISION_BATCH, CELLS)) * (sampler.rng.random((VISION_BATCH, CELLS)) < 0.4)
        pictures = assemble(cells_drawn(), backgrounds, cells).astype(np.float32) / 255
        wanted = wanted_of[torch.tensor(look_numbers(backgrounds, cells)).flatten()]
        seen = visual(model.reader.patches(pictures), grid_thw=grid).pooler_output
        error = (seen - wanted).square().mean()
        optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 20, 2 * (1 - step / VISION_STEPS))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        left = float(error.detach() / wanted.var())
    return left
