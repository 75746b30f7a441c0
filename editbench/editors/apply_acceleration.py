"""What makes a loaded pipeline of diffusers faster or smaller is done to it here."""

import inspect
from typing import Any

from editbench.editors.acceleration import Acceleration, Lora, Offload, reported
from editbench.errors import UserError


def apply(settings: Acceleration, pipe: Any, device: str) -> None:
    """Put a loaded pipeline on its device with these settings.

    Raises:
        UserError: the pipeline's class, or the machine, lacks what a setting needs.
    """
    if settings.quantization and not hasattr(_denoiser(pipe, "quantization"), "hf_quantizer"):
        raise UserError(f"editor.quantization: not for the denoiser of {type(pipe).__name__}; set it to null")
    if settings.scheduler:
        _change_scheduler(pipe, settings.scheduler)
    if settings.lora:
        _load_lora(pipe, settings.lora, settings.allow_pickle)
    if settings.cache:
        _enable_cache(pipe, settings)
    if settings.offload is None:
        pipe.to(device)
    else:
        _offload(pipe, settings.offload, device)
    if settings.attention_backend:
        _set_attention_backend(pipe, settings.attention_backend, device, settings.dtype)
    if settings.compile:
        with reported("compile", True):
            # Without `dynamic` the shapes a process has met decide what is compiled, and so its later pictures.
            _denoiser(pipe, "compile").compile_repeated_blocks(dynamic=True)


def _change_scheduler(pipe: Any, changes: dict[str, Any]) -> None:
    cls = type(pipe.scheduler)
    known = list(inspect.signature(cls.__init__).parameters)[1:]
    unknown = [key for key in changes if key not in known]
    if unknown:
        raise UserError(f"editor.scheduler: {cls.__name__} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    with reported("scheduler", changes):
        pipe.scheduler = cls.from_config(pipe.scheduler.config, **changes)


def _load_lora(pipe: Any, lora: Lora, allow_pickle: bool) -> None:
    denoiser = _denoiser(pipe, "lora")
    if not hasattr(pipe, "load_lora_weights"):
        raise UserError(f"editor.lora: {type(pipe).__name__} takes no LoRA; set it to null")
    with reported("lora.weight_name", lora["weight_name"]):
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
        if lora.get("fuse"):
            pipe.fuse_lora(["transformer" if denoiser is getattr(pipe, "transformer", None) else "unet"])
            pipe.unload_lora_weights()


def _offload(pipe: Any, how: Offload, device: str) -> None:
    with reported("offload", how):
        if how == "model":
            pipe.enable_model_cpu_offload(device=device)
        else:
            import torch

            options = {"offload_type": "leaf_level", "use_stream": True, "low_cpu_mem_usage": True}
            pipe.enable_group_offload(torch.device(device), **options)


def _enable_cache(pipe: Any, settings: Acceleration) -> None:
    import diffusers

    denoiser = _denoiser(pipe, "cache")
    # Where the pipeline gives no context, the two passes of guidance would share one cache and mix without a word.
    if not hasattr(denoiser, "enable_cache") or "cache_context(" not in inspect.getsource(type(pipe).__call__):
        raise UserError(f"editor.cache={settings.cache}: {type(pipe).__name__} supports no cache; set it to null")
    with reported("cache", settings.cache):
        try:
            denoiser.enable_cache(diffusers.FirstBlockCacheConfig(**(settings.cache_options or {})))
        except IndexError as error:
            raise ValueError("the denoiser has fewer than two blocks") from error
        if not cache_hooks(denoiser):
            raise ValueError(f"it applies to no part of {type(denoiser).__name__}")


def _set_attention_backend(pipe: Any, backend: str, device: str, dtype: str) -> None:
    import torch
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    denoiser = _denoiser(pipe, "attention_backend")
    processors = getattr(denoiser, "attn_processors", {}).values()
    if not any(hasattr(processor, "_attention_backend") for processor in processors):
        raise UserError(
            f"editor.attention_backend={backend}: {type(denoiser).__name__} has its own attention; set it to null"
        )
    with reported("attention_backend", backend):
        denoiser.set_attention_backend(backend)
        shape = (1, 16, 2, 64)  # batch, tokens, heads, channels
        tokens = torch.zeros(shape, device=device, dtype=getattr(torch, dtype))
        dispatch_attention_fn(tokens, tokens, tokens, backend=AttentionBackendName(backend))


def find_denoiser(pipe: Any) -> Any:
    """The model that is called in every step; None if the pipeline has none of the usual names."""
    return getattr(pipe, "transformer", None) or getattr(pipe, "unet", None)


def cache_hooks(denoiser: Any) -> list[Any]:
    """The hooks on a model and its parts that diffusers' caches are made of."""
    registries = [getattr(part, "_diffusers_hook", None) for part in denoiser.modules()]
    hooks = [hook for registry in registries if registry for hook in registry.hooks.values()]
    return [hook for hook in hooks if hasattr(hook, "state_manager")]


def _denoiser(pipe: Any, key: str) -> Any:
    denoiser = find_denoiser(pipe)
    if denoiser is None:
        raise UserError(f"editor.{key}: {type(pipe).__name__} has neither transformer nor unet; set it to null")
    return denoiser
