"""A judge on vLLM's engine, started by the rank itself on its own GPUs; written after vLLM's documentation.

The engine computes in processes of its own, which know nothing of this job (`vllm_environment.py`). Prompts are laid
out here, by the checkpoint's chat template, as for the judge of transformers.
"""

import copy
import json
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from editbench.components.checkpoint import ADAPTER
from editbench.config.annotations import Count, Rule
from editbench.errors import UserError
from editbench.judges.base import CUT_OFF, ImagesStand, Request
from editbench.judges.chat_template import ChatTemplate
from editbench.judges.label_tokens import find_label_tokens
from editbench.judges.lora import Lora, check_lora
from editbench.judges.qwen3_vl import NUMBER_TOKENS, Dtype, Temperature
from editbench.judges.vllm_environment import own_environment, visible

Share = Annotated[float, Rule(lambda share: 0 < share <= 1, "a share above 0, at most 1")]
TopLogprobs = Annotated[int, Rule(lambda number: 1 <= number <= 1000, "a whole number from 1 to 1000")]

OURS = frozenset(
    {
        "model",
        "load_format",
        "trust_remote_code",
        "tensor_parallel_size",
        "dtype",
        "seed",
        "max_model_len",
        "gpu_memory_utilization",
    }
    | {"limit_mm_per_prompt", "mm_processor_kwargs", "max_logprobs", "logprobs_mode", "enable_lora", "max_lora_rank"}
)
"""Arguments of the engine that follow from settings of their own."""

LORA_RANKS = (8, 16, 32, 64, 128, 256, 512)
"""What the engine takes as the highest rank of an adapter."""


@dataclass(frozen=True)
class Asked:
    """A batch as the engine takes it.

    Attributes:
        prompts: Each a text with a place for every image, and the images.
        wanted: As in the requests.
    """

    prompts: list[dict[str, Any]]
    wanted: str


class VLLMJudge:
    """Answers by vLLM's engine, which forms batches of its own from what it is given.

    Args:
        devices: GPUs of this replica; the engine spreads each layer over them if there are several.
        checkpoint: Folder with the model's safetensors and processor.
        revision: Not used here; the checkpoint is a folder already.
        trust_remote_code: Whether code in the checkpoint may run.
        dtype, max_new_tokens, temperature, thinking, images: As in `Qwen3VLJudge`.
        max_image_pixels: Larger images are scaled down to this area in pixels; None: as the processor has it.
        max_images: Most images of one request.
        max_model_len: Longest request with its reply, in tokens.
        gpu_memory_utilization: Share of each GPU's memory that the engine takes.
        top_logprobs: So many of the likeliest tokens are asked for in mode `expected`; a label that is not among them
            counts as 0.
        lora: A PEFT adapter on top of the checkpoint; its scale is 1 and it is not fused.
        engine: More arguments of `vllm.LLM`.

    Raises:
        UserError: vllm is not installed, there is no GPU, or the engine does not start with these settings.
    """

    def __init__(
        self,
        devices: list[str],
        checkpoint: str,
        revision: str | None = None,
        trust_remote_code: bool = False,
        dtype: Dtype = "bfloat16",
        max_new_tokens: Count = 128,
        temperature: Temperature = 0.0,
        thinking: bool | None = None,
        images: ImagesStand = "first",
        max_image_pixels: Count | None = None,
        max_images: Count = 8,
        max_model_len: Count = 32768,
        gpu_memory_utilization: Share = 0.9,
        top_logprobs: TopLogprobs = 20,
        lora: Lora | None = None,
        engine: dict[str, Any] | None = None,
    ) -> None:
        try:
            import vllm
        except ImportError as error:
            raise UserError(
                'judge=vllm needs the package vllm, which is not here; pip install "editbench[vllm]", or serve the '
                "model from an environment of its own and use judge=openai"
            ) from error
        from transformers import AutoProcessor

        self._processor = AutoProcessor.from_pretrained(checkpoint, trust_remote_code=trust_remote_code)
        self._template = ChatTemplate(self._processor, thinking, images)
        self._of_thread = threading.local()
        self._vllm, self._max_new_tokens, self._temperature = vllm, max_new_tokens, temperature
        self._top_logprobs, self._max_images = top_logprobs, max_images
        self._label_tokens: dict[str, int] = {}
        self._usage: Counter[str] = Counter()
        arguments: dict[str, Any] = {
            "model": checkpoint,
            "load_format": "safetensors",
            "trust_remote_code": trust_remote_code,
            "tensor_parallel_size": len(devices),
            "dtype": dtype,
            "seed": 0,
            "max_model_len": max_model_len,
            "gpu_memory_utilization": gpu_memory_utilization,
            "limit_mm_per_prompt": {"image": max_images, "video": 0},
            "max_logprobs": top_logprobs,
            "logprobs_mode": "raw_logprobs",
        }
        if max_image_pixels is not None:
            shortest = min(self._processor.image_processor.size["shortest_edge"], max_image_pixels)
            arguments["mm_processor_kwargs"] = {"min_pixels": shortest, "max_pixels": max_image_pixels}
        self._lora = None
        if lora is not None:
            arguments |= {"enable_lora": True, "max_lora_rank": _room_for(Path(lora["path"]))}
            self._lora = _lora_request(lora["path"])
        with own_environment(visible(devices)):
            try:
                self._llm = vllm.LLM(**arguments, **(engine or {}))
            except Exception as error:
                raise UserError(
                    f"judge=vllm: the engine does not start: {_short(error)}; what it printed above says more, and "
                    "judge.engine, judge.max_model_len and judge.gpu_memory_utilization are what can be changed"
                ) from error

    @staticmethod
    def check_settings(kwargs: dict[str, Any]) -> None:
        """Check what no annotation tells.

        Raises:
            UserError: an argument of the engine that has a setting of its own, or a LoRA that it cannot take so.
        """
        if own := sorted(OURS & set(kwargs.get("engine") or {})):
            raise UserError(f"judge.engine.{own[0]}: is set by settings of its own; remove it")
        lora = kwargs.get("lora")
        check_lora(lora)
        if lora is not None and (lora.get("fuse") or lora.get("scale", 1.0) != 1.0):
            raise UserError(
                "judge.lora: vLLM takes an adapter as it is; leave scale and fuse out, or use judge=qwen3_vl"
            )

    def prepare(self, requests: Sequence[Request]) -> Asked:
        """Lay out the conversations; each thread has a processor of its own, as a tokenizer cannot be shared.

        Raises:
            ValueError: a request has more images than the engine was started for.
        """
        most = max(len(request.images) for request in requests)
        if most > self._max_images:
            raise ValueError(f"a request has {most} images, more than judge.max_images={self._max_images}")
        if not hasattr(self._of_thread, "processor"):
            self._of_thread.processor = copy.deepcopy(self._processor)
        processor = self._of_thread.processor
        prompts = [
            {
                "prompt": self._template.prompt(request, processor),
                "multi_modal_data": {"image": list(request.images)},
            }
            for request in requests
        ]
        return Asked(prompts, requests[0].wanted)

    def reply(self, prepared: Asked, seeds: Sequence[int] | None = None) -> list[str]:
        """Generate for the whole batch, greedily or by seeds; a reply that ran into the limit has `CUT_OFF`."""
        opening = "" if prepared.wanted == "number" else self._template.opening
        room = NUMBER_TOKENS if prepared.wanted == "number" else self._max_new_tokens
        drawn = [{"temperature": 0.0}] * len(prepared.prompts)
        if seeds is not None:
            drawn = [{"temperature": self._temperature, "seed": seed} for seed in seeds]
        answers = self._generate(prepared, [self._sampling(max_tokens=room, **how) for how in drawn])
        return [opening + answer.text + CUT_OFF * (answer.finish_reason == "length") for answer in answers]

    def check_labels(self, labels: Sequence[str]) -> None:
        """Find the token of each label; raises UserError as `find_label_tokens` does."""
        self._label_tokens |= find_label_tokens(self._template, self._processor.tokenizer, labels)

    def label_probabilities(self, prepared: Asked, labels: Sequence[str]) -> list[list[float] | Exception]:
        """Give the labels' probabilities as the next token, of one that nothing constrains.

        A label that is not among the likeliest tokens has 0.
        """
        if not all(label in self._label_tokens for label in labels):
            self.check_labels(labels)
        one = self._sampling(temperature=0.0, max_tokens=1, logprobs=self._top_logprobs)
        answers = self._generate(prepared, [one] * len(prepared.prompts))
        return [self._read(answer.logprobs, labels) for answer in answers]

    def describe(self) -> dict[str, Any]:
        """The engine's version, and what it was started with."""
        return {
            "model_class": "vllm.LLM",
            "vllm": getattr(self._vllm, "__version__", None),
            "max_new_tokens": self._max_new_tokens,
        }

    def counted(self) -> dict[str, dict[str, int]]:
        """How many labels were not among the likeliest tokens so far."""
        return {"usage": dict(self._usage)}

    def _sampling(self, **settings: Any) -> Any:
        return self._vllm.SamplingParams(**settings)

    def _generate(self, prepared: Asked, how: list[Any]) -> list[Any]:
        """Answers of the engine, in order; raises UserError if it is gone."""
        try:
            outputs = self._llm.generate(prepared.prompts, how, use_tqdm=False, lora_request=self._lora)
        except Exception as error:
            if type(error).__name__ == "EngineDeadError":
                raise UserError(
                    f"judge=vllm: the engine has ended ({_short(error)}); what it printed above says why, and a new "
                    "start goes on where this one ended"
                ) from error
            raise
        return [output.outputs[0] for output in outputs]

    def _read(self, positions: Any, labels: Sequence[str]) -> list[float] | Exception:
        if not positions:
            return ValueError("the engine gave no probabilities of the next token")
        likely: Mapping[int, Any] = positions[0]
        found = [likely.get(self._label_tokens[label]) for label in labels]
        self._usage["labels_missing_from_top_logprobs"] += sum(one is None for one in found)
        return [0.0 if one is None else math.exp(one.logprob) for one in found]


def _room_for(adapter: Path) -> int:
    """The highest rank that the engine has to make room for."""
    settings = json.loads((adapter / ADAPTER[0]).read_bytes())
    rank = max([settings.get("r", 8), *(settings.get("rank_pattern") or {}).values()])
    fitting = [room for room in LORA_RANKS if room >= rank]
    if not fitting:
        raise UserError(f"judge.lora: it has rank {rank}, and vLLM takes {LORA_RANKS[-1]} at most; use judge=qwen3_vl")
    return fitting[0]


def _lora_request(path: str) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest("judge", 1, path)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
