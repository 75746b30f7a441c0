"""Stands in for vLLM's engine: takes what its documentation says it takes, and computes with transformers.

Signatures as documented for vLLM 0.11 and later: `vllm.LLM`, its `EngineArgs`, `LLM.generate`, `vllm.SamplingParams`,
`vllm.lora.request.LoRARequest`, and the outputs.
"""

import os
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

ENGINE_ARGS = {"max_model_len", "limit_mm_per_prompt", "max_logprobs", "logprobs_mode", "enable_lora", "max_lora_rank"}
ENGINE_ARGS |= {"load_format", "enable_prefix_caching", "mm_processor_cache_gb", "max_num_seqs", "generation_config"}


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    skip_special_tokens: bool = True
    allowed_token_ids: list[int] | None = None


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None


@dataclass
class RequestOutput:
    prompt: str
    outputs: list[CompletionOutput] = field(default_factory=list)


class EngineDeadError(Exception):
    """As `vllm.v1.engine.exceptions` has it."""


class LLM:
    started: ClassVar[list["LLM"]] = []
    """All that were constructed."""

    def __init__(
        self,
        model: str,
        *,
        runner: str = "auto",
        tokenizer: str | None = None,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        quantization: str | None = None,
        revision: str | None = None,
        seed: int = 0,
        gpu_memory_utilization: float = 0.9,
        enforce_eager: bool = False,
        mm_processor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = set(kwargs) - ENGINE_ARGS
        if unknown:
            raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument {min(unknown)!r}")
        self.arguments = {"dtype": dtype, "seed": seed, "tensor_parallel_size": tensor_parallel_size, **kwargs}
        self.environment = dict(os.environ)
        self.calls: list[tuple[list[SamplingParams], LoRARequest | None]] = []
        self.dead = False
        self._processor = AutoProcessor.from_pretrained(model)
        if mm_processor_kwargs:
            low, high = mm_processor_kwargs["min_pixels"], mm_processor_kwargs["max_pixels"]
            self._processor.image_processor.size = {"shortest_edge": low, "longest_edge": high}
        self._model = AutoModelForImageTextToText.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        LLM.started.append(self)

    def generate(
        self,
        prompts: Sequence[dict[str, Any]],
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
        lora_request: list[LoRARequest] | LoRARequest | None = None,
        priority: list[int] | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
    ) -> list[RequestOutput]:
        if self.dead:
            raise EngineDeadError("EngineCore encountered an issue")
        assert isinstance(sampling_params, list) and len(sampling_params) == len(prompts)
        assert not isinstance(lora_request, list)
        self.calls.append((sampling_params, lora_request))
        if lora_request and not self.arguments.get("enable_lora"):
            raise ValueError("Got lora_request but LoRA is not enabled!")
        if lora_request and not hasattr(self._model, "peft_config"):
            self._model.load_adapter(lora_request.lora_path)
        pairs = zip(prompts, sampling_params, strict=True)
        return [self._one(prompt, how) for prompt, how in pairs]

    def _one(self, prompt: dict[str, Any], how: SamplingParams) -> RequestOutput:
        assert set(prompt) == {"prompt", "multi_modal_data"}
        images = prompt["multi_modal_data"]["image"]
        assert all(isinstance(image, Image.Image) for image in images)
        assert prompt["prompt"].count("<|image_pad|>") == len(images) <= self.arguments["limit_mm_per_prompt"]["image"]
        if (how.logprobs or 0) > self.arguments["max_logprobs"]:
            raise ValueError(f"Requested sample logprobs of {how.logprobs}, which is greater than max allowed")
        inputs = self._processor(text=[prompt["prompt"]], images=[images], return_tensors="pt")
        drawn = how.temperature > 0
        torch.manual_seed(how.seed or 0)
        with torch.inference_mode():
            made = self._model.generate(
                **inputs,
                max_new_tokens=how.max_tokens,
                do_sample=drawn,
                return_dict_in_generate=True,
                output_logits=True,
                **({"temperature": how.temperature, "top_k": 0, "top_p": 1.0} if drawn else {}),
            )
        tokens = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        ends = self._model.generation_config.eos_token_id
        finished = tokens[-1] in (ends if isinstance(ends, list) else [ends])
        text = self._processor.tokenizer.decode(tokens, skip_special_tokens=how.skip_special_tokens)
        logprobs = how.logprobs and [_likeliest(logits[0], how.logprobs) for logits in made.logits]
        reason = "stop" if finished else "length"
        return RequestOutput(prompt["prompt"], [CompletionOutput(0, text, tokens, logprobs or None, reason)])


def _likeliest(logits: torch.Tensor, count: int) -> dict[int, Logprob]:
    found = torch.log_softmax(logits.double(), dim=-1).topk(count)
    pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return {token: Logprob(value, rank) for rank, (token, value) in enumerate(pairs, 1)}


def modules() -> dict[str, types.ModuleType]:
    """What is to stand in `sys.modules`, by name."""
    LLM.started.clear()
    vllm, lora, request = (types.ModuleType(name) for name in ("vllm", "vllm.lora", "vllm.lora.request"))
    vllm.LLM, vllm.SamplingParams, vllm.__version__ = LLM, SamplingParams, "0.0.stand.in"
    request.LoRARequest = LoRARequest
    vllm.lora, lora.request = lora, request
    return {module.__name__: module for module in (vllm, lora, request)}
