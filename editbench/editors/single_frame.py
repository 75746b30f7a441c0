"""A video VAE's causal convolutions, on a single frame: the 2-D convolution that they equal, which a CPU does faster.

Causal padding puts zeros before the first frame, so of a 3-D kernel only the last slice in time meets the picture.
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
