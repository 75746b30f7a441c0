"""A lone frame through a video VAE: the 2-D convolution gives what the 3-D one gives."""

import pytest
import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d, QwenImageRMS_norm

from editbench.editors.single_frame import use_conv2d_for_single_frames, use_sums_for_channel_norms


def vae():
    torch.manual_seed(0)
    settings = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 2], "num_res_blocks": 1, "temperal_downsample": [True]}
    return AutoencoderKLQwenImage(**settings, latents_mean=[0.0] * 4, latents_std=[1.0] * 4).double().eval()


def same(one, other):
    return torch.allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 1, 1), (1, 1, 0), ((1, 3, 3), 1, (0, 1, 1)), (3, (1, 2, 2), 1)]
)
def test_every_kind_of_convolution_gives_the_same_for_one_frame(kernel, stride, padding):
    torch.manual_seed(1)
    conv = QwenImageCausalConv3d(3, 5, kernel, stride=stride, padding=padding).double()
    frame = torch.randn(2, 3, 1, 9, 7, dtype=torch.double)
    expected = conv(frame)
    assert use_conv2d_for_single_frames(conv) == 1
    assert conv(frame).shape == expected.shape
    assert same(conv(frame), expected)


def test_a_whole_vae_encodes_and_decodes_a_picture_as_before():
    model, picture = vae(), torch.rand(1, 3, 1, 16, 24, dtype=torch.double)
    with torch.no_grad():
        latents = model.encode(picture).latent_dist.mode()
        decoded = model.decode(latents).sample
        convolutions = sum(isinstance(module, torch.nn.Conv3d) for module in model.modules())
        changed = use_conv2d_for_single_frames(model)
        assert convolutions - 2 <= changed <= convolutions  # the two that halve and double time are not causal alike
        assert same(model.encode(picture).latent_dist.mode(), latents)
        assert same(model.decode(latents).sample, decoded)


def test_several_frames_go_as_before():
    model, video = vae(), torch.rand(1, 3, 5, 16, 16, dtype=torch.double)
    with torch.no_grad():
        expected = model.encode(video).latent_dist.mode()
        use_conv2d_for_single_frames(model)
        assert same(model.encode(video).latent_dist.mode(), expected)


def test_a_convolution_that_sees_more_than_the_last_slice_is_left_alone():
    plain = torch.nn.Conv3d(3, 3, 3, padding=1)
    not_padded = QwenImageCausalConv3d(3, 3, (3, 1, 1), stride=(2, 1, 1), padding=(0, 0, 0))
    assert use_conv2d_for_single_frames(torch.nn.ModuleList([plain, not_padded])) == 0


def test_norms_over_channels_give_the_same():
    torch.manual_seed(2)
    norm = QwenImageRMS_norm(6, images=False).double()
    torch.nn.init.normal_(norm.gamma)
    x = torch.randn(2, 6, 1, 5, 4, dtype=torch.double)
    x[0, :, 0, 0, 0] = 0.0  # no length to divide by
    expected = norm(x)
    assert use_sums_for_channel_norms(norm) == 1
    assert same(norm(x), expected)


def test_a_whole_vae_with_both_gives_the_same():
    model, picture = vae(), torch.rand(1, 3, 1, 16, 16, dtype=torch.double)
    with torch.no_grad():
        expected = model.decode(model.encode(picture).latent_dist.mode()).sample
        assert use_conv2d_for_single_frames(model) > 10
        assert use_sums_for_channel_norms(model) > 10
        assert same(model.decode(model.encode(picture).latent_dist.mode()).sample, expected)


def test_norms_in_half_precision_and_over_the_last_dimension_are_left_alone():
    half = QwenImageRMS_norm(4, images=False).to(torch.bfloat16)
    assert use_sums_for_channel_norms(torch.nn.ModuleList([half, QwenImageRMS_norm(4, channel_first=False)])) == 0
