"""The tiny checkpoints load like the large ones, and what they put out is good enough for tests."""

import functools
import re
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, QwenImageEditPipeline, QwenImageEditPlusPipeline
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

NOTE = "Random weights for tests and demos: pictures and scores made with this checkpoint mean nothing.\n"
EDITORS = {"qwen_image_edit": QwenImageEditPipeline, "qwen_image_edit_plus": QwenImageEditPlusPipeline}
JUDGES = ["qwen3_vl", "qwen3_vl_moe"]
NONSENSE = ["qwen3_vl_nonsense", "qwen3_vl_moe_nonsense"]
DTYPES = [torch.float32, torch.bfloat16]
SYSTEM = "You are a careful judge of edited images. Take the mean of five criteria; reply with the score."


def make_image(seed: int, size: tuple[int, int] = (512, 512)) -> Image.Image:
    """A smooth random picture, RGB, of the given (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module", params=list(EDITORS))
def editor_path(request: pytest.FixtureRequest, tiny_checkpoints: Path) -> Path:
    return tiny_checkpoints / request.param


@functools.cache
def load_editor(path: Path, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
    pipeline = EDITORS[path.name].from_pretrained(path, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@functools.cache
def load_judge(path: Path, dtype: torch.dtype = torch.float32) -> tuple:
    model = AutoModelForImageTextToText.from_pretrained(path, dtype=dtype).eval()
    processor = AutoProcessor.from_pretrained(path)
    processor.tokenizer.padding_side = "left"
    return model, processor


def conversation(images: list[Image.Image], instruction: str = "make it night") -> list[dict]:
    pictures = [{"type": "image", "image": image} for image in images]
    return [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": [*pictures, {"type": "text", "text": f"Instruction: {instruction}."}]},
    ]


def reply(model: torch.nn.Module, processor: object, conversations: list[list[dict]]) -> list[str]:
    inputs = processor.apply_chat_template(
        conversations,
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True},
    )
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    return processor.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)


def edit(pipeline: DiffusionPipeline, image: Image.Image, prompt: str, seed: int = 0) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    settings = {"true_cfg_scale": 4.0, "num_inference_steps": 2, "height": 128, "width": 128}
    output = pipeline(image=image, prompt=prompt, negative_prompt=" ", generator=generator, **settings)
    return np.asarray(output.images[0])


@pytest.mark.parametrize("name", [*EDITORS, *JUDGES, *NONSENSE])
def test_every_checkpoint_is_small_and_says_that_it_means_nothing(tiny_checkpoints: Path, name: str) -> None:
    folder = tiny_checkpoints / name
    assert (folder / "editbench_note.txt").read_text(encoding="utf-8") == NOTE
    assert NOTE in (folder / "README.md").read_text(encoding="utf-8")
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 3e6


@pytest.mark.parametrize("name", [*JUDGES, *NONSENSE])
def test_a_judges_weights_fit_its_class(tiny_checkpoints: Path, name: str) -> None:
    _, report = AutoModelForImageTextToText.from_pretrained(tiny_checkpoints / name, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_an_editors_weights_fit_their_classes(editor_path: Path) -> None:
    pipeline = load_editor(editor_path)
    for part in ("text_encoder", "transformer", "vae"):
        path = editor_path / part
        _, report = type(getattr(pipeline, part)).from_pretrained(path, output_loading_info=True)
        assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), part


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)])
def test_an_edit_depends_on_image_instruction_and_seed(editor_path: Path, dtype: torch.dtype) -> None:
    pipeline = load_editor(editor_path, dtype)
    first = edit(pipeline, make_image(0, (640, 480)), "make it night")
    assert first.shape == (128, 128, 3)
    assert first.std() > 10
    np.testing.assert_array_equal(first, edit(pipeline, make_image(0, (640, 480)), "make it night"))
    others = [
        edit(pipeline, make_image(1, (640, 480)), "make it night"),
        edit(pipeline, make_image(0, (640, 480)), "remove the cat"),
        edit(pipeline, make_image(0, (640, 480)), "make it night", seed=1),
    ]
    assert all(np.abs(first.astype(float) - other).mean() > 1 for other in others)


def test_the_instruction_survives_the_dropped_template(editor_path: Path) -> None:
    pipeline = load_editor(editor_path)
    prefix = pipeline.prompt_template_encode.split("user\n")[0] + "user\n"
    assert len(pipeline.tokenizer(prefix).input_ids) == pipeline.prompt_template_encode_start_idx
    images = [make_image(0)]
    with torch.inference_mode():
        night, _ = pipeline.encode_prompt("make it night", image=images)
        again, _ = pipeline.encode_prompt("make it night", image=images)
        day, _ = pipeline.encode_prompt("make it day", image=images)
    assert torch.equal(night, again)
    assert night.shape == day.shape  # "night" and "day" are one token each
    assert not torch.allclose(night, day)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", JUDGES)
def test_a_judges_replies_are_scores_that_vary(tiny_checkpoints: Path, name: str, dtype: torch.dtype) -> None:
    model, processor = load_judge(tiny_checkpoints / name, dtype)
    conversations = [conversation([make_image(seed)]) for seed in range(12)]
    conversations += [conversation([make_image(0), make_image(seed)]) for seed in range(12)]
    replies = [text for chat in conversations for text in reply(model, processor, [chat])]
    assert all(re.fullmatch(r"Score: \d\.\d", text) for text in replies), replies
    assert len(set(replies[:12])) >= 4
    assert len(set(replies[12:])) >= 4


@pytest.mark.parametrize("name", JUDGES)
def test_a_judges_score_depends_on_the_text(tiny_checkpoints: Path, name: str) -> None:
    model, processor = load_judge(tiny_checkpoints / name)
    instructions = [
        "make it night",
        "remove the cat",
        "turn the sky red",
        "add snow",
        "把天空改为红色",
        "zoom out",
    ]
    replies = reply(model, processor, [conversation([make_image(0)], text) for text in instructions])
    assert len(set(replies)) > 2


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_runs_on_and_holds_no_number(tiny_checkpoints: Path, name: str) -> None:
    model, processor = load_judge(tiny_checkpoints / name)
    inputs = processor.apply_chat_template(
        conversation([make_image(0)]),
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    output = model.generate(**inputs, max_new_tokens=64, do_sample=False)[:, inputs.input_ids.shape[1] :]
    assert output.shape[1] == 64
    text = processor.batch_decode(output)[0]
    assert not re.search(r"\d", text)
    assert "<|" not in text


def test_a_judges_vision_tokens_are_few(tiny_checkpoints: Path) -> None:
    _, processor = load_judge(tiny_checkpoints / "qwen3_vl")
    grid = processor.image_processor(make_image(0, (512, 512)), return_tensors="pt").image_grid_thw
    assert grid.prod().item() // 4 == 64  # 2 x 2 patches of 16 pixels make a token


def test_a_judges_generation_settings_are_the_real_ones(tiny_checkpoints: Path) -> None:
    model, processor = load_judge(tiny_checkpoints / "qwen3_vl")
    end, pad = processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert model.generation_config.eos_token_id == [end, pad]
    assert model.generation_config.pad_token_id == pad
    assert model.generation_config.do_sample  # so a judge has to ask for greedy decoding


def test_a_second_build_gives_the_same_bytes(
    tiny_checkpoints: Path, tiny_checkpoints_script: ModuleType, tmp_path: Path
) -> None:
    tiny_checkpoints_script.main([str(tmp_path), "--only", "qwen_image_edit", "qwen3_vl_moe"])
    weights = sorted(tmp_path.rglob("*.safetensors"))
    assert len(weights) == 4
    for path in [*weights, *tmp_path.rglob("tokenizer.json")]:
        assert path.read_bytes() == (tiny_checkpoints / path.relative_to(tmp_path)).read_bytes(), path


def test_what_is_complete_is_kept_and_what_is_not_is_rebuilt(
    tiny_checkpoints: Path, tiny_checkpoints_script: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "qwen3_vl"
    shutil.copytree(tiny_checkpoints / "qwen3_vl", folder)
    (folder / "mark").touch()
    tiny_checkpoints_script.main([str(tmp_path), "--only", "qwen3_vl"])
    assert (folder / "mark").exists()
    (folder / "README.md").write_text("another recipe", encoding="utf-8")
    tiny_checkpoints_script.main([str(tmp_path), "--only", "qwen3_vl"])
    assert not (folder / "mark").exists()
    (folder / "mark").touch()
    tiny_checkpoints_script.main([str(tmp_path), "--only", "qwen3_vl", "--force"])
    assert not (folder / "mark").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["qwen3_vl"]


def test_a_build_that_fails_leaves_nothing_behind(
    tiny_checkpoints_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_halfway(folder: Path) -> None:
        (folder / "config.json").write_text("{}", encoding="utf-8")
        raise RuntimeError("stopped")

    monkeypatch.setitem(tiny_checkpoints_script.BUILDERS, "qwen3_vl", fail_halfway)
    with pytest.raises(RuntimeError, match="stopped"):
        tiny_checkpoints_script.main([str(tmp_path), "--only", "qwen3_vl"])
    assert not list(tmp_path.iterdir())
