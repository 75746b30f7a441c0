"""What makes a diffusers pipeline faster or smaller: the settings, checked before anything is loaded.

All of it changes the picture, if only in its last bits, so each setting counts in a run's identity; all are off by
default. Nothing here falls back: what the pipeline, a package or the machine lacks is an error at the start.
"""

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_type_hints

from editbench.config.annotations import check_keys
from editbench.errors import UserError

Cache = Literal["first_block"]
Dtype = Literal["bfloat16", "float16", "float32"]
Offload = Literal["model", "group"]
Quantization = Literal["torchao_float8_dynamic", "torchao_int8_weight_only"]

_FLOAT8_CAPABILITY = (8, 9)
"""Least compute capability of a GPU that multiplies in float8."""

_REPORTED = ("compile", "cache", "cache_options", "attention_backend", "scheduler", "offload", "quantization")


class Lora(TypedDict, total=False):
    """A LoRA's weights, in a folder or on the hub."""

    path: str
    weight_name: str
    revision: str | None
    scale: float
    fuse: bool


@dataclass(frozen=True)
class Acceleration:
    """The settings, as `DiffusersEditor` takes them.

    Attributes:
        compile: Compile the denoiser's repeated blocks. The first edit of every process takes minutes longer.
        cache: `first_block`: where the output of the denoiser's first block has hardly changed from step to step, all
            others are left out.
        cache_options: Arguments of diffusers' configuration of the cache: `threshold`.
        attention_backend: Name in diffusers, e.g. `flash` or `_native_cudnn`.
        lora: `path` (a folder, when the editor is constructed), `weight_name` (the file in it) and `scale` (1.0 by
            default); with `fuse` it is added to the weights once, and not computed beside them in every pass.
        scheduler: Settings of the scheduler to be changed.
        offload: Keep the weights in host memory, and on the GPU only the `model` or the layers (`group`, with transfers
            beside the computation) at work.
        quantization: How the denoiser's weights are stored, which saves memory and no time; with
            `torchao_float8_dynamic` they are also multiplied in float8, with activations scaled as they come.
        dtype, allow_pickle: The editor's settings of these names.
    """

    compile: bool = False
    cache: Cache | None = None
    cache_options: dict[str, Any] | None = None
    attention_backend: str | None = None
    lora: Lora | None = None
    scheduler: dict[str, Any] | None = None
    offload: Offload | None = None
    quantization: Quantization | None = None
    dtype: Dtype = "bfloat16"
    allow_pickle: bool = False

    def check(self) -> None:
        """Check what needs neither a package nor the machine.

        Raises:
            UserError: an unknown or missing key, or a value that does not fit.
        """
        if self.cache_options and not self.cache:
            raise UserError(f"editor.cache_options={self.cache_options}: there is no cache; set editor.cache too")
        if self.cache:
            check_keys("editor.cache_options", self.cache_options or {}, {"threshold": float})
        if self.attention_backend and self.attention_backend.endswith("_hub"):
            raise UserError(
                f"editor.attention_backend={self.attention_backend}: would run code from the hub that nothing pins; "
                "install the backend's package and use its name without _hub"
            )
        if self.lora is not None:
            check_keys("editor.lora", self.lora, get_type_hints(Lora))
            for key in ("path", "weight_name"):
                if not self.lora.get(key):
                    raise UserError(f"editor.lora.{key} is missing; a LoRA needs path and weight_name")
            if not self.lora["weight_name"].endswith(".safetensors") and not self.allow_pickle:
                raise UserError(
                    f"editor.lora.weight_name={self.lora['weight_name']!r}: must end with .safetensors; convert it, or "
                    "set editor.allow_pickle=true if you trust its makers: pickled weights run code when they are "
                    "loaded"
                )
            if self.lora.get("fuse") and self.quantization:
                raise UserError(
                    f"editor.lora.fuse=true: cannot be added to weights of editor.quantization={self.quantization}; "
                    "leave one out"
                )
        if self.quantization == "torchao_float8_dynamic" and self.dtype != "bfloat16":
            raise UserError(f"editor.quantization={self.quantization}: needs editor.dtype=bfloat16, not {self.dtype}")

    def check_machine(self, device: str) -> None:
        """Check packages and GPU before weights are loaded.

        Raises:
            UserError: one is missing.
        """
        import torch

        on_gpu = device.startswith("cuda")
        if self.offload and not on_gpu:
            raise UserError(
                f"editor.offload={self.offload}: keeps weights off a GPU, and this process works on {device}; set it "
                "to null"
            )
        if self.quantization:
            if importlib.util.find_spec("torchao") is None:
                raise UserError(
                    f"editor.quantization={self.quantization}: needs the package torchao, which is not here; pip "
                    "install torchao"
                )
            capable = on_gpu and torch.cuda.get_device_capability(device) >= _FLOAT8_CAPABILITY
            if self.quantization == "torchao_float8_dynamic" and not capable:
                raise UserError(
                    f"editor.quantization={self.quantization}: needs a GPU of compute capability 8.9 or higher, and "
                    f"{device} is none; use torchao_int8_weight_only, or null"
                )

    def loading_arguments(self, device: str) -> dict[str, Any]:
        """Return what `from_pretrained` of a pipeline is to be told.

        Weights go straight to the device where diffusers can put them there: it knows `cuda`, the current device, but
        no numbers.
        """
        import torch

        dtype = getattr(torch, self.dtype)
        arguments: dict[str, Any] = {"dtype": dtype, "use_safetensors": None if self.allow_pickle else True}
        mapped = device.startswith("cuda") and not self.offload
        if mapped and torch.device(device).index in (None, torch.cuda.current_device()):
            arguments["device_map"] = "cuda"
        if self.quantization:
            from diffusers import PipelineQuantizationConfig

            with reported("quantization", self.quantization):
                mapping = dict.fromkeys(("transformer", "unet"), _quantization(self.quantization))
                arguments["quantization_config"] = PipelineQuantizationConfig(quant_mapping=mapping)
        return arguments

    def describe(self) -> dict[str, Any]:
        """Return the settings that are on, but the LoRA: its file is known where it is found."""
        return {name: getattr(self, name) for name in _REPORTED if getattr(self, name)}


def _quantization(kind: Quantization) -> Any:
    from diffusers import TorchAoConfig
    from torchao import quantization as torchao

    if kind == "torchao_float8_dynamic":  # a scale for each token and each row of weights, nearer to bfloat16 than one
        return TorchAoConfig(torchao.Float8DynamicActivationFloat8WeightConfig(granularity=torchao.PerRow()))
    return TorchAoConfig(torchao.Int8WeightOnlyConfig())


@contextlib.contextmanager
def reported(key: str, value: Any) -> Iterator[None]:
    """Put what diffusers or another library raises about a setting into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise UserError(f"editor.{key}={value!r} cannot be used: {reason}; change it, or leave it out") from error
