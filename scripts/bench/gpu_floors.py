"""The least time that an edit and a judgment can take on a card, by arithmetic and two measured rates.

Multiplications and additions are counted alone, at the rate that this card reaches on one large product of bfloat16
matrices; where a reply grows token by token, the bytes of the weights at the rate of a large copy. So nothing in
bfloat16 can be faster, and the distance shows what tuning could gain. A cache that skips denoiser passes, or weights in
fewer bits, change what is counted: passes are counted as they happen, bits are not.
"""

from dataclasses import dataclass
from typing import Any

from bench.gpu_card import Rates

WEIGHTS_PER_LAYER = 12
"""Weights in units of dim**2 that a token meets in a layer of QwenImageTransformer2DModel: queries, keys, values and
output 4, feed-forward 8. Image and text tokens have weights of their own, so each meets half of a layer's; the weights
that modulate (12 more) are multiplied once per pass, not per token, and left out."""

BYTES = 2  # of a weight in bfloat16

PUBLISHED_EDITS = {
    "Qwen-Image-Edit": (
        "published, 50 steps: plain diffusers 47 s on an H100; vLLM-Omni without guidance 17.8 s on an H200 (0.342 s a "
        "pass, text encoder 0.13 s, VAE 0.04 + 0.06 s)"
    ),
    "Qwen-Image-Edit-2511": (
        "expected of plain diffusers 0.40 s a pass, 32 s; published: diffusers + FA3 + regional compile 36.6 s; SGLang "
        "24.2 s (40 steps, 0.605 s a step); LightX2V 0.632 s a step"
    ),
}
PUBLISHED_JUDGES = {
    "30B-A3B": {
        "expected": "expected of an H100: 45 to 60 ms at batch 1, 30 to 45 from 4 on",
        "generate": "expected of an H100: 35 to 45 ms a token step at any batch",
    }
}


@dataclass(frozen=True)
class Pass:
    """One pass of the denoiser: batch size, and tokens of images (the noise and the sources) and of text."""

    batch: int
    image_tokens: int
    text_tokens: int


@dataclass(frozen=True)
class Prompt:
    """What a judge reads about one sample, in tokens.

    Attributes:
        tokens: In all.
        shared: The beginning that all samples of a category share, computed once.
        patches: Of the image, before four of them become a token.
    """

    tokens: int
    shared: int
    patches: int


def pass_flops(done: Pass, dim: int, layers: int) -> float:
    """Floating-point operations of one denoiser pass, a multiplication and its addition counted as two.

    Linear layers: 2 * weights a token meets * tokens. Attention: scores and weighted sum, each 2 * tokens**2 * dim a
    layer; text and image attend to each other, without a mask.
    """
    tokens = done.image_tokens + done.text_tokens
    linear = 2 * WEIGHTS_PER_LAYER * dim**2 * layers * tokens
    attention = 4 * tokens**2 * dim * layers
    return float(done.batch * (linear + attention))


def prompt_flops(config: Any, prompt: Prompt) -> float:
    """Floating-point operations for one sample's prompt behind the shared beginning, up to one token's logits.

    Args:
        config: Of Qwen3-VL, dense or with experts. Attention in text is causal: half of a square.
        prompt: Its tokens.
    """
    text, vision = config.text_config, config.vision_config
    new = prompt.tokens - prompt.shared
    linear = 2 * (_attention_weights(text) + _mlp_weights(text)) * text.num_hidden_layers * new
    pairs = new * (prompt.shared + new / 2)
    attention = 4 * pairs * text.num_attention_heads * text.head_dim * text.num_hidden_layers
    width, merged = vision.hidden_size, vision.hidden_size * vision.spatial_merge_size**2
    per_layer = (
        2 * prompt.patches * (4 * width**2 + 2 * width * vision.intermediate_size) + 4 * prompt.patches**2 * width
    )
    mergers = 1 + len(vision.deepstack_visual_indexes)
    merging = 2 * prompt.patches / vision.spatial_merge_size**2 * (merged**2 + merged * vision.out_hidden_size)
    head = 2 * text.hidden_size * text.vocab_size
    return float(linear + attention + vision.depth * per_layer + mergers * merging + head)


def step_bytes(config: Any, batch: int) -> float:
    """Bytes of the text weights that one more token of a batch's replies meets; experts as if drawn evenly."""
    text = config.text_config
    mlp = _mlp_weights(text)
    if experts := getattr(text, "num_experts", None):
        met = experts * (1 - (1 - text.num_experts_per_tok / experts) ** batch)
        mlp *= met / text.num_experts_per_tok
    layers = (_attention_weights(text) + mlp) * text.num_hidden_layers
    return float(BYTES * (layers + text.hidden_size * text.vocab_size))


def judge_floor_s(config: Any, prompt: Prompt, rates: Rates, batch: int, new_tokens: int) -> float:
    """Least seconds an image; `new_tokens` of 1 is the single pass of mode `expected`."""
    first = prompt_flops(config, prompt) / rates.flops
    return first + (new_tokens - 1) * step_bytes(config, batch) / rates.bytes / batch


def _attention_weights(text: Any) -> float:
    return 2.0 * text.hidden_size * text.head_dim * (text.num_attention_heads + text.num_key_value_heads)


def _mlp_weights(text: Any) -> float:
    """Weights of a layer's feed-forward part that one token meets."""
    if getattr(text, "num_experts", None):
        return 3.0 * text.hidden_size * text.moe_intermediate_size * text.num_experts_per_tok
    return 3.0 * text.hidden_size * text.intermediate_size
