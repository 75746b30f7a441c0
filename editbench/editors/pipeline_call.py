"""What a pipeline of diffusers is called with and what it gives back, as its signature wants it."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image

from editbench.editors.size import OutputSize
from editbench.errors import InvalidOutputError, UserError
from editbench.images import side_by_side
from editbench.text import as_plain_text

if TYPE_CHECKING:
    import torch

ImageArgument = Literal["image", "images", "input_images"]
Images = Literal["one", "list", "stitch"]
Output = Literal["images", "image", "frames"]

PLACE = "{instruction}"
IMAGES_PLACE = "{images}"

ONE_OF_A_LIST = ("FluxKontextPipeline", "GlmImagePipeline", "QwenImageEditPipeline")
"""Pipelines that take a list of images for a batch, or fail with more than one in it."""

_FOR_EVERY_SAMPLE = ("image", "images", "input_images", "prompt", "generator", "output_type")


@dataclass(frozen=True)
class PipelineCall:
    """How a pipeline is called.

    Attributes:
        image_argument: Name of the argument that takes the source image.
        images: Whether it takes `one` image, or a `list` of them; `stitch`: one, several are put side by side for it.
        prompt_template: The prompt, with `{instruction}` in the instruction's place, and `{images}` where
            `image_template` stands for each source image.
        output: Field of what the pipeline returns; of `frames` the last one is the edited image.
        resize_source: Whether the source is scaled to the size asked for before the pipeline gets it.
        fixed: The arguments that are the same for every sample.
        image_template: What names a source image in the prompt, with `{number}`, from 1, in its number's place.
    """

    image_argument: ImageArgument
    images: Images
    prompt_template: str
    output: Output
    resize_source: bool
    fixed: dict[str, Any]
    image_template: str = ""

    def arguments(
        self, pipe: Any, sources: Sequence[Image.Image], instruction: str, size: dict[str, int]
    ) -> dict[str, Any]:
        """Return the arguments of one call, but for seed and callback."""
        accepted = inspect.signature(pipe.__call__).parameters
        shown = [side_by_side(sources, sources[0].height)] if self.images == "stitch" else list(sources)
        if self.resize_source:
            shown = [one.resize((size["width"], size["height"]), Image.Resampling.LANCZOS) for one in shown]
        given = self.fixed | size | {self.image_argument: shown if self.images == "list" else shown[0]}
        if size and "max_area" in accepted:  # FLUX.1 Kontext scales every size to this area
            given.setdefault("max_area", size["height"] * size["width"])
        named = "".join(self.image_template.replace("{number}", str(n)) for n in range(1, len(shown) + 1))
        template = self.prompt_template.replace(IMAGES_PLACE, named)
        return given | {"prompt": template.replace(PLACE, plain_prompt(pipe, instruction))}

    def takes_size(self, pipe: Any) -> bool:
        """Whether a pipeline makes the height and width that it is called with."""
        accepted = inspect.signature(pipe.__call__).parameters
        return {"height", "width"} <= set(accepted) and not self.fixed.get("use_input_image_size_as_output")

    def picture(self, result: Any) -> Image.Image:
        """Take the edited image out of what a pipeline returns for `output_type="pt"`.

        Raises:
            InvalidOutputError: it holds values that are not finite.
        """
        first = getattr(result, self.output)[0]
        return to_image(first[-1] if self.output == "frames" else first)

    def check(self, pipe: Any, size: OutputSize) -> None:
        """Check that a pipeline takes these arguments; it would leave out or misread what it does not know.

        Raises:
            UserError: it does not.
        """
        accepted = inspect.signature(pipe.__call__).parameters
        name = type(pipe).__name__
        if self.image_argument not in accepted:
            there = [one for one in ("image", "images", "input_images") if one in accepted]
            hint = f"it takes {there[0]}" if there else "it is no editor"
            raise UserError(f"editor.image_argument={self.image_argument}: not for {name}, {hint}")
        if self.resize_source and not size.is_passed:
            raise UserError(
                "editor.resize_source=true: there is no size to scale to; set editor.size=keep, or a height"
            )
        if self.images == "stitch" and not self.takes_size(pipe):
            raise UserError(
                f"editor.images=stitch: {name} makes the shape of what it is given, the row of all; use one"
            )
        sized = ["height", "width"] if size.is_passed else []
        unknown = [key for key in [*self.fixed, *sized] if key not in accepted]
        if unknown:
            hint = "; set editor.size=native" if unknown[0] == "height" and size.policy == "keep" else ""
            raise UserError(f"editor: {name} takes no {unknown[0]!r}; remove it from editor or editor.call{hint}")
        if self.fixed["num_inference_steps"] == 1 and pipe.scheduler.config.get("shift_terminal"):
            raise UserError("editor.num_inference_steps=1: this scheduler stretches its steps (shift_terminal), give 2")
        scale = getattr(accepted.get("true_cfg_scale"), "default", None)
        check_guidance({"true_cfg_scale": scale} | self.fixed)


def check_call(settings: dict[str, Any], own: set[str]) -> None:
    """Check the settings of a call as far as that needs no pipeline.

    Args:
        settings: An editor's settings.
        own: Names of the editor's own settings.

    Raises:
        UserError: one of them is wrong.
    """
    for key in settings.get("call") or {}:
        if key in _FOR_EVERY_SAMPLE:
            raise UserError(f"editor.call.{key}: is set for every sample; remove it")
        if key in own:
            raise UserError(f"editor.call.{key}: is a setting of its own; give editor.{key} instead")
    template = settings.get("prompt_template", PLACE)
    if PLACE not in template:
        raise UserError(f"editor.prompt_template={template!r}: must hold {PLACE}, the place of the instruction")
    if settings.get("images") == "stitch" and settings.get("resize_source"):
        raise UserError(
            "editor.images=stitch: editor.resize_source=true would scale the row of images to the shape of one; "
            "leave one of them out"
        )
    check_guidance(settings)


def most_source_images(settings: dict[str, Any]) -> int | None:
    """How many source images of a sample can be edited with an editor's settings; None: any number."""
    images = settings.get("images", "one")
    one = images == "one" or (images == "list" and settings.get("pipeline") in ONE_OF_A_LIST)
    return 1 if one else None


def check_guidance(settings: dict[str, Any]) -> None:
    """Diffusers turns guidance off with only a warning when the negative prompt is missing.

    Raises:
        UserError: it is.
    """
    scale = settings.get("true_cfg_scale")
    if isinstance(scale, int | float) and scale > 1 and settings.get("negative_prompt") is None:
        raise UserError(
            f"editor.true_cfg_scale={scale} has no effect without editor.negative_prompt; "
            'set it to " ", or the scale to 1'
        )


def plain_prompt(pipe: Any, instruction: str) -> str:
    """Keep an instruction text for all tokenizers of a pipeline, those within processors too."""
    for name in ("tokenizer", "tokenizer_2", "processor", "text_processor"):
        part = getattr(pipe, name, None)
        tokenizer = getattr(part, "tokenizer", part)
        if hasattr(tokenizer, "get_added_vocab"):
            instruction = as_plain_text(instruction, tokenizer)
    return instruction


def to_image(pixels: "torch.Tensor") -> Image.Image:
    """Turn (C, H, W) float in 0..1 into mode RGB; of 4 channels the last is opacity, and is laid on white.

    Raises:
        InvalidOutputError: it holds values that are not finite.
    """
    import torch

    if not torch.isfinite(pixels).all():
        raise InvalidOutputError("the editor's output holds NaN or infinite values")
    array = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    image = Image.fromarray(array.cpu().numpy())
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
