"""A video VAE on a single frame, in operations that a CPU does faster and that give the same.

Causal padding puts zeros before the first frame, so of a 3-D kernel only the last slice in time meets the picture: a
2-D convolution. The norm over channels sums squares in place of a reduction that strides through memory.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional


def use_conv2d_for_single_frames(vae: torch.nn.Module) -> int:
    """Have every causal 3-D convolution of a VAE compute a lone first frame in 2-D; all other input goes as before.

    Args:
        vae: Changed in place; a VAE of diffusers whose convolutions are `QwenImageCausalConv3d` or work alike: a
            `_padding` of (width, width, height, height, before, after in time) and `forward(x, cache_x=None)`.

    Returns:
        The number of convolutions it applies to.
    """
    changed = 0
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d) and _sees_one_slice(module):
            module.forward = functools.partial(_forward, module, module.forward)  # type: ignore[method-assign]
            changed += 1
    return changed


def use_sums_for_channel_norms(vae: torch.nn.Module) -> int:
    """Have every norm over channels of a VAE divide by the root of a sum of squares.

    Args:
        vae: Changed in place; norms that are `QwenImageRMS_norm` or work alike (`F.normalize` over dimension 1, times
            `scale` and `gamma`, plus `bias`) and are in float32 or wider.

    Returns:
        The number of norms it applies to.
    """
    changed = 0
    for module in vae.modules():
        known = all(hasattr(module, name) for name in ("channel_first", "scale", "gamma", "bias"))
        if known and module.channel_first and module.gamma.dtype in (torch.float32, torch.float64):
            module.forward = functools.partial(_normalize, module)
            changed += 1
    return changed


def _normalize(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Divide (B, C, ...) by its length over channels, which is held above 1e-12 as by `F.normalize`."""
    length = x.square().sum(dim=1, keepdim=True).sqrt_().clamp_min_(1e-12)
    normalized: torch.Tensor = (x / length).mul_(norm.scale * norm.gamma) + norm.bias
    return normalized


def _sees_one_slice(conv: torch.nn.Conv3d) -> bool:
    """Whether a lone frame meets the last slice of the kernel and nothing else."""
    padding = getattr(conv, "_padding", None)
    if padding is None or conv.padding_mode != "zeros":
        return False
    left, right, top, bottom, before, after = padding
    plain = left == right and top == bottom and tuple(conv.padding) == (0, 0, 0)
    return bool(plain and after == 0 and before == conv.kernel_size[0] - 1 and conv.dilation[0] == 1)


def _forward(
    conv: Any, general: Callable[..., torch.Tensor], x: torch.Tensor, cache_x: torch.Tensor | None = None
) -> torch.Tensor:
    """Convolve (B, C, T, H, W)."""
    if cache_x is not None or x.shape[2] != 1:
        return general(x, cache_x)
    left, _, top, _, _, _ = conv._padding
    settings = {"stride": conv.stride[1:], "dilation": conv.dilation[1:], "groups": conv.groups}
    flat = functional.conv2d(x[:, :, 0], conv.weight[:, :, -1], conv.bias, padding=(top, left), **settings)
    return flat.unsqueeze(2)
