"""The tiny dense Qwen3-VL as llama.cpp reads it (GGUF): the language model in one file, the eyes in another."""

import json
import re
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from safetensors.numpy import load_file

MODEL, EYES = "model.gguf", "mmproj.gguf"

LANGUAGE_NAMES = {
    r"lm_head\.": "output.",
    r"model\.language_model\.embed_tokens\.": "token_embd.",
    r"model\.language_model\.norm\.": "output_norm.",
    r"model\.language_model\.layers\.(\d+)\.input_layernorm\.": r"blk.\1.attn_norm.",
    r"model\.language_model\.layers\.(\d+)\.post_attention_layernorm\.": r"blk.\1.ffn_norm.",
    r"model\.language_model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.": r"blk.\1.ffn_\2.",
    r"model\.language_model\.layers\.(\d+)\.self_attn\.([qkv])_(proj|norm)\.": r"blk.\1.attn_\2_\3.",
    r"model\.language_model\.layers\.(\d+)\.self_attn\.o_proj\.": r"blk.\1.attn_output.",
}
EYES_NAMES = {
    r"model\.visual\.patch_embed\.proj\.": "v.patch_embd.",
    r"model\.visual\.pos_embed\.": "v.position_embd.",
    r"model\.visual\.blocks\.(\d+)\.attn\.qkv\.": r"v.blk.\1.attn_qkv.",
    r"model\.visual\.blocks\.(\d+)\.attn\.proj\.": r"v.blk.\1.attn_out.",
    r"model\.visual\.blocks\.(\d+)\.mlp\.linear_fc1\.": r"v.blk.\1.ffn_up.",
    r"model\.visual\.blocks\.(\d+)\.mlp\.linear_fc2\.": r"v.blk.\1.ffn_down.",
    r"model\.visual\.blocks\.(\d+)\.norm([12])\.": r"v.blk.\1.ln\2.",
    r"model\.visual\.merger\.norm\.": "v.post_ln.",
    r"model\.visual\.merger\.linear_fc1\.": "mm.0.",
    r"model\.visual\.merger\.linear_fc2\.": "mm.2.",
    r"model\.visual\.deepstack_merger_list\.(\d+)\.norm\.": r"v.deepstack.{}.norm.",
    r"model\.visual\.deepstack_merger_list\.(\d+)\.linear_fc([12])\.": r"v.deepstack.{}.fc\2.",
}


def convert(checkpoint: Path, folder: Path) -> None:
    """Write both files of a checkpoint of `scripts/make_tiny_checkpoints.py`, in float32.

    Args:
        checkpoint: Folder of a dense Qwen3-VL whose patches span two frames.
        folder: Where they go.
    """
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    tensors = load_file(checkpoint / "model.safetensors")
    folder.mkdir(parents=True, exist_ok=True)
    language = GGUFWriter(folder / MODEL, "qwen3vl")
    _add_language_settings(language, config)
    _add_tokenizer(language, checkpoint, config["text_config"]["vocab_size"])
    eyes = GGUFWriter(folder / EYES, "clip")
    _add_eyes_settings(eyes, config, json.loads((checkpoint / "processor_config.json").read_text(encoding="utf-8")))
    deep = config["vision_config"]["deepstack_visual_indexes"]
    for name, tensor in tensors.items():
        if name.startswith("model.visual."):
            for new_name, part in _eyes_tensors(name, tensor, deep):
                eyes.add_tensor(new_name, np.ascontiguousarray(part))
        else:
            language.add_tensor(_renamed(name, LANGUAGE_NAMES).replace("_proj.", "."), tensor)
    for writer in (language, eyes):
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _renamed(name: str, names: dict[str, str]) -> str:
    for pattern, new in names.items():
        if re.match(pattern, name):
            return re.sub(pattern, new, name, count=1)
    raise ValueError(f"{name}: no tensor of a dense Qwen3-VL")


def _eyes_tensors(name: str, tensor: np.ndarray, deep: list[int]) -> list[tuple[str, np.ndarray]]:
    """llama.cpp has a 2-D convolution for each of a patch's two frames, and names deep mergers by their layer."""
    new_name = _renamed(name, EYES_NAMES)
    if "{}" in new_name:
        new_name = new_name.format(deep[int(name.split(".")[3])])
    if tensor.ndim == 5:  # (channels out, channels in, frames, height, width)
        first, second = tensor[:, :, 0], tensor[:, :, 1]
        return [(new_name, first), (f"{new_name}.1", second)]
    return [(new_name, tensor)]


def _add_language_settings(writer: GGUFWriter, config: dict) -> None:
    text = config["text_config"]
    writer.add_block_count(text["num_hidden_layers"])
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(text["hidden_size"])
    writer.add_feed_forward_length(text["intermediate_size"])
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_key_length(text["head_dim"])
    writer.add_value_length(text["head_dim"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_rope_freq_base(text["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_sections([*text["rope_parameters"]["mrope_section"], 0])
    writer.add_num_deepstack_layers(len(config["vision_config"]["deepstack_visual_indexes"]))
    writer.add_file_type(0)


def _add_tokenizer(writer: GGUFWriter, checkpoint: Path, size: int) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    by_id = {number: token for token, number in tokenizer["model"]["vocab"].items()} | special
    normal, control, user_defined, unused = 1, 3, 4, 5
    kinds = {token["id"]: control if token["special"] else user_defined for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([by_id.get(number, f"[unused{number}]") for number in range(size)])
    writer.add_token_types([kinds.get(number, normal if number in by_id else unused) for number in range(size)])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    ends = json.loads((checkpoint / "generation_config.json").read_text(encoding="utf-8"))
    writer.add_eos_token_id(ends["eos_token_id"][0])
    writer.add_pad_token_id(ends["pad_token_id"])
    writer.add_chat_template((checkpoint / "chat_template.jinja").read_text(encoding="utf-8"))


def _add_eyes_settings(writer: GGUFWriter, config: dict, processor: dict) -> None:
    vision, images = config["vision_config"], processor["image_processor"]
    writer.add_type("mmproj")
    writer.add_file_type(0)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type("qwen3vl_merger")
    writer.add_vision_projection_dim(vision["out_hidden_size"])
    writer.add_vision_image_size(round(vision["num_position_embeddings"] ** 0.5) * vision["patch_size"])
    writer.add_vision_patch_size(vision["patch_size"])
    writer.add_vision_embedding_length(vision["hidden_size"])
    writer.add_vision_feed_forward_length(vision["intermediate_size"])
    writer.add_vision_block_count(vision["depth"])
    writer.add_vision_head_count(vision["num_heads"])
    writer.add_vision_image_mean(images["image_mean"])
    writer.add_vision_image_std(images["image_std"])
    writer.add_vision_use_gelu(True)
    writer.add_vision_spatial_merge_size(vision["spatial_merge_size"])
    writer.add_vision_attention_layernorm_eps(config["text_config"]["rms_norm_eps"])
    writer.add_vision_is_deepstack_layers([n in vision["deepstack_visual_indexes"] for n in range(vision["depth"])])
