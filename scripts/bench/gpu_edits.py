"""Editors: seconds of an edit and of a denoiser pass, against the floor."""

import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import Any

from bench import gpu_floors
from bench.gpu_card import Card, Rates, is_late, left_out, mark, seconds_between
from bench.gpu_floors import Pass
from bench.measure import Row, row
from bench.pictures import make_picture
from bench.running import Settings

SIDE, QUICK_SIDE = 1024, 128  # pixels
GUIDANCE = {"true_cfg_scale": 4.0, "negative_prompt": " "}
PASSES_PER_STEP = 2
TIMED_STEPS = 8
INSTRUCTION = "Turn the sky red and add snow on the floor"
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "_native_cudnn": {"attention_backend": "_native_cudnn"},
    "compiled": {"attention_backend": "native", "compile": True},
}


@dataclass(frozen=True)
class EditModel:
    """A published editor: name, pipeline class, denoising steps, and what sets its denoiser apart."""

    name: str
    pipeline: str
    steps: int
    zero_cond_t: bool


@dataclass(frozen=True)
class EditTimes:
    """Seconds of one edit in all and of its denoiser passes, and the passes' sizes."""

    wall_s: float
    pass_s: list[float]
    passes: list[Pass]


def real_edits(settings: Settings) -> list[Row]:
    """The editor that the overrides name, with its own weights: seconds per edit"""
    from editbench.components.load import construct, find_checkpoint
    from editbench.config import load as config

    loaded = config.load([*settings.overrides, "run_name=bench"])
    card = Card.find(quick=False)
    checkpoint = find_checkpoint(loaded.editor, download=True)
    editor = construct(loaded.editor, "editor", checkpoint, device=card.device)
    _edit(editor, card)  # compiles and fills caches
    timed = [_edit(editor, card) for _ in range(settings.repeats)]
    floors = [floor for times in timed if (floor := _floor_s(editor, times, card.rates))]
    against = f"floor {statistics.median(floors):.3g} s" if floors else ""
    note = f"{len(timed[0].passes)} denoiser passes, {card.memory()}"
    what = f"{loaded.editor.name} on {card.name}: an edit"
    return [row(what, against, [times.wall_s for times in timed], unit="s", note=note)]


def random_edits(model: EditModel, settings: Settings) -> list[Row]:
    """Plain, with another attention kernel, and compiled: the last, as it cannot be undone."""
    from bench.random_models import editor_pipeline

    if is_late():
        return [left_out(model.name)]
    card = Card.find(settings.quick)
    pipe = editor_pipeline(model.pipeline, card.quick, card.device, zero_cond_t=model.zero_cond_t)
    rows = []
    for name, changes in ({"plain": {}} if card.device == "cpu" else VARIANTS).items():
        what = f"{model.name} on {card.name}, {name}"
        rows += [left_out(what)] if is_late() else _edit_rows(model, card, pipe, (what, changes))
    del pipe
    card.free()
    return rows


def _edit_rows(model: EditModel, card: Card, pipe: Any, variant: tuple[str, dict[str, Any]]) -> list[Row]:
    """Time a few steps, and reckon the whole edit from them; the plain variant is also edited in full."""
    from bench.random_models import ReadyEditor

    what, changes = variant
    side = QUICK_SIDE if card.quick else SIDE
    common = {"dtype": card.dtype, "height": side, "width": side, **GUIDANCE, **changes}
    steps = 2 if card.quick else TIMED_STEPS
    card.forget_peak()
    editor = ReadyEditor(pipe, card.device, num_inference_steps=steps, **common)
    began = time.perf_counter()
    _edit(editor, card)  # at the timed shape: compiles, chooses kernels, fills the allocator
    first_s = time.perf_counter() - began
    times = _edit(editor, card)
    floor = _floor_s(editor, times, card.rates) / len(times.passes)
    tokens = " and ".join(f"{done.image_tokens} + {done.text_tokens}" for done in times.passes[:PASSES_PER_STEP])
    rate = f"{card.rates.flops / 1e12:.3g} TFLOP/s, {floor / statistics.median(times.pass_s):.0%} of it reached"
    of_pass = f"image + text tokens {tokens}; {rate}; the first edit took {first_s:.0f} s"
    count = PASSES_PER_STEP * model.steps
    rest = times.wall_s - sum(times.pass_s)
    whole = [rest + count * each for each in times.pass_s]
    of_edit = f"reckoned from {steps} steps, {rest:.2f} s of it encoder and VAE; {card.memory()}"
    if not changes and not card.quick:
        full = _edit(ReadyEditor(pipe, card.device, num_inference_steps=model.steps, **common), card)
        whole, of_edit = [full.wall_s], f"{full.wall_s - sum(full.pass_s):.2f} s of it encoder and VAE; {card.memory()}"
    return [
        row(f"{what}: a denoiser pass", f"floor {floor:.3g} s", times.pass_s, unit="s", note=of_pass),
        row(
            f"{what}: an edit of {model.steps} steps with guidance",
            f"floor {count * floor:.3g} s",
            whole,
            unit="s",
            note=f"{of_edit}; {gpu_floors.PUBLISHED_EDITS[model.name]}",
        ),
    ]


def _edit(editor: Any, card: Card) -> EditTimes:
    """Edit a picture; its denoiser is watched if it is Qwen's."""
    times = EditTimes(0.0, [], [])
    marks: list[Any] = []

    def begin(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        image = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]  # (B, image tokens, channels)
        text = kwargs.get("encoder_hidden_states")  # (B, text tokens, channels)
        times.passes.append(Pass(image.shape[0], image.shape[1], 0 if text is None else text.shape[1]))
        marks.append(mark(card.device))

    def end(*_: Any) -> None:
        marks.append(mark(card.device))

    transformer = getattr(getattr(editor, "_pipe", None), "transformer", None)
    hooks = []
    if transformer is not None:
        hooks.append(transformer.register_forward_pre_hook(begin, with_kwargs=True))
        hooks.append(transformer.register_forward_hook(end))
    source = make_picture(0, SIDE)
    began = time.perf_counter()
    editor.edit(source, INSTRUCTION, 0, lambda _done, _total: None)  # ends with the picture on the CPU
    wall_s = time.perf_counter() - began
    for hook in hooks:
        hook.remove()
    times.pass_s.extend(map(seconds_between, marks[::2], marks[1::2]))
    return dataclasses.replace(times, wall_s=wall_s)


def _floor_s(editor: Any, times: EditTimes, rates: Rates) -> float:
    """Least seconds of an edit's passes; 0 for a denoiser that is not Qwen's."""
    transformer = getattr(getattr(editor, "_pipe", None), "transformer", None)
    if type(transformer).__name__ != "QwenImageTransformer2DModel":
        return 0.0
    config = transformer.config
    dim = config.num_attention_heads * config.attention_head_dim
    return sum(gpu_floors.pass_flops(done, dim, config.num_layers) for done in times.passes) / rates.flops
