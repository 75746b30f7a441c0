"""Models of any size with random weights, built where they are to run, and our own classes around them.

Nothing is downloaded or read from a disk: a skeleton without memory is made from a configuration, then every weight
is drawn on the device in its final type. Tokenizer and processors are those of the tiny checkpoints; their token ids
are valid in the larger vocabularies, and mean as little.
"""

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from make_tiny_checkpoints import make_tiny_checkpoints

from bench.running import CHECKOUT
from editbench.editors.diffusers_pipeline import DiffusersEditor
from editbench.judges.qwen3_vl import Qwen3VLJudge

CONFIGS = Path(__file__).parent / "gpu_configs"
TINY = CHECKOUT / "checkpoints" / "tiny"
SPECIAL_TOKENS = ("image_pad", "video_pad", "vision_start", "vision_end")

EDITOR_PIXELS = {"shortest_edge": 3136, "longest_edge": 12845056}  # areas, of Qwen2.5-VL's processor
JUDGE_PIXELS = {"shortest_edge": 65536, "longest_edge": 16777216}  # areas, of Qwen3-VL's processor


class ReadyEditor(DiffusersEditor):
    """The editor around a pipeline that is there already; arguments as of `DiffusersEditor`."""

    def __init__(self, pipe: Any, device: str, **settings: Any) -> None:
        self._ready = pipe
        super().__init__(device, pipeline=type(pipe).__name__, checkpoint="", **settings)

    def _load(self, *_: Any, **__: Any) -> Any:
        return self._ready


class ReadyJudge(Qwen3VLJudge):
    """The judge around a model and a processor that are there already; arguments as of `Qwen3VLJudge`."""

    def __init__(self, ready: tuple[Any, Any], device: str, **settings: Any) -> None:
        self._ready = ready
        super().__init__([device], checkpoint="", **settings)

    def _load(self, *_: Any, **__: Any) -> Any:
        return self._ready


def editor_pipeline(pipeline: str, tiny: bool, device: str, **changes: Any) -> Any:
    """Build a whole pipeline for Qwen-Image-Edit in bfloat16 on a GPU, in float32 on a CPU.

    Args:
        pipeline: `QwenImageEditPipeline` or `QwenImageEditPlusPipeline`.
        tiny: The tiny checkpoint's architecture instead of the full one.
        device: Where the weights are drawn.
        **changes: To the denoiser's configuration.
    """
    import diffusers
    from transformers import AutoConfig, AutoProcessor, Qwen2_5_VLForConditionalGeneration

    name = "qwen_image_edit_plus" if "Plus" in pipeline else "qwen_image_edit"
    make_tiny_checkpoints(TINY, [name])
    processor = AutoProcessor.from_pretrained(TINY / name / "processor")
    folder = TINY / name if tiny else CONFIGS / "qwen_image_edit"
    if not tiny:
        processor.image_processor.size = EDITOR_PIXELS

    def read(part: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((folder / part / "config.json").read_text())
        return config

    with init_empty_weights(include_buffers=False):
        denoiser = diffusers.QwenImageTransformer2DModel.from_config(read("transformer") | changes)
        vae = diffusers.AutoencoderKLQwenImage.from_config(read("vae"))
        encoder = Qwen2_5_VLForConditionalGeneration(
            _with_token_ids(AutoConfig.from_pretrained(folder / "text_encoder"), processor.tokenizer)
        )
    return getattr(diffusers, pipeline)(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        tokenizer=processor.tokenizer,
        processor=processor,
        transformer=draw_weights(denoiser, device),
        vae=draw_weights(vae, device),
        text_encoder=draw_weights(encoder, device),
    )


def judge_parts(name: str, tiny: bool, device: str) -> tuple[Any, Any]:
    """Build a judge's model, as `editor_pipeline` does, and its processor.

    Args:
        name: Folder of the configuration; with `moe` or `a3b` in it a mixture of experts.
        tiny: The tiny checkpoint's architecture instead of the full one.
        device: Where the weights are drawn.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig

    checkpoint = TINY / ("qwen3_vl_moe" if "a3b" in name else "qwen3_vl")
    make_tiny_checkpoints(TINY, [checkpoint.name])
    processor = AutoProcessor.from_pretrained(checkpoint)
    if not tiny:
        processor.image_processor.size = JUDGE_PIXELS
    config = _with_token_ids(AutoConfig.from_pretrained(checkpoint if tiny else CONFIGS / name), processor.tokenizer)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForImageTextToText.from_config(config)
    draw_weights(model, device)
    never = config.text_config.vocab_size - 1
    model.lm_head.weight.data[never] = 0.0  # the largest of so many random logits is above 0: no reply ends early
    model.generation_config = GenerationConfig(eos_token_id=never, pad_token_id=processor.tokenizer.pad_token_id)
    return model, processor


def draw_weights(model: torch.nn.Module, device: str) -> torch.nn.Module:
    """Give a skeleton its weights: zero biases, unit norms, matrices of variance 1 / fan-in: values stay finite.

    Buffers keep their type, as when a checkpoint is loaded: rotary frequencies in bfloat16 would be wrong. What is
    neither weight nor buffer (`QwenEmbedRope.pos_freqs`) has been computed when the skeleton was made.

    Args:
        model: Its parameters are on the meta device, its buffers are not; changed in place.
        device: For the weights: bfloat16 on a GPU, float32 on a CPU.
    """
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    torch.manual_seed(0)
    for part in model.modules():
        for name, skeleton in list(part.named_parameters(recurse=False)):
            weight = torch.empty(skeleton.shape, device=device, dtype=dtype)
            fan_in = weight.shape[-1] if weight.ndim == 3 else weight.shape[1:].numel()  # 3: matrices of all experts
            if name.endswith("bias"):
                weight.zero_()
            elif fan_in == 1:
                weight.fill_(1.0)
            else:
                weight.normal_(std=fan_in**-0.5)
            setattr(part, name, torch.nn.Parameter(weight, requires_grad=False))
    return model.to(device).eval()


def _with_token_ids(config: Any, tokenizer: Any) -> Any:
    for name in SPECIAL_TOKENS:
        key = "image" if name == "image_pad" else "video" if name == "video_pad" else name
        setattr(config, f"{key}_token_id", tokenizer.convert_tokens_to_ids(f"<|{name}|>"))
    return config
