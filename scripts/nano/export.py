"""Writes trained parts as checkpoint folders that the tool loads as it loads the large models."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import QwenImageEditPipeline
from make_tiny_checkpoints import CHAT_TEMPLATE, build_judge_processor, build_scheduler
from safetensors.torch import load_file, save_file
from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

from nano.denoiser import KEPT, Frozen, ProbedDenoiser, trained_denoiser
from nano.judge_training import ProbedJudge
from nano.pictures import ENCODER
from nano.text_encoder import MERGE, PATCH
from nano.training import averaged_weights

STAGES = tuple(KEPT.values())
DENOISER = "diffusion_pytorch_model.safetensors"


def export_editor(training: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the whole editor.

    Args:
        training: Folder of the training's checkpoints.
        folder: Where to write; replaced.
        dtype: Type the weights are stored in.
    """
    frozen = Frozen.trained(training)
    vae = frozen.core.finished()
    vae.register_to_config(latents_mean=frozen.mean.flatten().tolist(), latents_std=frozen.std.flatten().tolist())
    model = trained_denoiser(training)
    tokenizer = frozen.encoder.reader.tokenizer
    size = {"shortest_edge": ENCODER * ENCODER, "longest_edge": ENCODER * ENCODER}
    cut = {"patch_size": PATCH, "merge_size": MERGE}
    pipeline = QwenImageEditPipeline(
        scheduler=build_scheduler(),
        vae=_stored(vae, dtype),
        text_encoder=_stored(frozen.encoder.encoder, dtype),
        tokenizer=tokenizer,
        processor=Qwen2VLProcessor(
            image_processor=Qwen2VLImageProcessor(size=size, **cut),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(size=size, **cut),
            chat_template=CHAT_TEMPLATE,
        ),
        transformer=_stored(model.transformer, dtype),
    )
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_pretrained(folder)


def _stored(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """The model in the type it is stored in, its forward passes as in the library again."""
    for module in model.modules():
        module.__dict__.pop("forward", None)
    return model.to(dtype)


def export_judge(training: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the judge and its processor."""
    model = ProbedJudge()
    model.load_state_dict(averaged_weights(training, "judge_answer"))
    shutil.rmtree(folder, ignore_errors=True)
    _stored(model.judge, dtype).save_pretrained(folder)
    build_judge_processor(model.reader.tokenizer).save_pretrained(folder)


def export_stage(training: Path, stage: str, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write the denoiser of an earlier stage of training, without the parts that all stages share."""
    model = ProbedDenoiser()
    path = training / f"denoiser-{stage}.pt"
    model.load_state_dict(torch.load(path, weights_only=True))
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.to(dtype).contiguous() for name, weight in model.transformer.state_dict().items()}
    save_file(weights, folder / DENOISER, metadata={"format": "pt"})


def assemble_stage(shipped: Path, stage: str, folder: Path) -> None:
    """Make a whole editor of an earlier stage's denoiser and the other parts of the final editor.

    Args:
        shipped: Holds `editor` and `stages`.
        stage: `early` or `middle`.
        folder: Where to write; replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(shipped / "editor", folder)
    shutil.copyfile(shipped / "stages" / stage / DENOISER, folder / "transformer" / DENOISER)


def sizes(folder: Path) -> dict[str, float]:
    """Megabytes of safetensors below a folder, by part."""
    files = sorted(folder.rglob("*.safetensors"))
    return {str(file.relative_to(folder).parent): round(file.stat().st_size / 1e6, 3) for file in files}


def parameters(folder: Path) -> dict[str, int]:
    """Number of stored values below a folder, by part."""
    files = sorted(folder.rglob("*.safetensors"))
    return {str(file.relative_to(folder).parent): sum(w.numel() for w in load_file(file).values()) for file in files}


def write_json(path: Path, content: object) -> None:
    """Write JSON as a person reads it."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
