"""Build tiny checkpoints with random weights of the real editor and judge classes, for tests and demos.

Run: python scripts/make_tiny_checkpoints.py checkpoints/tiny

Each folder is written by `save_pretrained` and loads with the same code as the large model it stands
for. Weights come from fixed seeds: two builds give the same bytes, and pictures and scores mean nothing.
The judges' bodies are random as well, but embeddings and output layer are arranged such that a greedy
reply reads `Score: D.D`; which digits depends on what the random body makes of images and text. The
`_nonsense` judges lack that: their replies hold no number and go on until they are cut. Nothing is
downloaded, and nothing trained but the tokenizer's merges.
"""

import argparse
import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AddedToken,
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.utils import logging as transformers_logging

logger = logging.getLogger(__name__)

RECIPE = 1  # raise it when the weights change: folders built by an older recipe are then rebuilt
NOTE = "Random weights for tests and demos: pictures and scores made with this checkpoint mean nothing."
NOTE_FILE = "editbench_note.txt"
HIDDEN_SIZE = 64  # of every language model here
NUM_LAYERS = 2

# Qwen2's own pattern (transformers, tokenization_qwen2.py): a token per digit, words with the space before.
PRETOKENIZE_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL_TOKENS = [
    *["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"],
    *["<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"],
    *["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"],
]
DIGITS = [str(digit) for digit in range(10)]
# One token each, so that a token alone tells whether a reply's first digit is next, its second, or the end.
DECIMALS = [f".{digit}" for digit in range(10)]
# Merges are trained on this until every word is one token. Its fifth line is the edit pipelines' template:
# they drop its first 64 tokens, and with these merges it is exactly as long as with the real tokenizer.
CORPUS = """system
user
assistant
color
Describe the key features of the input image (color, shape, size, texture, objects, background), then \
explain how the user's text instruction should alter or modify the image. Generate a new image that \
meets the user's requirements while maintaining consistency with the original input where appropriate. \
Picture 1:
Score: You are a careful judge of edited images and you reply with the score alone, a number from to for \
each criterion: physical geometric lighting light shadows reflections weather atmosphere social cultural \
causal temporal logic target attribution referential reasoning gravity support occlusion depth scale \
proportion perspective colour temperature dignity people accuracy context audience stereotypes time day \
season state process outcome spatial attributes nested nothing else touched. Take the mean, clip it, add \
up to points, subtract for a severe violation. Change replace remove make turn put move sky sunlight \
upper right left red blue green yellow black white cat dog car table floor wooden night snow rain man \
woman child hat style into on in under over
源图
编辑
指令
评分
把
改为
换成
移除
添加
天空
阳光
夜晚
红色
蓝色
"""
CHAT_TEMPLATE = """
{%- macro render(content) -%}
{%- if content is string %}{{- content }}{% else %}{% for part in content %}
{%- if part.type == 'image' or 'image' in part %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}
{%- elif part.type == 'video' or 'video' in part %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}
{%- elif 'text' in part %}{{- part.text }}{% endif %}{% endfor %}{% endif %}
{%- endmacro -%}
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + render(message.content) + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}""".strip()


def build_tokenizer(corpus: str = CORPUS) -> Qwen2Tokenizer:
    """Trains a byte-level BPE and adds the special tokens that the Qwen classes look for.

    Args:
        corpus: Text whose every word becomes one token.
    """
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # The size is never reached: merging ends when every word is one token.
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(corpus.splitlines(), trainer)
    bpe = json.loads(trained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=bpe["vocab"],
        merges=[tuple(pair) for pair in bpe["merges"]],
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL_TOKENS,
        model_max_length=32768,
    )
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in DECIMALS])
    return tokenizer


def randomize(model: torch.nn.Module, seed: int) -> None:
    """Fills all weights from one seed: zero biases, unit norms, matrices scaled by their fan-in.

    Args:
        model: Changed in place; parameters are visited in the order of their names.
        seed: Of the one generator all weights are drawn from.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if name.endswith("bias"):
                weight.zero_()
            elif "norm" in name.lower() and "linear" not in name:
                weight.fill_(1.0)
            else:
                fan_in = 1 if "embed_tokens" in name else weight.shape[1:].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) / fan_in**0.5)


def token_ids(tokenizer: Qwen2Tokenizer) -> dict[str, int]:
    """Returns the ids that the configurations of the vision-language models name."""
    names = {"image": "image_pad", "video": "video_pad"}
    names |= {"vision_start": "vision_start", "vision_end": "vision_end"}
    return {f"{key}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


def text_config(tokenizer: Qwen2Tokenizer, **changes: object) -> dict:
    """Returns the language models' configuration, which all models here share, with some keys changed."""
    shared = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": 2 * HIDDEN_SIZE,
        "num_hidden_layers": NUM_LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": False,
    }
    return shared | changes


def build_text_encoder(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2_5_VLForConditionalGeneration:
    """Returns the editors' text encoder, which also looks at the source image."""
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    eos = tokenizer.convert_tokens_to_ids("<|im_end|>")
    text = text_config(tokenizer, rope_parameters=rope, bos_token_id=tokenizer.pad_token_id, eos_token_id=eos)
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": HIDDEN_SIZE,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **token_ids(tokenizer))
    model = Qwen2_5_VLForConditionalGeneration(config)
    randomize(model, seed)
    return model


def build_vae(seed: int) -> AutoencoderKLQwenImage:
    """Returns a small VAE of the real form: 8 pixels a latent, 16 channels, the real mean and deviation."""
    vae = AutoencoderKLQwenImage(
        base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=0, temperal_downsample=[False, True, True]
    )
    randomize(vae, seed)
    return vae


def build_transformer(seed: int) -> QwenImageTransformer2DModel:
    """Returns the denoiser: one layer; 64 channels in, as 2 x 2 latents of 16 channels make a token."""
    transformer = QwenImageTransformer2DModel(
        in_channels=64,
        out_channels=16,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=HIDDEN_SIZE,
        axes_dims_rope=(4, 6, 6),
    )
    randomize(transformer, seed)
    with torch.no_grad():
        for block in transformer.transformer_blocks:
            # Keys of text are made loud: some 70 tokens of it have to be heard among 4,000 of images.
            block.attn.norm_added_k.weight.fill_(4.0)
    return transformer


def build_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Returns the scheduler with the settings of Qwen/Qwen-Image-Edit."""
    return FlowMatchEulerDiscreteScheduler(
        base_image_seq_len=256,
        base_shift=0.5,
        max_image_seq_len=8192,
        max_shift=0.9,
        shift_terminal=0.02,
        use_dynamic_shifting=True,
    )


def build_editor(folder: Path, pipeline_class: type, seed: int) -> None:
    """Writes a whole edit pipeline.

    Args:
        folder: Written to; exists already.
        pipeline_class: `QwenImageEditPipeline` or `QwenImageEditPlusPipeline`.
        seed: The first of three seeds, one for each model.
    """
    tokenizer = build_tokenizer()
    limits = {
        "shortest_edge": 56 * 56,
        "longest_edge": 64 * 28 * 28,
    }  # areas: at most 64 cells of 28 x 28 pixels
    processor = Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=limits),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=limits),
        chat_template=CHAT_TEMPLATE,
    )
    pipeline = pipeline_class(
        scheduler=build_scheduler(),
        vae=build_vae(seed),
        text_encoder=build_text_encoder(tokenizer, seed + 1),
        tokenizer=tokenizer,
        processor=processor,
        transformer=build_transformer(seed + 2),
    )
    pipeline.save_pretrained(folder)


def reply_stages(tokenizer: Qwen2Tokenizer) -> list[list[int]]:
    """Returns the ids that may stand at each stage of a reply, from the prompt's last token to its end."""
    stages = [["\n"], ["Score"], [":"], [" "], DIGITS, DECIMALS, ["<|im_end|>"]]
    encoded = [[tokenizer(token).input_ids for token in stage] for stage in stages]
    if not all(len(ids) == 1 for stage in encoded for ids in stage):
        raise ValueError(f"the parts of a reply have to be single tokens, found {encoded}")
    return [[ids[0] for ids in stage] for stage in encoded]


def hide_directions(layer: torch.nn.Module, directions: torch.Tensor) -> None:
    """Makes a decoder layer neither write to some directions of the residual stream nor take values from it.

    Queries and keys still read them, so that a token's stage has a say in where it looks.

    Args:
        layer: Dense or MoE, changed in place.
        directions: (K, H), orthonormal.
    """
    attention = layer.self_attn
    mlp = getattr(layer.mlp, "experts", layer.mlp)
    if mlp is layer.mlp:
        readers, writer = [mlp.gate_proj.weight, mlp.up_proj.weight], mlp.down_proj.weight
    else:
        readers, writer = [mlp.gate_up_proj], mlp.down_proj
    for weight in [attention.v_proj.weight, *readers]:  # (..., N, H)
        weight -= weight @ directions.T @ directions
    for weight in [attention.o_proj.weight, writer]:  # (..., H, N)
        weight -= directions.T @ (directions @ weight)
    # Sharp attention, because the mean of all tokens is much the same for all images.
    attention.q_norm.weight.fill_(6.0)


@torch.no_grad()
def arrange_reply(model: torch.nn.Module, tokenizer: Qwen2Tokenizer, seed: int) -> None:
    """Lets greedy decoding reply `Score: D.D`, with digits that depend on what the random body computes.

    Every stage of the reply has a direction of its own in the residual stream, orthogonal to the others.
    Its tokens' embeddings are that direction and nothing else, so all that is added to them comes from
    attention, and the output layer's rows of the next stage's tokens lie along it, far ahead of all
    others. Where a stage has ten tokens, random parts of their rows, read against what the body added,
    decide among them. All other tokens share the last direction, strongly: text then weighs less than
    images in what attention collects.

    Args:
        model: A dense or MoE judge, changed in place.
        tokenizer: The judge's.
        seed: Of the directions and the ten tokens' rows.
    """
    generator = torch.Generator().manual_seed(seed)
    stages = reply_stages(tokenizer)
    directions = torch.linalg.qr(torch.randn(HIDDEN_SIZE, len(stages), generator=generator)).Q.T  # (7, H)
    for layer in model.model.language_model.layers:
        hide_directions(layer, directions)
    embeddings = model.model.language_model.embed_tokens.weight  # (vocabulary, H)
    head = model.lm_head.weight  # (vocabulary, H)
    embeddings += 3.0 * HIDDEN_SIZE**0.5 * directions[-1]
    head *= 0.1
    for direction, (ids, next_ids) in zip(directions, itertools.pairwise(stages), strict=False):
        embeddings[ids] = 2.0 * HIDDEN_SIZE**0.5 * direction
        if len(next_ids) > 1:
            rows = torch.randn(len(next_ids), HIDDEN_SIZE, generator=generator) / HIDDEN_SIZE**0.5
            head[next_ids] += 3.0 * (rows - rows @ directions.T @ directions)
        head[next_ids] += 2.0 * direction
    head[stages[-1]] += 0.5 * directions[4]  # after a digit, the end is second best: "1" seldom becomes "10"


def silence_endings_and_digits(model: torch.nn.Module, tokenizer: Qwen2Tokenizer) -> None:
    """Takes from a judge's vocabulary all that could end its reply or be read as a number.

    Args:
        model: A dense or MoE judge, changed in place: a row of zeros never has the largest logit.
        tokenizer: The judge's.
    """
    silent = SPECIAL_TOKENS + DIGITS + DECIMALS
    with torch.no_grad():
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(silent)] = 0.0


def build_judge(folder: Path, mixture_of_experts: bool, replies_scores: bool, seed: int) -> None:
    """Writes a judge and its processor.

    Args:
        folder: Written to; exists already.
        mixture_of_experts: The MoE class instead of the dense one.
        replies_scores: Whether it replies `Score: D.D`; otherwise its replies are noise without an end.
        seed: Of all its weights.
    """
    tokenizer = build_tokenizer()
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = text_config(tokenizer, head_dim=16, rope_parameters=rope)
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": HIDDEN_SIZE,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    if mixture_of_experts:
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": HIDDEN_SIZE}
        config = Qwen3VLMoeConfig(text_config=text, vision_config=vision, **token_ids(tokenizer))
        model = Qwen3VLMoeForConditionalGeneration(config)
    else:
        config = Qwen3VLConfig(text_config=text, vision_config=vision, **token_ids(tokenizer))
        model = Qwen3VLForConditionalGeneration(config)
    randomize(model, seed)
    if replies_scores:
        arrange_reply(model, tokenizer, seed + 1)
    else:
        silence_endings_and_digits(model, tokenizer)
    model.generation_config = build_generation_config(tokenizer)
    model.save_pretrained(folder)
    build_judge_processor(tokenizer).save_pretrained(folder)


def build_generation_config(tokenizer: Qwen2Tokenizer) -> GenerationConfig:
    """Returns the settings that the real judges ship with; note that they sample unless told otherwise."""
    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    return GenerationConfig(
        bos_token_id=pad,
        pad_token_id=pad,
        eos_token_id=[end, pad],
        do_sample=True,
        top_k=20,
        top_p=0.8,
        temperature=0.7,
        repetition_penalty=1.0,
    )


def build_judge_processor(tokenizer: Qwen2Tokenizer) -> Qwen3VLProcessor:
    """Returns a judge's processor; an image costs 4 to 64 tokens, one for each 32 x 32 pixels."""
    limits = {"shortest_edge": 64 * 64, "longest_edge": 256 * 256}  # areas in pixels
    patches = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    mean_std = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=limits, **patches, **mean_std),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=limits),
        chat_template=CHAT_TEMPLATE,
    )


BUILDERS: dict[str, Callable[[Path], None]] = {
    "qwen_image_edit": lambda folder: build_editor(folder, QwenImageEditPipeline, seed=100),
    "qwen_image_edit_plus": lambda folder: build_editor(folder, QwenImageEditPlusPipeline, seed=200),
    "qwen3_vl": lambda folder: build_judge(folder, False, True, seed=330),
    "qwen3_vl_nonsense": lambda folder: build_judge(folder, False, False, seed=330),
    "qwen3_vl_moe": lambda folder: build_judge(folder, True, True, seed=310),
    "qwen3_vl_moe_nonsense": lambda folder: build_judge(folder, True, False, seed=310),
}


def model_card(name: str) -> str:
    """Returns the README of a checkpoint, which also tells by which recipe it was built."""
    return f"# {name}\n\n{NOTE}\n\nBuilt by `scripts/make_tiny_checkpoints.py`, recipe {RECIPE}.\n"


def is_complete(folder: Path) -> bool:
    """Tells whether a folder holds this recipe's checkpoint; a half-built one never has its final name."""
    card = folder / "README.md"
    return card.is_file() and card.read_text(encoding="utf-8") == model_card(folder.name)


def build_checkpoint(folder: Path, force: bool) -> None:
    """Builds one checkpoint beside its place and moves it there once it is whole.

    Args:
        folder: Its final place, named after the checkpoint; what is there and is not complete is replaced.
        force: Replace a complete one, too. Without it, what another process has put there meanwhile stays,
            as that process may be reading it by now.

    Raises:
        OSError: It cannot be moved there, and no other process has put a complete one there meanwhile.
    """
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last bits of a product depend on their number
    try:
        BUILDERS[folder.name](partial)
        (partial / NOTE_FILE).write_text(NOTE + "\n", encoding="utf-8")
        (partial / "README.md").write_text(model_card(folder.name), encoding="utf-8")
        if force or not is_complete(folder):
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
    except OSError:
        if not is_complete(folder):
            raise
    finally:
        torch.set_num_threads(threads)
        shutil.rmtree(partial, ignore_errors=True)


def make_tiny_checkpoints(root: Path, names: list[str] | None = None, force: bool = False) -> Path:
    """Builds what is missing.

    Args:
        root: The folder of all checkpoints, one subfolder each.
        names: Some of the keys of `BUILDERS`; all of them by default.
        force: Build again what is there already.

    Returns:
        `root`.
    """
    for name in names or BUILDERS:
        folder = root / name
        if is_complete(folder) and not force:
            logger.info("%s is there", folder)
            continue
        started = time.perf_counter()
        build_checkpoint(folder, force)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        logger.info("%s built: %.2f MB in %.1f s", folder, size / 1e6, time.perf_counter() - started)
    return root


def main(arguments: list[str] | None = None) -> None:
    """Reads the command line and builds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder to write to, such as checkpoints/tiny")
    parser.add_argument("--only", nargs="+", choices=list(BUILDERS), help="build some of them; default: all")
    parser.add_argument("--force", action="store_true", help="build again what is there already")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    transformers_logging.disable_progress_bar()  # a bar for each file of a megabyte says nothing
    make_tiny_checkpoints(options.root, options.only, options.force)


if __name__ == "__main__":
    main()
