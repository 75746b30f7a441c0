"""The judge: a small Qwen3-VL that looks at the source and the edited picture and says how well the edit was done.

It is asked as the tool asks: by the rubric of conf/rubric/scene_edit.yaml, with both pictures behind the text, for a
number or for a digit. Attention is causal, so the text comes first: every cell of the source can then work out what
should become of it, and every cell of the edited picture whether it did. `judge_training` trains these steps.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from make_tiny_checkpoints import build_generation_config, build_judge_processor, text_config, token_ids
from transformers import Cache, Qwen2Tokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from editbench.judges.base import Request
from editbench.judges.chat_template import ChatTemplate
from editbench.judges.prompt_prefix import PrefixLayer
from nano.flaws import Judged
from nano.pictures import assemble, cells_drawn
from nano.scenes import CELLS, SIZE, describe
from nano.words import judge_tokenizer, rubric

HIDDEN, LAYERS, MLP, HEADS = 128, 6, 256, 4
VISION_HIDDEN = 96
PATCH = 16
PIXELS = 128
MODES = ("generate", "expected")
ANSWER_START = "Score: "
MOST = 9.9  # the highest score it says, so that one digit stands before the point
HEADER = 3  # the turn's head: <|im_start|> assistant \n
ROPE = {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
NEXT_IMAGE = SIZE + 2  # from a cell of the source to the same cell of the edited picture, in all three positions
SAME_PLACE = range(1, LAYERS - 1)  # layers whose first head begins by looking there


def build_judge(tokenizer: Qwen2Tokenizer) -> Qwen3VLForConditionalGeneration:
    """An untrained judge."""
    text = text_config(
        tokenizer,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HIDDEN // HEADS,
        attention_bias=True,
        rope_parameters=ROPE,
    )
    vision = {
        "depth": 1,
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": 2 * VISION_HIDDEN,
        "num_heads": 3,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [],
    }
    model = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(text_config=text, vision_config=vision, **token_ids(tokenizer))
    )
    model.generation_config = build_generation_config(tokenizer)
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.q_norm.weight.fill_(1.5)
            layer.self_attn.k_norm.weight.fill_(1.5)
        for number in SAME_PLACE:
            _look_at_same_place(model.model.language_model, number)
    return model


def _look_at_same_place(text: Any, number: int) -> None:
    """Have a layer's first head begin by looking from each cell of the edited picture to that of the source.

    Queries and keys get one constant direction each, the key's turned by the distance, so that rotary positions make
    their product greatest at just that distance.
    """
    attention, size = text.layers[number].self_attn, HIDDEN // HEADS
    there = torch.full((3, 1, 1), NEXT_IMAGE)
    cos, sin = (values[0, 0] for values in text.rotary_emb(torch.zeros(1, 1, HIDDEN), there))  # (size,)
    counts = torch.tensor([pair < size // 4 for pair in range(size // 2)] * 2)  # the pairs that turn fast
    query = 2.0 * counts
    turned = torch.cat([-query[size // 2 :], query[: size // 2]])
    attention.q_proj.bias[:size] = query
    attention.k_proj.bias[:size] = query * cos + turned * sin


def system_prompt(mode: str) -> str:
    """The system prompt as the tool puts it together."""
    texts = rubric()
    return f"{texts['system_prompt'].rstrip()}\n\n{texts['answer' if mode == 'generate' else 'answer_label']}"


def shrink() -> np.ndarray:
    """What the processor makes of 64 pixels that the editor's VAE repeats 16 times: a (128, 64) matrix."""
    lines = torch.eye(64).repeat_interleave(16, dim=0)[None, None]  # (1, 1, 1024, 64)
    small = torch.nn.functional.interpolate(lines, (PIXELS, 64), mode="bicubic", antialias=True, align_corners=False)
    return small[0, 0].numpy()


@dataclass
class Asked:
    """A batch of judgments to be made, laid out for the model.

    Attributes:
        prefix: Tokens that all rows begin with, (P,) int64.
        tokens: What comes behind them, up to the answer's end, (B, L), padded on the right.
        positions: (3, B, L).
        last: Where the last token of the answer's start stands in each row, (B,).
        heads: Where the turn's head and `last` stand, (B, 4).
        images: Where the image tokens stand, (B, 32): the source's, then the edited picture's.
        said: Where the token behind the text stands, which begins the first image, (B,).
        pixels: Patches of the images, source first.
    """

    prefix: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    last: torch.Tensor
    heads: torch.Tensor
    images: torch.Tensor
    said: torch.Tensor
    pixels: torch.Tensor


class JudgeReader:
    """Lays out judgments as `Qwen3VLJudge` does with `images="last"`.

    Args:
        model: The judge; for its positions.
        processor: The judge's.
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor) -> None:
        self.processor, self.model = processor, model
        self.template = ChatTemplate(processor, None, "last")
        self.tokenizer = processor.tokenizer
        self.pad = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._shrink = shrink().astype(np.float32)
        self.digits = torch.tensor(self.tokenizer.convert_tokens_to_ids([str(digit) for digit in range(10)]))

    def patches(self, pictures: np.ndarray) -> torch.Tensor:
        """Cut pictures, (N, 128, 128, 3) float in 0..1, as the processor does, but one frame: (N * 64, 768)."""
        grid = (pictures * 2 - 1).reshape(-1, SIZE, 2, PATCH, SIZE, 2, PATCH, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
        return torch.from_numpy(np.ascontiguousarray(grid.reshape(-1, 3 * PATCH * PATCH), dtype=np.float32))

    def edited_as_seen(self, edited: np.ndarray) -> np.ndarray:
        """The editor's 64 pixels as the processor shows them to the judge, (N, 128, 128, 3)."""
        wide = np.einsum("ij,njkc->nikc", self._shrink, edited, optimize=True)
        return np.clip(np.einsum("ij,nkjc->nkic", self._shrink, wide, optimize=True), 0, 1)

    def rows(self, judged: Judged, mode: str, texts: list[str], languages: list[str]) -> Asked:
        """Lay out a batch.

        Args:
            judged: What is judged.
            mode: `generate` or `expected`.
            texts: The instructions as said.
            languages: The descriptions' languages.
        """
        ids = []
        for edit, text, language, score in zip(judged.edits, texts, languages, judged.scores, strict=True):
            asked = self._prompts[mode].replace("<D>", describe(edit.source, language)).replace("<I>", text)
            ids.append(self._expand(self.tokenizer(asked + answer(float(score), mode)).input_ids))
        backgrounds = np.array([edit.source.background for edit in judged.edits])
        cells = np.array([edit.source.cells for edit in judged.edits])
        sources = assemble(cells_drawn(), backgrounds, cells).astype(np.float32) / 255
        shown = np.stack([sources, self.edited_as_seen(judged.edited)], axis=1)
        patches = self.patches(shown.reshape(-1, PIXELS, PIXELS, 3))
        return self._laid_out(ids, 5 if mode == "generate" else 2, patches)

    @functools.cached_property
    def _prompts(self) -> dict[str, str]:
        """The tool's prompt in each mode, with <D> for the description and <I> for the instruction."""
        user = rubric()["user_template_with_source"]
        user = user.replace("{original_description}", "<D>").replace("{edit_instruction}", "<I>")
        pictures: Any = (None, None)
        requests = {mode: Request(0, system_prompt(mode), user, pictures, ANSWER_START) for mode in MODES}
        return {mode: self.template.prompt(request, self.processor) for mode, request in requests.items()}

    def _expand(self, ids: list[int]) -> list[int]:
        return [token for one in ids for token in ([one] * CELLS if one == self.pad else [one])]

    def _laid_out(self, ids: list[list[int]], behind: int, pixels: torch.Tensor) -> Asked:
        count, longest = len(ids), max(map(len, ids))
        tokens = torch.full((count, longest), self.tokenizer.pad_token_id)
        mask = torch.zeros(count, longest, dtype=torch.long)
        for row, one in enumerate(ids):
            tokens[row, : len(one)], mask[row, : len(one)] = torch.tensor(one), 1
        is_image = (tokens == self.pad).long()
        grid = torch.tensor([[1, 2 * SIZE, 2 * SIZE]] * (2 * count))
        positions, _ = self.model.model.get_rope_index(
            tokens, mm_token_type_ids=is_image, image_grid_thw=grid, attention_mask=mask
        )
        same = (tokens == tokens[:1]).all(dim=0) & (is_image == 0).all(dim=0)
        prefix = min(int(same.long().cumprod(dim=0).sum()), int(is_image.argmax(dim=1).min()) - 2)
        last = mask.sum(1) - prefix - behind - 1
        head = last - len(self.tokenizer(ANSWER_START).input_ids)
        heads = torch.stack([head - 2, head - 1, head, last], dim=1)
        images = is_image[:, prefix:].nonzero()[:, 1].reshape(count, 2 * CELLS)
        said = images[:, 0] - 1
        rest = tokens[:, prefix:], positions[..., prefix:]
        return Asked(tokens[0, :prefix], *rest, last, heads, images, said, pixels)


def answer(score: float, mode: str) -> str:
    """What the judge should say behind `Score: `."""
    if mode == "expected":
        return f"{min(9, round(score))}<|im_end|>"
    tenths = int(10 * min(score, MOST) + 1e-6)
    return f"{tenths // 10}.{tenths % 10}00<|im_end|>"


def _embed_patches(embed: Any, patches: torch.Tensor) -> torch.Tensor:
    """Embed patches of one frame as if it were two alike, (N, 768) -> (N, hidden): no convolution is needed."""
    weight = embed.proj.weight.sum(dim=2).flatten(1)  # (hidden, 768)
    return torch.nn.functional.linear(patches, weight, embed.proj.bias)


class ReadingJudge(torch.nn.Module):
    """The judge with its reader, computing what all rows begin with only once."""

    def __init__(self) -> None:
        super().__init__()
        tokenizer = judge_tokenizer()
        self.judge = build_judge(tokenizer)
        patch_embed = self.judge.model.visual.patch_embed
        patch_embed.forward = functools.partial(_embed_patches, patch_embed)
        self.reader = JudgeReader(self.judge, build_judge_processor(tokenizer))

    def forward(self, asked: Asked) -> torch.Tensor:
        """Hidden states of the rows behind the prefix, (B, L, H)."""
        model = self.judge.model
        language = model.language_model
        count, length = asked.tokens.shape
        ids = torch.arange(len(asked.prefix))[None]
        prefix = language(
            inputs_embeds=language.embed_tokens(asked.prefix)[None], position_ids=ids.expand(3, 1, -1), use_cache=True
        )
        grid = torch.tensor([[1, 2 * SIZE, 2 * SIZE]] * (2 * count))
        seen = model.visual(asked.pixels, grid_thw=grid).pooler_output  # (B * 32, H)
        embedded = language.embed_tokens(asked.tokens)
        images = asked.images[..., None].expand(-1, -1, HIDDEN)
        mask = torch.ones(length, ids.shape[1] + length).tril(ids.shape[1])
        hidden: torch.Tensor = language(
            inputs_embeds=embedded.scatter(1, images, seen.reshape(images.shape)),
            position_ids=asked.positions,
            attention_mask=mask.log()[None, None],  # 0 or minus infinity
            past_key_values=Cache([PrefixLayer(one.keys, one.values, count) for one in prefix.past_key_values.layers]),
            use_cache=True,
        ).last_hidden_state
        return hidden
