"""Any editing pipeline of diffusers that takes an image and a prompt; made for Qwen-Image-Edit."""

import contextlib
import dataclasses
import difflib
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from editbench.config.annotations import Count
from editbench.editors.acceleration import Acceleration, Cache, Dtype, Lora, Offload, Quantization
from editbench.editors.apply_acceleration import apply, cache_hooks, find_denoiser
from editbench.editors.pipeline_call import (
    PLACE,
    ImageArgument,
    Images,
    Output,
    PipelineCall,
    check_call,
    most_source_images,
)
from editbench.editors.size import OutputSize, SizePolicy, check_size, keep_shape
from editbench.errors import InvalidOutputError, UserError

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
        image_argument, images, prompt_template, image_template, output, resize_source: How the pipeline is called; see
            `PipelineCall`.
        height, width: Size of the edited image in pixels. Of one alone the other follows from the source's shape.
        size, area: What holds without either: `native`, the pipeline chooses, or `keep`, the source's shape at this
            area in pixels. Of several sources the first one's shape counts.
        multiple: Height and width are multiples of it, in pixels; None: as the pipeline's image processor says.
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
        image_argument: ImageArgument = "image",
        images: Images = "one",
        prompt_template: str = PLACE,
        image_template: str = "",
        output: Output = "images",
        height: int | None = None,
        width: int | None = None,
        size: SizePolicy = "native",
        area: Count = 1024 * 1024,
        multiple: Count | None = None,
        resize_source: bool = False,
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
        multiple = multiple or self._own_multiple()
        check_size({"height": height, "width": width, "size": size}, multiple)
        self._size = OutputSize(height, width, size, area, multiple)
        optional = {"negative_prompt": negative_prompt, "true_cfg_scale": true_cfg_scale}
        fixed: dict[str, Any] = {key: value for key, value in optional.items() if value is not None}
        fixed |= {"num_inference_steps": num_inference_steps, **(call or {})}
        check_call({"call": call, "prompt_template": prompt_template}, set(inspect.signature(type(self)).parameters))
        self._call = PipelineCall(image_argument, images, prompt_template, output, resize_source, fixed, image_template)
        self._call.check(self._pipe, self._size)
        if type(getattr(self._pipe, "text_encoder", None)).__name__.startswith("Qwen2_5_VL"):
            pass_mm_token_type_ids(self._pipe.text_encoder)
        if type(self._pipe).__name__ == "GlmImagePipeline":
            take_joined_features(self._pipe.vision_language_encoder)
        if device.startswith("cpu") and getattr(self._pipe, "vae", None) is not None:
            from editbench.editors import single_frame

            single_frame.use_conv2d_for_single_frames(self._pipe.vae)
            single_frame.use_sums_for_channel_norms(self._pipe.vae)

    def _load(self, pipeline: str, checkpoint: str, **arguments: Any) -> Any:
        """Load the pipeline with arguments of `from_pretrained`; overridden where a pipeline is there already."""
        return _pipeline_class(pipeline).from_pretrained(checkpoint, **arguments)

    def edit(
        self, source: Image.Image, instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Run the pipeline once; see `Editor.edit`."""
        return self.edit_several([source], instruction, seed, on_step)

    @staticmethod
    def most_source_images(kwargs: dict[str, Any]) -> int | None:
        """One, unless the pipeline takes a list of them as one sample's, or they are put side by side."""
        return most_source_images(kwargs)

    def edit_several(
        self, sources: Sequence[Image.Image], instruction: str, seed: int, on_step: Callable[[int, int], None]
    ) -> Image.Image:
        """Run the pipeline once on one or several sources; the noise is drawn on the CPU: the same on every device."""
        import torch

        def after_step(_pipe: Any, step: int, _timestep: Any, _tensors: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1, self._call.fixed["num_inference_steps"])
            return {}

        size = self._size_for(sources)
        arguments = self._call.arguments(self._pipe, sources, instruction, size)
        if "callback_on_step_end" in inspect.signature(self._pipe.__call__).parameters:
            arguments["callback_on_step_end"] = after_step
        counted = Counter(self._counted)
        torch.manual_seed(
            seed
        )  # some pipelines (OmniGen, JoyImageEdit) draw the source's latents without the generator
        try:
            with torch.inference_mode():
                result = self._pipe(generator=torch.Generator("cpu").manual_seed(seed), output_type="pt", **arguments)
        except BaseException:  # an edit that fails is not counted, and leaves nothing behind in the caches
            self._counted.clear()
            self._counted.update(counted)
            with contextlib.suppress(Exception):  # the edit's own error is the one to be told
                self._pipe.maybe_free_model_hooks()  # the pipeline does it itself when it comes to its end
            raise
        self._counted["edits"] += 1
        image = self._call.picture(result)
        wanted = (size.get("width", image.width), size.get("height", image.height))
        if image.size != wanted:
            raise InvalidOutputError(f"the editor returned {image.size} pixels, asked for were {wanted}")
        return image

    def _size_for(self, sources: Sequence[Image.Image]) -> dict[str, int]:
        """Height and width to ask for: of several sources the first one's shape, even where the pipeline would choose.

        Left to itself the Plus pipeline of Qwen goes by the last image, and others by the row that `stitch` makes.
        """
        size = self._size.of(sources[0])
        if size or len(sources) == 1 or not self._call.takes_size(self._pipe):
            return size
        height, width = keep_shape(sources[0], self._size.area, self._size.multiple)
        return {"height": height, "width": width}

    def _own_multiple(self) -> int:
        """What the pipeline's image processor rounds sizes to, in pixels."""
        processor = getattr(self._pipe, "image_processor", None)
        return int(processor.config.vae_scale_factor) if processor is not None else 1

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
        return {
            "class": type(self._pipe).__name__,
            "call": self._size.describe() | self._call.fixed,
            **settings,
            **means,
        }

    @staticmethod
    def check_settings(kwargs: dict[str, Any]) -> None:
        """Check the arguments as far as that needs no package and no machine; they fit their annotations already.

        Raises:
            UserError: one of them is wrong.
        """
        names = {field.name for field in dataclasses.fields(Acceleration)}
        settings = {name: value for name, value in kwargs.items() if name in names}
        Acceleration(**settings).check()
        check_call(kwargs, set(inspect.signature(DiffusersEditor).parameters))
        # what every latent pipeline needs at least; the loaded one is asked for its own multiple
        least = 16 if str(kwargs.get("pipeline")).startswith("QwenImage") else 8
        check_size(kwargs, kwargs.get("multiple") or least)


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


def take_joined_features(encoder: Any) -> None:
    """Have GLM-Image's encoder take an image's features as its pipeline gives them.

    The pipeline of diffusers 0.42 joins the features of all images to one tensor; the encoder of transformers 5.23 goes
    through images one by one, takes the tensor's channels for them, and fails. Of one image the tensor is all there is.
    """
    import torch

    get_image_tokens = encoder.get_image_tokens

    def of_one_image(hidden_states: Any, image_grid_thw: Any = None) -> Any:
        one = isinstance(hidden_states, torch.Tensor) and hidden_states.ndim == 3  # (C, H, W)
        return get_image_tokens([hidden_states] if one else hidden_states, image_grid_thw)

    encoder.get_image_tokens = of_one_image


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
