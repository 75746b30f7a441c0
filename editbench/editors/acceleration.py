"""What makes a diffusers pipeline faster or smaller: the settings, checked before anything is loaded, and their use.

All of it changes the picture, if only in its last bits, so each setting counts in a run's identity; all are off by
default. Nothing here falls back: what the pipeline, a package or the machine lacks is an error at the start.
"""

import contextlib
import importlib.util
import inspect
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_type_hints

from editbench.config.annotations import fits, in_words
from editbench.editors.denoiser_passes import cache_hooks, find_denoiser
from editbench.errors import UserError

if TYPE_CHECKING:
    import torch

Cache = Literal["first_block", "mag", "taylorseer"]
Offload = Literal["model", "sequential", "group"]
Quantization = Literal["torchao_int8", "torchao_float8", "bitsandbytes_8bit", "bitsandbytes_4bit"]

_CACHE_OPTIONS: dict[str, dict[str, type]] = {
    "first_block": {"threshold": float},
    "mag": {"mag_ratios": list, "threshold": float, "max_skip_steps": int, "retention_ratio": float},
    "taylorseer": {
        "cache_interval": int,
        "disable_cache_before_step": int,
        "disable_cache_after_step": int,
        "max_order": int,
        "use_lite_mode": bool,
    },
}
"""What each cache can be told, by the names of diffusers' own configuration of it."""


class Lora(TypedDict, total=False):
    """A LoRA's weights, in a folder or on the hub."""

    path: str
    weight_name: str
    revision: str | None
    scale: float


@dataclass(frozen=True)
class Acceleration:
    """The settings, as `DiffusersEditor` takes them.

    Attributes:
        compile: Compile the denoiser's repeated blocks. The first edit of every process takes minutes longer.
        cache: Leave out parts of the denoiser's work that hardly change from step to step. `first_block`: where the
            first block's output has changed little, all others are left out; `mag`: the same, decided by ratios that
            were measured for the model; `taylorseer`: attention is extrapolated.
        cache_options: Arguments of diffusers' configuration of the cache, e.g. `threshold`.
        attention_backend: Name in diffusers, e.g. `flash` or `_native_cudnn`.
        lora: `path` (a folder, when the editor is constructed), `weight_name` (the file in it) and `scale` (1.0 by
            default).
        scheduler: Settings of the scheduler to be changed.
        offload: Keep the weights in host memory, and on the GPU only the `model` or layers (`sequential`, `group`: the
            same with transfers beside the computation) at work.
        quantization: How the denoiser's weights are stored.
    """

    compile: bool = False
    cache: Cache | None = None
    cache_options: dict[str, Any] | None = None
    attention_backend: str | None = None
    lora: Lora | None = None
    scheduler: dict[str, Any] | None = None
    offload: Offload | None = None
    quantization: Quantization | None = None

    def check(self, allow_pickle: bool) -> None:
        """Check what needs neither a package nor the machine.

        Raises:
            UserError: an unknown or missing key, or a value that does not fit.
        """
        if self.cache_options and not self.cache:
            raise UserError(f"editor.cache_options={self.cache_options}: there is no cache; set editor.cache too")
        if self.cache:
            _check_keys("editor.cache_options", self.cache_options or {}, _CACHE_OPTIONS[self.cache])
        if self.cache == "mag" and not (self.cache_options or {}).get("mag_ratios"):
            raise UserError(
                "editor.cache=mag needs editor.cache_options.mag_ratios, the ratios measured for this model; give "
                "them, or use first_block"
            )
        if self.compile and self.cache in ("mag", "taylorseer"):
            raise UserError(
                f"editor.compile=true and editor.cache={self.cache}: do not go together; leave one out, or use "
                "first_block"
            )
        if self.attention_backend and self.attention_backend.endswith("_hub"):
            raise UserError(
                f"editor.attention_backend={self.attention_backend}: would run code from the hub that nothing pins; "
                "install the backend's package and use its name without _hub"
            )
        if self.lora is not None:
            _check_keys("editor.lora", self.lora, get_type_hints(Lora))
            for key in ("path", "weight_name"):
                if not self.lora.get(key):
                    raise UserError(f"editor.lora.{key} is missing; a LoRA needs path and weight_name")
            if not self.lora["weight_name"].endswith(".safetensors") and not allow_pickle:
                raise UserError(
                    f"editor.lora.weight_name={self.lora['weight_name']!r}: must end with .safetensors; convert it, or "
                    "set editor.allow_pickle=true if you trust its makers: pickled weights run code when they are "
                    "loaded"
                )

    def check_machine(self, device: str) -> None:
        """Check packages and GPU before weights are loaded.

        Raises:
            UserError: one is missing.
        """
        on_gpu = device.startswith("cuda")
        if self.offload and not on_gpu:
            raise UserError(
                f"editor.offload={self.offload}: keeps weights off a GPU, and this process works on {device}; set it "
                "to null"
            )
        if self.quantization:
            package = self.quantization.split("_")[0]
            _need_package("editor.quantization", self.quantization, package)
            if package == "bitsandbytes" and not on_gpu:
                raise UserError(
                    f"editor.quantization={self.quantization}: needs a GPU, and this process works on {device}; use "
                    "torchao_int8, or null"
                )
        if self.lora:
            _need_package("editor.lora", self.lora["weight_name"], "peft")
        if self.compile and not on_gpu and not any(map(shutil.which, ("g++", "clang++", "c++"))):
            raise UserError("editor.compile=true: needs a C++ compiler on a CPU, and there is no g++; install one")

    def loading_arguments(self, dtype: "torch.dtype") -> dict[str, Any]:
        """Return what `from_pretrained` of a pipeline is to be told."""
        if self.quantization is None:
            return {}
        from diffusers import BitsAndBytesConfig, PipelineQuantizationConfig, TorchAoConfig

        with _reported("quantization", self.quantization):
            if self.quantization.startswith("torchao"):
                from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

                kinds = {"torchao_int8": Int8WeightOnlyConfig, "torchao_float8": Float8WeightOnlyConfig}
                quantized: Any = TorchAoConfig(kinds[self.quantization]())
            elif self.quantization == "bitsandbytes_8bit":
                quantized = BitsAndBytesConfig(load_in_8bit=True)
            else:
                quantized = BitsAndBytesConfig(
                    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
                )
            mapping = dict.fromkeys(("transformer", "unet"), quantized)
            return {"quantization_config": PipelineQuantizationConfig(quant_mapping=mapping)}

    def apply(self, pipe: Any, device: str, dtype: "torch.dtype", num_inference_steps: int, allow_pickle: bool) -> None:
        """Put a loaded pipeline on its device with these settings.

        Raises:
            UserError: the pipeline's class, or the machine, lacks what a setting needs.
        """
        if self.quantization and not hasattr(_denoiser(pipe, "quantization"), "hf_quantizer"):
            raise UserError(f"editor.quantization: not for the denoiser of {type(pipe).__name__}; set it to null")
        if self.scheduler:
            _change_scheduler(pipe, self.scheduler)
        if self.lora:
            _load_lora(pipe, self.lora, allow_pickle)
        if self.cache:
            _enable_cache(pipe, self.cache, self.cache_options or {}, dtype, num_inference_steps)
        if self.offload is None:
            pipe.to(device)
        else:
            _offload(pipe, self.offload, device)
        if self.attention_backend:
            _set_attention_backend(pipe, self.attention_backend, device, dtype)
        if self.compile:
            with _reported("compile", True):
                # Without `dynamic` the shapes a process has met decide what is compiled, and so its later pictures.
                _denoiser(pipe, "compile").compile_repeated_blocks(dynamic=True)

    def describe(self) -> dict[str, Any]:
        """Return the settings that are on, but the LoRA: its file is known where it is found."""
        return {name: value for name, value in asdict(self).items() if value and name != "lora"}


def _change_scheduler(pipe: Any, changes: dict[str, Any]) -> None:
    cls = type(pipe.scheduler)
    known = list(inspect.signature(cls.__init__).parameters)[1:]
    unknown = [key for key in changes if key not in known]
    if unknown:
        raise UserError(f"editor.scheduler: {cls.__name__} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    with _reported("scheduler", changes):
        pipe.scheduler = cls.from_config(pipe.scheduler.config, **changes)


def _load_lora(pipe: Any, lora: Lora, allow_pickle: bool) -> None:
    denoiser = _denoiser(pipe, "lora")
    if not hasattr(pipe, "load_lora_weights"):
        raise UserError(f"editor.lora: {type(pipe).__name__} takes no LoRA; set it to null")
    with _reported("lora.weight_name", lora["weight_name"]):
        pipe.load_lora_weights(
            lora["path"],
            weight_name=lora["weight_name"],
            adapter_name="lora",
            local_files_only=True,
            use_safetensors=None if allow_pickle else True,
        )
        adapter = getattr(denoiser, "peft_config", {}).get("lora")
        names = [name for name, _ in denoiser.named_modules()]
        targets = sorted(adapter.target_modules) if adapter else []
        strange = [t for t in targets if not any(name == t or name.endswith(f".{t}") for name in names)]
        if not targets or strange:  # diffusers only warns, and leaves out what it cannot place
            missing = f", which has no {strange[0]}" if strange else ""
            raise ValueError(f"it is made for another model than {type(denoiser).__name__}{missing}")
        pipe.set_adapters("lora", lora.get("scale", 1.0))


def _enable_cache(
    pipe: Any, cache: Cache, options: dict[str, Any], dtype: "torch.dtype", num_inference_steps: int
) -> None:
    import diffusers

    denoiser = _denoiser(pipe, "cache")
    # Where the pipeline gives no context, the two passes of guidance would share one cache and mix without a word.
    if not hasattr(denoiser, "enable_cache") or "cache_context(" not in inspect.getsource(type(pipe).__call__):
        raise UserError(f"editor.cache={cache}: {type(pipe).__name__} supports no cache; set it to null")
    with _reported("cache", cache):
        if cache == "first_block":
            config: Any = diffusers.FirstBlockCacheConfig(**options)
        elif cache == "mag":
            config = diffusers.MagCacheConfig(num_inference_steps=num_inference_steps, **options)
        else:
            config = diffusers.TaylorSeerCacheConfig(taylor_factors_dtype=dtype, **options)
        try:
            denoiser.enable_cache(config)
        except IndexError as error:
            raise ValueError("the denoiser has fewer than two blocks") from error
        if not cache_hooks(denoiser):
            raise ValueError(f"it applies to no part of {type(denoiser).__name__}")


def _offload(pipe: Any, how: Offload, device: str) -> None:
    with _reported("offload", how):
        if how == "model":
            pipe.enable_model_cpu_offload(device=device)
        elif how == "sequential":
            pipe.enable_sequential_cpu_offload(device=device)
        else:
            import torch

            options = {"offload_type": "leaf_level", "use_stream": True, "low_cpu_mem_usage": True}
            pipe.enable_group_offload(torch.device(device), **options)


def _set_attention_backend(pipe: Any, backend: str, device: str, dtype: "torch.dtype") -> None:
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    denoiser = _denoiser(pipe, "attention_backend")
    processors = getattr(denoiser, "attn_processors", {}).values()
    if not any(hasattr(processor, "_attention_backend") for processor in processors):
        raise UserError(
            f"editor.attention_backend={backend}: {type(denoiser).__name__} has its own attention; set it to null"
        )
    with _reported("attention_backend", backend):
        denoiser.set_attention_backend(backend)
        tokens = torch.zeros(1, 16, 2, 64, device=device, dtype=dtype)  # (batch, tokens, heads, channels)
        dispatch_attention_fn(tokens, tokens, tokens, backend=AttentionBackendName(backend))


def _denoiser(pipe: Any, key: str) -> Any:
    denoiser = find_denoiser(pipe)
    if denoiser is None:
        raise UserError(f"editor.{key}: {type(pipe).__name__} has neither transformer nor unet; set it to null")
    return denoiser


def _check_keys(key: str, given: Any, known: dict[str, Any]) -> None:
    for name, value in given.items():
        if name not in known:
            raise UserError(f"{key}.{name}: there is no such key; there are {', '.join(known)}")
        if not fits(value, known[name]):
            raise UserError(f"{key}.{name}={value!r}: must be {in_words(known[name])}")


def _need_package(key: str, value: str, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{key}={value}: needs the package {package}, which is not here; pip install {package}")


@contextlib.contextmanager
def _reported(key: str, value: Any) -> Iterator[None]:
    """Put what diffusers or another library raises about a setting into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise UserError(f"editor.{key}={value!r} cannot be used: {reason}; change it, or leave it out") from error
