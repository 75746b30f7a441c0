"""Editors and judges of the full size with random weights: what an edit and a judgment take on this card.

No download is needed, and weights change no time here (but a cache's, which skips what hardly changes). With Hydra
overrides the editor that they name is loaded and measured instead, with its own weights. What has no time left within
ten minutes is not measured: take the rest by `--only judge_8b` and the like. `--quick` takes tiny architectures, and
runs on a CPU.
"""

from collections.abc import Callable, Sequence

from bench.gpu_edits import EditModel, random_edits, real_edits
from bench.gpu_judges import random_judgments
from bench.measure import Row
from bench.running import Settings


def missing(quick: bool) -> str:
    """The sentence that says why this cannot run here; empty if it can."""
    import torch

    if quick or torch.cuda.is_available():
        return ""
    return (
        "bench.py gpu measures models of the full size and needs a CUDA GPU; torch sees none here, so nothing was "
        "measured; --quick runs the same with tiny ones on the CPU"
    )


def edit_2511(settings: Settings) -> list[Row]:
    """Qwen-Image-Edit-2511: seconds per edit and per denoiser pass"""
    return random_edits(EditModel("Qwen-Image-Edit-2511", "QwenImageEditPlusPipeline", 40, True), settings)


def edit_first(settings: Settings) -> list[Row]:
    """Qwen-Image-Edit: seconds per edit and per denoiser pass"""
    return random_edits(EditModel("Qwen-Image-Edit", "QwenImageEditPipeline", 50, False), settings)


def judge_30b_a3b(settings: Settings) -> list[Row]:
    """Qwen3-VL-30B-A3B: seconds per image"""
    return random_judgments("qwen3_vl_30b_a3b", settings)


def judge_8b(settings: Settings) -> list[Row]:
    """Qwen3-VL-8B: seconds per image"""
    return random_judgments("qwen3_vl_8b", settings)


FIGURES = (edit_2511, judge_30b_a3b, edit_first, judge_8b)  # what one most wants to know comes first


def figures(overrides: Sequence[str]) -> tuple[Callable[[Settings], list[Row]], ...]:
    """What is measured: random models, or the editor that overrides name."""
    return (real_edits,) if overrides else FIGURES
