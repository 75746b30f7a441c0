"""Any editing pipeline of diffusers that takes an image and a prompt; made for Qwen-Image-Edit."""

import contextlib
import dataclasses
import difflib
import inspect
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PIL import Image

from editbench.config.annotations import Count
from editbench.editors.acceleration import Acceleration, Cache, Dtype, Lora, Offload, Quantization
from editbench.editors.apply_acceleration import apply, cache_hooks, find_denoiser
from editbench.errors import InvalidOutputError, UserError
from editbench.text import as_plain_text

if TYPE_CHECKING:
    import torch


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
        height, width: Size of the edited image in pixels. Of one alone the other follows from the source's shape; of
            none, the pipeline chooses.
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
        from transformers.utils import logging as transformers_logging

        self._acceleration = Acceleration(
            compile=compile,
            cache=cache,
            cache_options=cache_options,
            attention_backend=attention_backend,
            lora=lora,
            scheduler=scheduler,
            offload=offload,
            quantization=quantization,
            dtype=dtype,
            allow_pickle=allow_pickle,
        )
        self._acceleration.check()
        self._acceleration.check_machine(device)
        diffusers.utils.logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
        arguments = self._acceleration.loading_arguments(device)
        self._pipe = self._load(pipeline, checkpoint, trust_remote_code=trust_remote_code, **arguments)
        apply(self._acceleration, self._pipe, device)
        self._counted = self._count_passes(cached=cache is not None)
        self._pipe.set_progress_bar_config(disable=True)
        self._height, self._width = height, width
        optional = {
            "height": height,
            "width": width,
            "negative_prompt": negative_prompt,
            "true_cfg_scale": true_cfg_scale,
        }
        self._call: dict[str, Any] = {key: value for key, value in optional.items() if value is not None}
        self._call |= {"num_inference_steps": num_inference_steps, **(call or {})}
        self._accepted = inspect.signature(self._pipe.__call__).parameters
        self._check_call(call or {})
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

        size = self._size(source)
        arguments = self._call | size
        if "callback_on_step_end" in self._accepted:
            arguments["callback_on_step_end"] = after_step
        counted = Counter(self._counted)
        try:
            with torch.inference_mode():
                pixels = self._pipe(
                    image=source,
                    prompt=as_plain_text(instruction, getattr(self._pipe, "tokenizer", None)),
                    generator=torch.Generator("cpu").manual_seed(seed),
                    output_type="pt",
                    **arguments,
                ).images[0]
        except BaseException:  # an edit that fails is not counted, and leaves nothing behind in the caches
            self._counted.clear()
            self._counted.update(counted)
            with contextlib.suppress(Exception):  # the edit's own error is the one to be told
                self._pipe.maybe_free_model_hooks()  # the pipeline does it itself when it comes to its end
            raise
        self._counted["edits"] += 1
        image = _to_image(pixels)
        wanted = (size.get("width", image.width), size.get("height", image.height))
        if image.size != wanted:
            raise InvalidOutputError(f"the editor returned {image.size} pixels, asked for were {wanted}")
        return image

    def _size(self, source: Image.Image) -> dict[str, int]:
        """Height and width of the edited image in pixels; nothing where the pipeline is to choose."""
        height, width = self._height, self._width
        if height is None and width is None:
            return {}
        width = width or self._rounded(height * source.width / source.height)  # type: ignore[operator]
        return {"height": height or self._rounded(width * source.height / source.width), "width": width}

    def _rounded(self, pixels: float) -> int:
        return max(1, round(pixels / self._multiple)) * self._multiple

    def _count_passes(self, cached: bool) -> Counter[str]:
        """Count the denoiser's passes, and those whose blocks a cache stood for: what edits cost in truth."""
        counted: Counter[str] = Counter()
        denoiser = find_denoiser(self._pipe)
        first_hook = cache_hooks(denoiser)[0] if cached else None

        def count(*_: Any) -> None:
            counted["denoiser_passes"] += 1
            if first_hook:
                counted["cached_passes"] += not first_hook.state_manager.get_state().should_compute

        if denoiser is not None:
            denoiser.register_forward_hook(count)
        return counted

    def describe(self) -> dict[str, Any]:
        """Class, the arguments of every call, what makes it faster, and what has been counted so far."""
        settings = self._acceleration.describe()
        edits = self._counted["edits"]
        means = {
            f"{name}_per_edit": round(n / edits, 2) for name, n in self._counted.items() if edits and name != "edits"
        }
        return {"class": type(self._pipe).__name__, "call": self._call, **settings, **means}

    @staticmethod
    def check_settings(kwargs: dict[str, Any]) -> None:
        """Check the arguments as far as that needs no package and no machine; they fit their annotations already.

        Raises:
            UserError: one of them is wrong.
        """
        names = {field.name for field in dataclasses.fields(Acceleration)}
        settings = {name: value for name, value in kwargs.items() if name in names}
        Acceleration(**settings).check()
        _check_guidance(kwargs)
        # what every latent pipeline needs at least; the loaded one is asked for its own multiple
        _check_size(kwargs, 16 if str(kwargs.get("pipeline")).startswith("QwenImage") else 8)

    def _check_call(self, given: dict[str, Any]) -> None:
        reserved = [key for key in given if key in ("image", "prompt", "generator", "output_type")]
        settings = [key for key in given if key in inspect.signature(type(self).__init__).parameters]
        if settings:
            raise UserError(f"editor.call.{settings[0]}: is a setting of its own; give editor.{settings[0]} instead")
        if reserved:
            raise UserError(f"editor.call.{reserved[0]}: is set for every sample; remove it")
        _check_guidance({"true_cfg_scale": getattr(self._accepted.get("true_cfg_scale"), "default", None)} | self._call)
        sized = ["height", "width"] if self._height or self._width else []
        unknown = [key for key in [*self._call, *sized] if key not in self._accepted]
        if unknown:
            raise UserError(
                f"editor: {type(self._pipe).__name__} takes no {unknown[0]!r}; remove it from editor or editor.call"
            )
        if self._call["num_inference_steps"] == 1 and self._pipe.scheduler.config.get("shift_terminal"):
            raise UserError("editor.num_inference_steps=1: this scheduler stretches its steps (shift_terminal), give 2")
        processor = getattr(self._pipe, "image_processor", None)
        self._multiple = processor.config.vae_scale_factor if processor is not None else 1
        _check_size({"height": self._height, "width": self._width}, self._multiple)


def _check_guidance(settings: dict[str, Any]) -> None:
    """Diffusers turns guidance off with only a warning when the negative prompt is missing."""
    scale = settings.get("true_cfg_scale")
    if isinstance(scale, int | float) and scale > 1 and settings.get("negative_prompt") is None:
        raise UserError(
            f"editor.true_cfg_scale={scale} has no effect without editor.negative_prompt; "
            'set it to " ", or the scale to 1'
        )


def _check_size(settings: dict[str, Any], multiple: int) -> None:
    for key in ("height", "width"):
        value = settings.get(key)
        if value is not None and (value <= 0 or value % multiple):
            raise UserError(
                f"editor.{key}={value}: must be a multiple of {multiple} for this pipeline, from {multiple}"
            )


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
