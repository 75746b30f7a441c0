"""Qwen3-VL as judge through transformers, dense or mixture of experts."""

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from editbench.config.annotations import Count, Rule
from editbench.distributed.devices import RESERVE_BYTES
from editbench.errors import UserError
from editbench.judges.base import CUT_OFF, ImagesStand, Request
from editbench.judges.chat_template import ChatTemplate
from editbench.judges.label_tokens import find_label_tokens
from editbench.judges.lora import Lora, apply_lora, check_lora

if TYPE_CHECKING:
    import torch

Dtype = Literal["bfloat16", "float16", "float32"]
Temperature = Annotated[float, Rule(lambda number: 0 <= number <= 10, "a number from 0 to 10")]

NUMBER_TOKENS = 12
"""Room for `10.000/10` and what ends it, where only the number of a reply is lacking."""

GREEDY = {"do_sample": False, "num_beams": 1, "use_cache": True, "cache_implementation": None}
"""Arguments of generate that a checkpoint's generation_config.json would otherwise decide."""


@dataclass(frozen=True)
class Prepared:
    """A batch as tensors on the CPU, pinned where they go to a GPU.

    Attributes:
        inputs: What the processor gave, by the model's argument names, and the `position_ids`; pixel values in the
            model's type.
        prefix: Number of tokens that all rows begin with.
        wanted: As in the requests.
    """

    inputs: Mapping[str, Any]
    prefix: int
    wanted: str

    def beginning(self) -> tuple[int, ...]:
        """The tokens that all rows begin with."""
        return tuple(self.inputs["input_ids"][0, : self.prefix].tolist())


class Qwen3VLJudge:
    """Answers in batches: greedy replies, or the probabilities of labels as the next token.

    Args:
        devices: Devices of this replica, e.g. `["cuda:0"]`; the layers are spread over them if there are several.
        checkpoint: Folder with the model's safetensors and processor.
        revision: Not used here; the checkpoint is a folder already.
        allow_pickle: Whether weights may be pickles.
        trust_remote_code: Whether code in the checkpoint may run.
        dtype: `bfloat16`, `float16` or `float32`.
        max_new_tokens: Longest reply, in tokens.
        temperature: 0: replies hold the most likely token each time; above: tokens are drawn, from the model's own
            distribution at 1, and from a sharper one below.
        max_image_pixels: Larger images are scaled down to this area in pixels; None: as the processor has it.
        thinking, images: As in `ChatTemplate`.
        lora: A PEFT adapter on top of the checkpoint, as in `apply_lora`.

    Raises:
        UserError: the chat template knows no thinking that could be wanted, or the adapter is for another model.
    """

    def __init__(
        self,
        devices: list[str],
        checkpoint: str,
        revision: str | None = None,
        allow_pickle: bool = False,
        trust_remote_code: bool = False,
        dtype: Dtype = "bfloat16",
        max_new_tokens: Count = 128,
        max_image_pixels: Count | None = None,
        thinking: bool | None = None,
        temperature: Temperature = 0.0,
        images: ImagesStand = "first",
        lora: Lora | None = None,
    ) -> None:
        import torch
        from transformers.utils import logging as transformers_logging

        from editbench.judges.prompt_prefix import PromptPrefixes

        transformers_logging.disable_progress_bar()
        model, self._processor = self._load(
            checkpoint,
            trust_remote_code,
            dtype=getattr(torch, dtype),
            use_safetensors=None if allow_pickle else True,
            **_placement(devices),
        )
        if lora is not None:
            apply_lora(model, lora)
        self._model = model.eval()
        _cast_before_cutting(self._processor.image_processor, self._model.model.visual.dtype)
        if max_image_pixels is not None:
            size = self._processor.image_processor.size
            shortest = min(size["shortest_edge"], max_image_pixels)
            self._processor.image_processor.size = {"shortest_edge": shortest, "longest_edge": max_image_pixels}
        _refuse_offload(getattr(self._model, "hf_device_map", {}), devices)
        self._pinned = devices[0].startswith("cuda")
        self._of_thread = threading.local()
        self._max_new_tokens, self._temperature = max_new_tokens, temperature
        self._template = ChatTemplate(self._processor, thinking, images)
        self._prefixes = PromptPrefixes(self._model)
        self._label_tokens: dict[str, int] = {}
        ends = self._model.generation_config.eos_token_id
        self._ends = ends if isinstance(ends, list) else [ends]

    @staticmethod
    def check_settings(kwargs: dict[str, Any]) -> None:
        """Check what no annotation tells; raises UserError."""
        check_lora(kwargs.get("lora"))

    def _load(self, checkpoint: str, trust_remote_code: bool, **arguments: Any) -> tuple[Any, Any]:
        """Load model and processor; overridden where they are there already.

        Args:
            checkpoint: Folder of both.
            trust_remote_code: Whether code in it may run.
            **arguments: Further ones of the model's `from_pretrained`.
        """
        from transformers import AutoModelForImageTextToText, AutoProcessor

        processor = AutoProcessor.from_pretrained(checkpoint, trust_remote_code=trust_remote_code)
        model = AutoModelForImageTextToText.from_pretrained(
            checkpoint, trust_remote_code=trust_remote_code, **arguments
        )
        return model, processor

    def prepare(self, requests: Sequence[Request]) -> Prepared:
        """Lay out the conversations and make tensors of text and images; nothing is computed with the model.

        Several threads may do so at a time: each has a processor of its own, as a tokenizer cannot be shared.
        For labels the padding stands on the right, where no token looks; for replies right behind the prefix, as all
        rows have to end together there.
        """
        from editbench.judges.prompt_prefix import pad_behind_prefix, prefix_length

        wanted = requests[0].wanted
        processor = self._own_processor()
        prompts = [self._template.prompt(request, processor) for request in requests]
        shown = [list(request.images) for request in requests]
        inputs: dict[str, Any] = dict(
            processor(text=prompts, images=shown, padding=True, padding_side="right", return_tensors="pt")
        )
        prefix = prefix_length(inputs, self._model.config.image_token_id)
        if wanted != "label":
            inputs = pad_behind_prefix(inputs, prefix)
        rows = {name: inputs[name] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
        positions, _ = self._model.model.get_rope_index(**rows, image_grid_thw=inputs.get("image_grid_thw"))
        inputs["position_ids"] = positions  # (3, B, L); generate of transformers before 5.23 mistakes them
        if self._pinned:
            inputs = {name: tensor.pin_memory() for name, tensor in inputs.items()}
        return Prepared(inputs, prefix, wanted)

    def reply(self, prepared: Prepared, seeds: Sequence[int] | None = None) -> list[str]:
        """Generate for the whole batch, greedily or by seeds; a reply that reached `max_new_tokens` has `CUT_OFF`."""
        import torch

        from editbench.judges.prompt_prefix import known_padding

        rows, length = prepared.inputs["input_ids"].shape
        room = NUMBER_TOKENS if prepared.wanted == "number" else self._max_new_tokens
        opening = "" if prepared.wanted == "number" else self._template.opening
        cache = self._prefixes.cache(prepared.beginning(), rows, length + room)
        with torch.inference_mode(), known_padding(not bool(prepared.inputs["attention_mask"].all())):
            tokens = self._model.generate(
                **self._on_device(prepared),
                past_key_values=cache,
                max_new_tokens=room,
                logits_processor=self._sampling(seeds),
                **GREEDY,
            )
        new = tokens[:, length:].cpu()  # (B, new tokens) int64
        complete = torch.isin(new, torch.tensor(self._ends)).any(dim=1).tolist()
        replies = self._processor.batch_decode(new, skip_special_tokens=True)
        return [opening + reply + CUT_OFF * (not whole) for reply, whole in zip(replies, complete, strict=True)]

    def _sampling(self, seeds: Sequence[int] | None) -> list[Any]:
        """What makes tokens drawn ones where there are seeds, as an argument of generate."""
        from editbench.judges.seeded_sampling import SeededSampling

        return [] if seeds is None else [SeededSampling(seeds, self._temperature, self._model.device)]

    def check_labels(self, labels: Sequence[str]) -> None:
        """Find the token of each label; raises UserError as `find_label_tokens` does."""
        self._label_tokens |= find_label_tokens(self._template, self._processor.tokenizer, labels)

    def label_probabilities(self, prepared: Prepared, labels: Sequence[str]) -> list[list[float]]:
        """Give the labels' probabilities as the next token, among all tokens, from one forward pass."""
        import torch

        if not all(label in self._label_tokens for label in labels):
            self.check_labels(labels)
        columns = [self._label_tokens[label] for label in labels]
        lasts = (prepared.inputs["attention_mask"].sum(dim=1) - prepared.prefix - 1).tolist()
        inputs = self._on_device(prepared)
        with torch.inference_mode():
            hidden = self._model.model(
                input_ids=inputs["input_ids"][:, prepared.prefix :],
                position_ids=inputs["position_ids"][..., prepared.prefix :],
                past_key_values=self._prefixes.cache(prepared.beginning(), len(lasts)),
                **{name: inputs[name] for name in ("pixel_values", "image_grid_thw") if name in inputs},
            ).last_hidden_state  # (B, L - P, H)
            last = torch.stack([row[last] for row, last in zip(hidden, lasts, strict=True)])  # (B, H)
            likely = torch.softmax(self._model.lm_head(last).double(), dim=-1)  # (B, vocabulary) float64
            return likely[:, columns].tolist()

    def _on_device(self, prepared: Prepared) -> dict[str, Any]:
        """Copies, so that what was prepared holds no memory of the device when a batch fails."""
        device = self._model.device
        return {name: tensor.to(device, non_blocking=True) for name, tensor in prepared.inputs.items()}

    def _own_processor(self) -> Any:
        if not hasattr(self._of_thread, "processor"):
            self._of_thread.processor = copy.deepcopy(self._processor)
        return self._of_thread.processor

    def describe(self) -> dict[str, Any]:
        """Class of the model, and the devices of rank 0's replica."""
        return {
            "model_class": type(self._model).__name__,
            "max_new_tokens": self._max_new_tokens,
            "replica_devices": sorted({str(parameter.device) for parameter in self._model.parameters()}),
        }


def _cast_before_cutting(image_processor: Any, dtype: "torch.dtype") -> None:
    """Have an image's values in the model's type before they are cut into patches: half the bytes to move."""
    normalize = image_processor.rescale_and_normalize
    image_processor.rescale_and_normalize = lambda *args, **kwargs: normalize(*args, **kwargs).to(dtype)


def _placement(devices: list[str]) -> dict[str, Any]:
    """Arguments of from_pretrained that put the model on just these devices."""
    if len(devices) == 1:
        return {"device_map": {"": devices[0]}}
    import torch

    indexes = [torch.device(device).index for device in devices]
    return {
        "device_map": "auto",
        "max_memory": {index: torch.cuda.mem_get_info(index)[0] - RESERVE_BYTES for index in indexes},
    }


def _refuse_offload(device_map: dict[str, Any], devices: list[str]) -> None:
    """Accelerate puts what does not fit on the CPU or the disk, where a reply takes minutes."""
    off = [name for name, place in device_map.items() if str(place) in ("cpu", "disk") and "cpu" not in devices]
    if off:
        raise UserError(
            f"judge: {len(off)} parts such as {off[0]!r} do not fit on {', '.join(devices)}; "
            "raise judge.devices_per_replica, or free memory there"
        )
