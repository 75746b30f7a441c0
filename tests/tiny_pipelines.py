"""Tiny checkpoints of the pipelines under conf/editor, with random weights of the real classes.

One tokenizer, that of the script for tiny checkpoints, stands for those of all text encoders. Sizes are as small as the
classes allow.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import diffusers
import torch
import transformers

WIDTH = 32
"""Of every language model here but the script's."""


class Parts:
    """What pipelines are put together from; `script` is `scripts/make_tiny_checkpoints.py` as a module."""

    def __init__(self, script: ModuleType) -> None:
        self.script = script
        self.tokenizer = script.build_tokenizer()

    def short_tokenizer(self) -> Any:
        tokenizer = self.script.build_tokenizer()
        tokenizer.model_max_length = 77
        return tokenizer

    def clip(self) -> Any:
        config = transformers.CLIPTextConfig(
            vocab_size=len(self.tokenizer),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            eos_token_id=self.tokenizer.eos_token_id,
        )
        return transformers.CLIPTextModel(config)

    def t5(self) -> Any:
        config = transformers.T5Config(
            vocab_size=len(self.tokenizer), d_model=WIDTH, d_ff=WIDTH, d_kv=16, num_layers=1, num_heads=2
        )
        return transformers.T5EncoderModel(config)

    def vae(self, latent_channels: int = 4, **changes: Any) -> Any:
        return diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8,) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            latent_channels=latent_channels,
            scaling_factor=0.5,
            shift_factor=0.1,
            **changes,
        )

    def wan_vae(self) -> Any:
        return diffusers.AutoencoderKLWan(
            base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=0, temperal_downsample=[False, True, True]
        )

    def flow(self) -> Any:
        return diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)

    def shifted_flow(self) -> Any:
        return diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)

    def qwen2_5_vl(self) -> Any:
        return self.script.build_text_encoder(self.tokenizer, 1)

    def qwen2_vl_processor(self) -> Any:
        limits = {"shortest_edge": 56 * 56, "longest_edge": 64 * 28 * 28}
        return transformers.Qwen2VLProcessor(
            image_processor=transformers.Qwen2VLImageProcessor(size=limits),
            tokenizer=self.tokenizer,
            video_processor=transformers.Qwen2VLVideoProcessor(size=limits),
            chat_template=self.script.CHAT_TEMPLATE,
        )

    def qwen3_vl(self) -> Any:
        rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
        vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64}
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        text = self.script.text_config(self.tokenizer, head_dim=16, rope_parameters=rope)
        ids = self.script.token_ids(self.tokenizer)
        config = transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
        return transformers.Qwen3VLForConditionalGeneration(config)

    def qwen3_vl_processor(self) -> Any:
        return self.script.build_judge_processor(self.tokenizer)


def instruct_pix2pix(parts: Parts) -> Any:
    unet = diffusers.UNet2DConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=WIDTH,
    )
    return diffusers.StableDiffusionInstructPix2PixPipeline(
        vae=parts.vae(),
        text_encoder=parts.clip(),
        tokenizer=parts.short_tokenizer(),
        unet=unet,
        scheduler=diffusers.EulerAncestralDiscreteScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def flux_kontext(parts: Parts) -> Any:
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    return diffusers.FluxKontextPipeline(
        scheduler=parts.shifted_flow(),
        vae=parts.vae(),
        text_encoder=parts.clip(),
        tokenizer=parts.short_tokenizer(),
        text_encoder_2=parts.t5(),
        tokenizer_2=parts.tokenizer,
        transformer=transformer,
    )


def flux2_transformer(text_width: int) -> Any:
    return diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=text_width,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
    )


def flux2_vae() -> Any:
    return diffusers.AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4
    )


def flux2_klein(parts: Parts) -> Any:
    config = transformers.Qwen3Config(
        vocab_size=len(parts.tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=28,  # layers 9, 18 and 27 are read
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    return diffusers.Flux2KleinPipeline(
        scheduler=parts.shifted_flow(),
        vae=flux2_vae(),
        text_encoder=transformers.Qwen3ForCausalLM(config),
        tokenizer=chat_tokenizer(parts),
        transformer=flux2_transformer(3 * WIDTH),
        is_distilled=True,
    )


def chat_tokenizer(parts: Parts) -> Any:
    tokenizer = parts.script.build_tokenizer()
    tokenizer.chat_template = parts.script.CHAT_TEMPLATE
    return tokenizer


def flux2(parts: Parts) -> Any:
    text = {
        "vocab_size": len(parts.tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 31,  # layers 10, 20 and 30 are read
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "model_type": "mistral",
    }
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 8, "model_type": "pixtral", "head_dim": 8}
    image_token = parts.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    config = transformers.Mistral3Config(text_config=text, vision_config=vision, image_token_index=image_token)
    processor = transformers.PixtralProcessor(
        image_processor=transformers.PixtralImageProcessor(patch_size=8),
        tokenizer=chat_tokenizer(parts),
        patch_size=8,
        chat_template=parts.script.CHAT_TEMPLATE,
        image_token="<|image_pad|>",
        image_break_token="<|vision_pad|>",
        image_end_token="<|vision_end|>",
    )
    return diffusers.Flux2Pipeline(
        scheduler=parts.shifted_flow(),
        vae=flux2_vae(),
        text_encoder=transformers.Mistral3ForConditionalGeneration(config),
        tokenizer=processor,
        transformer=flux2_transformer(3 * WIDTH),
    )


def longcat_image_edit(parts: Parts) -> Any:
    transformer = diffusers.LongCatImageTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        pooled_projection_dim=64,
        axes_dims_rope=[4, 6, 6],
    )
    return diffusers.LongCatImageEditPipeline(
        scheduler=parts.shifted_flow(),
        vae=parts.vae(latent_channels=16),
        text_encoder=parts.qwen2_5_vl(),
        tokenizer=parts.tokenizer,
        text_processor=parts.qwen2_vl_processor(),
        transformer=transformer,
    )


def joy_transformer(cls: Any) -> Any:
    return cls(
        in_channels=16, hidden_size=WIDTH, num_attention_heads=2, text_dim=64, num_layers=1, rope_dim_list=[4, 6, 6]
    )


def joy_image_edit(parts: Parts) -> Any:
    return diffusers.JoyImageEditPipeline(
        scheduler=parts.flow(),
        vae=parts.wan_vae(),
        text_encoder=parts.qwen3_vl(),
        tokenizer=parts.tokenizer,
        transformer=joy_transformer(diffusers.JoyImageEditTransformer3DModel),
        processor=parts.qwen3_vl_processor(),
    )


def joy_image_edit_plus(parts: Parts) -> Any:
    return diffusers.JoyImageEditPlusPipeline(
        scheduler=parts.flow(),
        vae=parts.wan_vae(),
        text_encoder=parts.qwen3_vl(),
        tokenizer=parts.tokenizer,
        transformer=joy_transformer(diffusers.JoyImageEditPlusTransformer3DModel),
        processor=parts.qwen3_vl_processor(),
    )


def omnigen(parts: Parts) -> Any:
    transformer = diffusers.OmniGenTransformer2DModel(
        in_channels=4,
        hidden_size=WIDTH,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=WIDTH,
        num_layers=1,
        pad_token_id=0,
        vocab_size=len(parts.tokenizer),
        rope_scaling={"long_factor": [1.0] * 8, "short_factor": [1.0] * 8, "type": "su"},
        pos_embed_max_size=192,
        time_step_dim=32,
    )
    return diffusers.OmniGenPipeline(
        transformer=transformer, scheduler=parts.flow(), vae=parts.vae(), tokenizer=parts.tokenizer
    )


def kandinsky5_i2i(parts: Parts) -> Any:
    transformer = diffusers.Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        in_text_dim=64,
        in_text_dim2=WIDTH,
        time_dim=32,
        out_visual_dim=4,
        model_dim=32,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=1,
        axes_dims=(4, 6, 6),
        visual_cond=True,
    )
    return diffusers.Kandinsky5I2IPipeline(
        transformer=transformer,
        vae=parts.vae(),
        text_encoder=parts.qwen2_5_vl(),
        tokenizer=parts.qwen2_vl_processor(),
        text_encoder_2=parts.clip(),
        tokenizer_2=parts.short_tokenizer(),
        scheduler=parts.flow(),
    )


def qwen_image_2_1(parts: Parts) -> Any:
    transformer = diffusers.QwenImage21Transformer2DModel(
        in_channels=64,
        out_channels=64,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=64,
        axes_dims_rope=(4, 6, 6),
    )
    vae = diffusers.AutoencoderKLQwenImage21(base_dim=4, decoder_base_dim=4, dim_mult=[1, 1, 1, 1, 1], num_res_blocks=1)
    return diffusers.QwenImage21Pipeline(
        scheduler=parts.shifted_flow(),
        vae=vae,
        text_encoder=parts.qwen3_vl(),
        processor=parts.qwen3_vl_processor(),
        transformer=transformer,
    )


def glm_image(parts: Parts) -> Any:
    names = {"image_token": "<|image_pad|>", "grid_bos_token": "<|box_start|>", "grid_eos_token": "<|box_end|>"}
    tokenizer = chat_tokenizer(parts)
    tokenizer.bos_token = "<|object_ref_start|>"
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, extra_special_tokens=names)
    colours = 64  # of the autoregressive model's palette; its start and end of a grid come behind them
    text = parts.script.text_config(tokenizer, vision_vocab_size=colours + 2, eos_token_id=None)
    text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]}
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "image_size": 128, "intermediate_size": 32}
    config = transformers.GlmImageConfig(
        text_config=text,
        vision_config=vision,
        vq_config={"embed_dim": 32, "num_embeddings": colours, "latent_channels": 32},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        image_start_token_id=colours,
        image_end_token_id=colours + 1,
    )
    planner = transformers.GlmImageForConditionalGeneration(config)
    processor = transformers.GlmImageProcessor(
        image_processor=transformers.GlmImageImageProcessor(
            patch_size=16,
            temporal_patch_size=1,
            merge_size=1,
            size={"shortest_edge": 32 * 32, "longest_edge": 2048 * 2048},
        ),
        tokenizer=tokenizer,
        chat_template=parts.script.CHAT_TEMPLATE.replace(
            "<|vision_start|><|image_pad|><|vision_end|>", "<|image_pad|>"
        ),
    )
    glyphs = transformers.T5Config(vocab_size=384, d_model=WIDTH, d_ff=WIDTH, d_kv=16, num_layers=1, num_heads=2)
    transformer = diffusers.GlmImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=WIDTH,
        time_embed_dim=32,
        condition_dim=16,
        prior_vq_quantizer_codebook_size=colours + 2,
    )
    return diffusers.GlmImagePipeline(
        tokenizer=transformers.ByT5Tokenizer(),
        processor=processor,
        text_encoder=transformers.T5EncoderModel(glyphs),
        vision_language_encoder=planner,
        vae=parts.vae(latents_mean=[0.0] * 4, latents_std=[1.0] * 4),
        transformer=transformer,
        scheduler=parts.shifted_flow(),
    )


BUILDERS: dict[str, Callable[[Parts], Any]] = {
    build.__name__: build
    for build in (
        *(instruct_pix2pix, flux_kontext, flux2, flux2_klein, longcat_image_edit, joy_image_edit),
        *(joy_image_edit_plus, omnigen, kandinsky5_i2i, qwen_image_2_1, glm_image),
    )
}


def build(name: str, script: ModuleType, folder: Path) -> Path:
    """Write a checkpoint for the editor of this name."""
    torch.manual_seed(0)
    BUILDERS[name](Parts(script)).save_pretrained(folder)
    return folder
