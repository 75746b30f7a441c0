"""The real editor on a GPU: seconds per edit against what its matrix products must take on this card.

The floor counts multiplications and additions alone, at the rate that this card reaches on one large product of
bfloat16 matrices: no memory traffic, no VAE, no text encoder. So no edit in bfloat16 can be faster, and how much
slower it is shows what tuning could gain. A cache that skips denoiser passes, or weights in fewer bits, change what
is counted: passes are counted as they happen, bits are not.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.measure import Row, row
from bench.running import CHECKOUT, Settings

MATRIX = 8192
PRODUCTS = 50
DEFAULT = ("editor=qwen_image_edit_2511",)
WEIGHTS_PER_LAYER = 12
"""Weights in units of dim**2 that a token meets in a layer of QwenImageTransformer2DModel: queries, keys, values and
output 4, feed-forward 8. Image and text tokens have weights of their own, so each meets half of a layer's; the weights
that modulate (12 more) are multiplied once per pass, not per token, and left out."""


@dataclass(frozen=True)
class Pass:
    """One pass of the denoiser: batch size, and tokens of images (the noise and the sources) and of text."""

    batch: int
    image_tokens: int
    text_tokens: int


def missing() -> str:
    """The sentence that says why this cannot run here; empty if it can."""
    import torch

    if torch.cuda.is_available():
        return ""
    return "bench.py gpu runs the real editor and needs a CUDA GPU; torch sees none here, so nothing was measured"


def pass_flops(done: Pass, dim: int, layers: int) -> float:
    """Floating-point operations of one denoiser pass, a multiplication and its addition counted as two.

    Linear layers: 2 * weights a token meets * tokens. Attention: scores and weighted sum, each 2 * tokens**2 * dim a
    layer; text and image attend to each other, without a mask.
    """
    tokens = done.image_tokens + done.text_tokens
    linear = 2 * WEIGHTS_PER_LAYER * dim**2 * layers * tokens
    attention = 4 * tokens**2 * dim * layers
    return float(done.batch * (linear + attention))


def floor_s(passes: Sequence[Pass], dim: int, layers: int, flops_per_s: float) -> float:
    """Least seconds that these passes can take."""
    return sum(pass_flops(done, dim, layers) for done in passes) / flops_per_s


def real_edits(settings: Settings) -> list[Row]:
    """Seconds per edit of the real editor, against the floor."""
    import torch

    from editbench.components.load import construct, find_checkpoint
    from editbench.config import load as config

    overrides = [override for override in settings.overrides if "=" in override] or list(DEFAULT)
    loaded = config.load([*overrides, "run_name=bench"])
    device = "cuda:0"
    torch.cuda.set_device(device)
    rate = matrix_rate(device)
    began = time.perf_counter()
    editor = construct(loaded.editor, "editor", find_checkpoint(loaded.editor, download=True), device=device)
    load_s = time.perf_counter() - began
    transformer = getattr(getattr(editor, "_pipe", None), "transformer", None)
    passes = _count_passes(transformer)
    _edit(editor, 0)  # compiles and fills caches
    passes.clear()
    seconds = [_edit(editor, number) for number in range(settings.repeats)]
    what = f"{loaded.editor.name} on {torch.cuda.get_device_name(device)}: an edit"
    memory = f"peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB, loaded in {load_s:.0f} s"
    rows = [row(what, "", seconds, unit="s", note=memory)]
    if passes and type(transformer).__name__ == "QwenImageTransformer2DModel":
        settings_of = transformer.config
        dim = settings_of.num_attention_heads * settings_of.attention_head_dim
        each = floor_s(passes, dim, settings_of.num_layers, rate) / settings.repeats
        tokens = f"{passes[0].image_tokens} image and {passes[0].text_tokens} text tokens"
        note = f"{len(passes) / settings.repeats:g} denoiser passes an edit, {tokens}, at {rate / 1e12:.0f} TFLOP/s"
        rows.append(row(what, f"floor {each:.2f} s", [s / each for s in seconds], unit="x", note=note))
    return rows


FIGURES = (real_edits,)


def matrix_rate(device: str) -> float:
    """Operations a second of this card on products of two bfloat16 matrices of 8192 x 8192; the best of three tries."""
    import torch

    a, b = (torch.randn(MATRIX, MATRIX, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(PRODUCTS):
        a @ b  # the card takes a moment to reach its clock
    best = 0.0
    for _ in range(3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(PRODUCTS):
            a @ b
        end.record()
        end.synchronize()
        best = max(best, PRODUCTS * 2 * MATRIX**3 / (start.elapsed_time(end) / 1000))
    return best


def _count_passes(transformer: Any) -> list[Pass]:
    """Note the size of every call of the denoiser from now on."""
    passes: list[Pass] = []

    def note(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        image = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]  # (B, image tokens, channels)
        text = kwargs.get("encoder_hidden_states")  # (B, text tokens, channels)
        passes.append(Pass(image.shape[0], image.shape[1], 0 if text is None else text.shape[1]))

    if transformer is not None:
        transformer.register_forward_pre_hook(note, with_kwargs=True)
    return passes


def _edit(editor: Any, number: int) -> float:
    """Edit one of the demo's photos and return the seconds it took, until the picture is there."""
    import torch
    from PIL import Image

    photos = sorted((CHECKOUT / "data" / "demo" / "photos").glob("*.jpg"))
    source = Image.open(photos[number % len(photos)]).convert("RGB")
    torch.cuda.synchronize()
    began = time.perf_counter()
    editor.edit(source, "Turn the sky orange, as in the evening.", number, lambda _done, _total: None)
    torch.cuda.synchronize()
    return time.perf_counter() - began
