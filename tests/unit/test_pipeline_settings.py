"""Every editor of diffusers under conf/editor against its pipeline's signature; sizes; what goes into a call."""

import inspect
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from benchmark_file import make_picture

from editbench.components.check import check_components
from editbench.config.load import load
from editbench.editors.pipeline_call import PipelineCall, check_call, most_source_images, plain_prompt, to_image
from editbench.editors.size import OutputSize, keep_shape
from editbench.errors import InvalidOutputError, UserError

EDITORS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((Path(__file__).resolve().parents[2] / "conf" / "editor").glob("*.yaml"))
}
PIPELINES = {
    "qwen_image_edit": "QwenImageEditPipeline",
    "qwen_image_edit_2509": "QwenImageEditPlusPipeline",
    "qwen_image_edit_2511": "QwenImageEditPlusPipeline",
    "qwen_image_2_1": "QwenImage21Pipeline",
    "flux_kontext": "FluxKontextPipeline",
    "flux2": "Flux2Pipeline",
    "flux2_klein": "Flux2KleinPipeline",
    "longcat_image_edit": "LongCatImageEditPipeline",
    "glm_image": "GlmImagePipeline",
    "joy_image_edit": "JoyImageEditPipeline",
    "joy_image_edit_plus": "JoyImageEditPlusPipeline",
    "omnigen": "OmniGenPipeline",
    "instruct_pix2pix": "StableDiffusionInstructPix2PixPipeline",
    "kandinsky5_i2i": "Kandinsky5I2IPipeline",
}


def settings(editor: str, *overrides: str) -> dict[str, Any]:
    config = load([f"editor={editor}", "judge=fake", "dataset.path=x", *overrides])
    check_components(config)
    return config.editor.kwargs


class Pipe:
    """A pipeline of a class without its models."""

    def __init__(self, name: str) -> None:
        cls = getattr(diffusers, name)
        self.__class__ = type(name, (Pipe,), {"__call__": cls.__call__})
        self.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()


def call_of(kwargs: dict[str, Any]) -> tuple[PipelineCall, OutputSize]:
    """The call and the size that settings lead to."""
    optional = {name: kwargs[name] for name in ("negative_prompt", "true_cfg_scale") if kwargs[name] is not None}
    fixed = optional | {"num_inference_steps": kwargs["num_inference_steps"], **kwargs["call"]}
    names = ("image_argument", "images", "prompt_template", "output", "resize_source")
    image_template = kwargs.get("image_template", "")
    form = [kwargs[name] for name in names]
    size = (kwargs["height"], kwargs["width"], kwargs["size"], kwargs["area"], kwargs["multiple"] or 16)
    return PipelineCall(*form, fixed, image_template), OutputSize(*size)


@pytest.mark.parametrize("editor", PIPELINES)
def test_a_pipeline_takes_all_that_its_yaml_says_and_needs_nothing_else(editor: str) -> None:
    kwargs = settings(editor)
    assert kwargs["pipeline"] == PIPELINES[editor]
    pipe = Pipe(kwargs["pipeline"])
    call, size = call_of(kwargs)
    call.check(pipe, size)
    source = make_picture(1, (96, 64))
    arguments = call.arguments(pipe, [source], "make it night", size.of(source))
    signature = inspect.signature(pipe.__call__)
    signature.bind(generator=None, output_type="pt", **arguments)
    given = arguments[kwargs["image_argument"]]
    (shown,) = given if kwargs["images"] == "list" else [given]
    assert shown is source or (kwargs["resize_source"] and shown.size == (arguments["width"], arguments["height"]))
    assert "make it night" in arguments["prompt"]


def test_every_editor_of_diffusers_is_tested_here() -> None:
    others = {"diffusers", "tiny", "tiny_plus", "qwen_image_edit_4_steps", "qwen_image_edit_8_steps"}
    of_diffusers = {name for name, text in EDITORS.items() if "pipeline:" in text and "_target_" not in text}
    assert of_diffusers - others == set(PIPELINES)


@pytest.mark.parametrize(
    ("editor", "overrides", "said"),
    [
        ("flux2", ["editor.negative_prompt=x"], "Flux2Pipeline takes no 'negative_prompt'; remove it"),
        ("flux2_klein", ["editor.negative_prompt=x"], "Flux2KleinPipeline takes no 'negative_prompt'"),
        ("glm_image", ["editor.negative_prompt=x"], "GlmImagePipeline takes no 'negative_prompt'"),
        ("flux2", ["editor.true_cfg_scale=1"], "Flux2Pipeline takes no 'true_cfg_scale'"),
        ("longcat_image_edit", ["editor.height=64"], "LongCatImageEditPipeline takes no 'height'"),
        ("longcat_image_edit", ["editor.size=keep"], "takes no 'height'; .*; set editor.size=native"),
        ("instruct_pix2pix", ["editor.width=64"], "takes no 'height'"),
        ("joy_image_edit_plus", ["editor.image_argument=image"], "not for JoyImageEditPlusPipeline, it takes images"),
        ("glm_image", ["editor.size=native"], "editor.resize_source=true: there is no size to scale to"),
        ("omnigen", ["editor.image_argument=image"], "not for OmniGenPipeline, it takes input_images"),
        ("diffusers", ["editor.name=x", "editor.pipeline=QwenImagePipeline", "editor.checkpoint=x"], "it is no editor"),
    ],
)
def test_what_a_signature_lacks_is_refused_at_the_start(editor: str, overrides: list[str], said: str) -> None:
    kwargs = settings(editor, *overrides)
    call, size = call_of(kwargs)
    with pytest.raises(UserError, match=said):
        call.check(Pipe(kwargs["pipeline"]), size)


def test_kontext_is_given_one_image_since_a_list_is_a_batch_to_it_and_the_area_of_the_size_asked_for() -> None:
    call, size = call_of(settings("flux_kontext", "editor.area=16384"))
    source = make_picture(1, (100, 50))
    arguments = call.arguments(Pipe("FluxKontextPipeline"), [source], "x", size.of(source))
    assert arguments["image"] is source
    assert (arguments["height"], arguments["width"], arguments["max_area"]) == (96, 176, 96 * 176)  # 90.5, 181.0


def test_omnigen_is_told_the_images_place_and_glm_gets_a_list() -> None:
    source = make_picture(1)
    call, _ = call_of(settings("omnigen"))
    arguments = call.arguments(Pipe("OmniGenPipeline"), [source], "remove {it}", {})
    assert arguments["prompt"] == "<img><|image_1|></img> remove {it}"
    assert arguments["input_images"] == [source]
    call, _ = call_of(settings("glm_image"))
    (shown,) = call.arguments(Pipe("GlmImagePipeline"), [source], "x", {"height": 32, "width": 64})["image"]
    assert shown.size == (64, 32)


def test_several_sources_go_as_a_list_or_side_by_side_at_the_first_ones_height() -> None:
    sources = [make_picture(1, (60, 40)), make_picture(2, (20, 80))]
    call, _ = call_of(settings("qwen_image_edit_2509"))
    assert call.arguments(Pipe("QwenImageEditPlusPipeline"), sources, "x", {})["image"] == sources
    call, _ = call_of(settings("omnigen"))
    arguments = call.arguments(Pipe("OmniGenPipeline"), sources, "mix {images}", {})
    assert arguments["prompt"] == "<img><|image_1|></img> <img><|image_2|></img> mix {images}"
    assert arguments["input_images"] == sources
    call, size = call_of(settings("flux_kontext", "editor.images=stitch"))
    row = call.arguments(Pipe("FluxKontextPipeline"), sources, "x", size.of(sources[0]))["image"]
    assert row.size == (60 + 10, 40)
    assert row.crop((0, 0, 60, 40)).tobytes() == sources[0].tobytes()
    assert call.arguments(Pipe("FluxKontextPipeline"), sources[:1], "x", {})["image"] is sources[0]


@pytest.mark.parametrize(
    ("editor", "overrides", "most"),
    [
        ("qwen_image_edit", [], 1),
        ("qwen_image_edit", ["editor.images=list"], 1),  # a batch to it
        ("flux_kontext", ["editor.images=list"], 1),
        ("flux_kontext", ["editor.images=stitch"], None),
        ("glm_image", [], 1),
        *((name, [], None) for name in ("qwen_image_edit_2509", "qwen_image_2_1", "flux2", "omnigen", "tiny_plus")),
    ],
)
def test_how_many_sources_an_editor_takes_follows_from_its_settings(
    editor: str, overrides: list[str], most: int | None
) -> None:
    assert most_source_images(settings(editor, *overrides)) == most


def test_side_by_side_needs_a_pipeline_that_takes_a_size_and_no_scaling_to_one() -> None:
    call, size = call_of(settings("instruct_pix2pix", "editor.images=stitch"))
    with pytest.raises(UserError, match="makes the shape of what it is given, the row of all"):
        call.check(Pipe("StableDiffusionInstructPix2PixPipeline"), size)
    with pytest.raises(UserError, match="resize_source=true would scale the row of images"):
        check_call(settings("glm_image", "editor.images=stitch"), set())


def test_the_qwen_editors_are_called_as_before_there_were_these_settings() -> None:
    call, size = call_of(settings("qwen_image_edit"))
    source = make_picture(1)
    assert size.of(source) == {}
    assert call.arguments(Pipe("QwenImageEditPipeline"), [source], "x", {}) == {
        **{"image": source, "prompt": "x", "num_inference_steps": 50},
        **{"true_cfg_scale": 4.0, "negative_prompt": " "},
    }


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["editor.size=keep", "editor.height=64"], "editor.size=keep: editor.height=64 decides the size too"),
        (["editor.size=large"], "editor.size='large': must be native or keep"),
        (["editor.height=48", "editor.multiple=32"], "editor.height=48: must be a multiple of 32"),
        (["editor.prompt_template=hello"], "editor.prompt_template='hello': must hold {instruction}"),
        (["editor.images=two"], "editor.images='two': must be one of one, list, stitch"),
        (["editor.output=video"], "editor.output='video': must be one of images, image, frames"),
        (["+editor.call.input_images=x"], "editor.call.input_images: is set for every sample"),
        (["+editor.call.height=64"], "editor.call.height: is a setting of its own; give editor.height instead"),
        (["editor.area=0"], "editor.area=0: must be a whole number from 1"),
    ],
)
def test_settings_are_checked_before_anything_is_loaded(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        settings("qwen_image_edit", *overrides)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("source", "area", "multiple", "height_width"),
    [
        ((100, 100), 1024 * 1024, 16, (1024, 1024)),
        ((200, 100), 20000, 1, (100, 200)),
        ((1920, 1080), 1024 * 1024, 32, (768, 1376)),  # 768.0, 1365.3
        ((10, 1000), 1024, 16, (320, 16)),  # 320, 3.2: 16 is the least
    ],
)
def test_keep_gives_the_sources_shape_at_the_area(
    source: tuple[int, int], area: int, multiple: int, height_width: tuple[int, int]
) -> None:
    assert keep_shape(make_picture(1, source), area, multiple) == height_width


def test_opacity_is_laid_on_white_and_what_is_not_finite_is_no_picture() -> None:
    pixels = torch.zeros(4, 1, 2)
    pixels[0] = 1.0  # red
    pixels[3, 0, 0] = 1.0  # opaque, then clear
    image = to_image(pixels)
    assert (image.mode, image.size) == ("RGB", (2, 1))
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(255, 0, 0), (255, 255, 255)]
    pixels[3, 0, 1] = float("nan")
    with pytest.raises(InvalidOutputError, match="NaN"):
        to_image(pixels)


def test_of_frames_the_last_is_the_picture() -> None:
    frames = torch.zeros(1, 3, 3, 1, 1)
    frames[0, 2] = 1.0
    call = PipelineCall("image", "one", "{instruction}", "frames", False, {})
    assert call.picture(type("Result", (), {"frames": frames})).getpixel((0, 0)) == (255, 255, 255)


class Tokenizer:
    def __init__(self, *tokens: str) -> None:
        self.tokens = tokens

    def get_added_vocab(self) -> dict[str, int]:
        return dict.fromkeys(self.tokens, 0)


def test_an_instruction_stays_text_for_every_tokenizer_of_a_pipeline() -> None:
    """FLUX.2 calls a processor its tokenizer, GLM-Image and Qwen-Image-2.1 have theirs in a processor."""

    class Several:
        tokenizer = type("Processor", (), {"tokenizer": Tokenizer("[INST]")})()
        processor = type("Processor", (), {"tokenizer": Tokenizer("<|im_end|>")})()
        tokenizer_2 = Tokenizer("</s>")

    said = plain_prompt(Several(), "a [INST] b <|im_end|> c </s> d")
    assert said == "a [\u2060INST] b <\u2060|im_end|> c <\u2060/s> d"
    assert plain_prompt(type("None", (), {"tokenizer": None})(), "a </s>") == "a </s>"
