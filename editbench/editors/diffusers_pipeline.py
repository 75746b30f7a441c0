"""Any editing pipeline of diffusers that takes an image and a prompt; made for Qwen-Image-Edit."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

from PIL import Image

from editbench.config.annotations import Count
from editbench.editors.acceleration import Acceleration, Cache, Lora, Offload, Quantization
from editbench.editors.denoiser_passes import DenoiserPasses
from editbench.errors import InvalidOutputError, UserError
from editbench.text import as_plain_text

if TYPE_CHECKING:
    import torch

Dtype = Literal["bfloat16", "float16", "float32"]


class DiffusersEditor:
    """Edits with a diffusers pipeline, one image per call.

    Args:
        device: Where the whole pipeline is put, e.g. `cuda:0`.
        pipeline: Class name in diffusers, e.g. `QwenImageEditPipeline`.
        checkpoint: Folder with the pipeline's safetensors.
        revision: Not used here; the checkpoint is a folder already.
        allow_pickle: Whether weights may be pickles.
        trust_remote_code: Whether code in the checkpoint may run.
        dtype: `bfloat16`, `float16` or `float32`.
        height, width: Size of the edited image in pixels; None: the pipeline chooses by the source's shape.
        num_inference_steps: Denoising steps.
        negative_prompt: Text of the unconditional pass; None: not passed.
        true_cfg_scale: Guidance scale of the Qwen pipelines; None: not passed.
        call: Further arguments of the pipeline's call, e.g. `image_guidance_scale`.
        compile, cache, cache_options, attention_backend, lora, scheduler, offload, quantization: See `Acceleration`.

    Raises:
        UserError: no such pipeline or dtype, a size the pipeline cannot make, or an argument it does not take; what
            makes it faster and the pipeline, a package or the machine lacks.
    """

    def __init__(
        self,
        device: str,
        pipeline: str,
        checkpoint: str,
        revision: str | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
        dtype: Dtype = "bfloat16",
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: Count = 50,
        negative_prompt: str | None = None,
        true_cfg_scale: float | None = None,
        call: dict[str, Any] | None = None,
        compile: bool = False,
        cache: Cache | None = None,
        cache_options: dict[str, Any] | None = None,
        attention_backend: str | None = None,
        lora: Lora | None = None,
        scheduler: dict[str, Any] | None = None,
        offload: Offload | None = None,
        quantization: Quantization | None = None,
    ) -> None:
        import diffusers
        import torch
        from transformers.utils import logging as transformers_logging

        if dtype not in get_args(Dtype):
            raise UserError(f"editor.dtype={dtype!r}: must be one of {', '.join(get_args(Dtype))}")
        self._acceleration = Acceleration(
            compile, cache, cache_options, attention_backend, lora, scheduler, offload, quantization
        )
        self._acceleration.check(allow_pickle)
        self._acceleration.check_machine(device)
        diffusers.utils.logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        self._pipe = self._load(
            pipeline,
            checkpoint,
            dtype=getattr(torch, dtype),
            use_safetensors=None if allow_pickle else True,
            trust_remote_code=trust_remote_code,
            **self._acceleration.loading_arguments(getattr(torch, dtype)),
        )
        self._acceleration.apply(self._pipe, device, getattr(torch, dtype), num_inference_steps, allow_pickle)
        self._passes = DenoiserPasses(self._pipe, cached=cache in ("first_block", "mag"))
        self._pipe.set_progress_bar_config(disable=True)
        self._width, self._height = width, height
        optional = {
            "height": height,
            "width": width,
            "negative_prompt": negative_prompt,
            "true_cfg_scale": true_cfg_scale,
        }
        self._call: dict[str, Any] = {key: value for key, value in optional.items() if value is not None}
        self._call |= {"num_inference_steps": num_inference_steps, **(call or {})}
        self._accepted = inspect.signature(self._pipe.__call__).parameters
        self._check_call(call or {}, height, width)
        if type(getattr(self._pipe, "text_encoder", None)).__name__.startswith("Qwen2_5_VL"):
            pass_mm_token_type_ids(self._pipe.text_encoder)

    def _load(self, pipeline: str, checkpoint: str, **arguments: Any) -> Any:
        """Load the pipeline with arguments of `from_pretrained`; overridden where a pipeline is there already."""
        return _pipeline_class(pipeline).from_pretrained(checkpoint, **arguments)

    def edit(
        self, source: Image.Image, instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Run the pipeline once; see `Editor.edit`. The noise is drawn on the CPU: the same on every device."""
        import torch

        def after_step(_pipe: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1, self._call["num_inference_steps"])
            return {}

        arguments = dict(self._call)
        if "callback_on_step_end" in self._accepted:
            arguments["callback_on_step_end"] = after_step
        with self._passes.counted(), torch.inference_mode():
            pixels = self._pipe(
                image=source,
                prompt=as_plain_text(instruction, getattr(self._pipe, "tokenizer", None)),
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="pt",
                **arguments,
            ).images[0]
        image = _to_image(pixels)
        wanted = (self._width or image.width, self._height or image.height)
        if image.size != wanted:
            raise InvalidOutputError(f"the editor returned {image.size} pixels, asked for were {wanted}")
        return image

    def describe(self) -> dict[str, Any]:
        """Class, the arguments of every call, what makes it faster, and what has been counted so far."""
        settings = self._acceleration.describe()
        return {"class": type(self._pipe).__name__, "call": self._call, **settings, **self._passes.describe()}

    @staticmethod
    def check_settings(kwargs: dict[str, Any]) -> None:
        """Check the arguments as far as that needs no package and no machine; they fit their annotations already.

        Raises:
            UserError: one of them is wrong.
        """
        names = {field.name for field in dataclasses.fields(Acceleration)}
        settings = {name: value for name, value in kwargs.items() if name in names}
        Acceleration(**settings).check(bool(kwargs.get("allow_pickle")))

    def _check_call(self, given: dict[str, Any], height: int | None, width: int | None) -> None:
        reserved = [key for key in given if key in ("image", "prompt", "generator", "output_type")]
        settings = [key for key in given if key in inspect.signature(type(self).__init__).parameters]
        if settings:
            raise UserError(f"editor.call.{settings[0]}: is a setting of its own; give editor.{settings[0]} instead")
        if reserved:
            raise UserError(f"editor.call.{reserved[0]}: is set for every sample; remove it")
        default_scale = getattr(self._accepted.get("true_cfg_scale"), "default", None)
        scale = self._call.get("true_cfg_scale", default_scale)
        if isinstance(scale, int | float) and scale > 1 and self._call.get("negative_prompt") is None:
            raise UserError(
                f"{type(self._pipe).__name__} would run with true_cfg_scale={scale}, which has no effect without a "
                'negative prompt; set editor.negative_prompt to " ", or editor.true_cfg_scale to 1'
            )
        unknown = [key for key in self._call if key not in self._accepted]
        if unknown:
            raise UserError(
                f"editor: {type(self._pipe).__name__} takes no {unknown[0]!r}; remove it from editor or editor.call"
            )
        if self._call["num_inference_steps"] == 1 and self._pipe.scheduler.config.get("shift_terminal"):
            raise UserError("editor.num_inference_steps=1: this scheduler stretches its steps (shift_terminal), give 2")
        processor = getattr(self._pipe, "image_processor", None)
        multiple = processor.config.vae_scale_factor if processor is not None else 1
        for key, value in {"height": height, "width": width}.items():
            if value is not None and value % multiple:
                raise UserError(f"editor.{key}={value}: must be a multiple of {multiple} for this pipeline")


def pass_mm_token_type_ids(text_encoder: "torch.nn.Module") -> None:
    """Give a Qwen2.5-VL encoder the processor output that diffusers' pipelines leave out.

    Without `mm_token_type_ids` the encoder of transformers 5 takes 1-D instead of 3-D positions without a word
    (huggingface/diffusers#14194), and the prompt embeddings are not those the model was trained with. Once
    diffusers passes them itself, nothing is added.
    """

    def add(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if kwargs.get("mm_token_type_ids") is None and kwargs.get("input_ids") is not None:
            is_image = kwargs["input_ids"] == module.config.image_token_id
            kwargs = {**kwargs, "mm_token_type_ids": is_image.to(kwargs["input_ids"].dtype)}
        return args, kwargs

    text_encoder.register_forward_pre_hook(add, with_kwargs=True)


def _pipeline_class(name: str) -> Any:
    import diffusers

    cls = getattr(diffusers, name, None)
    if cls is None or not hasattr(cls, "from_pretrained"):
        close = difflib.get_close_matches(name, [n for n in dir(diffusers) if n.endswith("Pipeline")], n=3)
        raise UserError(
            f"editor.pipeline={name!r}: diffusers {diffusers.__version__} has no such pipeline"
            + (f"; close are {', '.join(close)}" if close else "")
        )
    return cls


def _to_image(pixels: "torch.Tensor") -> Image.Image:
    """Turn (C, H, W) float in 0..1 into mode RGB, refusing what is no picture."""
    import torch

    if not torch.isfinite(pixels).all():
        raise InvalidOutputError("the editor's output holds NaN or infinite values")
    array = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(array.cpu().numpy())
