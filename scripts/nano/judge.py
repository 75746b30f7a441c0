"""The judge: a small Qwen3-VL that looks at the source and the edited picture and says how well the edit was done.

It is asked as the tool asks: by the rubrics of conf/rubric, with both pictures, for a number or for a digit. Beside its
answer, its tokens are trained to tell what was asked, what the cells hold, and which of them changed or are wrong.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from make_tiny_checkpoints import build_generation_config, build_judge_processor, text_config, token_ids
from transformers import Cache, Qwen2Tokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from editbench.judges.base import Request
from editbench.judges.chat_template import ChatTemplate
from editbench.judges.prompt_prefix import PrefixLayer
from nano.flaws import Judged, draw, flawed
from nano.flaws import judged as judge_outcomes
from nano.judge_start import start_from_encoder
from nano.pictures import assemble, cells_drawn
from nano.scenes import BACKGROUNDS, CATEGORIES, CELLS, FAMILIES, KINDS, NONE, SIZE, SceneEdit, SceneSampler, describe
from nano.text_encoder import LABELS, PER_IMAGE, edit_labels, several
from nano.training import Schedule, Stage, averaged_weights
from nano.words import RUBRICS, judge_tokenizer

HIDDEN, LAYERS, MLP, HEADS = 128, 5, 256, 4
VISION_HIDDEN = 96
PATCH = 16
PIXELS = 128
MODES = ("generate", "expected")
ANSWER_START = "Score: "
MOST = 9.9  # the highest score it says, so that one digit stands before the point
HEADER = 3  # the turn's head, which the probes read: <|im_start|> assistant \n
IMAGE_LABELS = {"kind": KINDS, "background": len(BACKGROUNDS), "row": SIZE, "column": SIZE}


def build_judge(tokenizer: Qwen2Tokenizer) -> Qwen3VLForConditionalGeneration:
    """An untrained judge."""
    rope = {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    text = text_config(
        tokenizer,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HIDDEN // HEADS,
        attention_bias=True,
        rope_parameters=rope,
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
    return model


@functools.cache
def rubric(category: str) -> dict[str, str]:
    """A rubric as in its file, with the forms of the answer."""
    files = [RUBRICS / "answer.yaml", RUBRICS / f"{category}.yaml"]
    texts: dict[str, str] = {}
    for file in files:
        texts |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return texts


def system_prompt(category: str, mode: str) -> str:
    """A category's system prompt as the tool puts it together."""
    texts = rubric(category)
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
        heads: Where the probed tokens stand, (B, 4): three of the turn's head and `last`.
        images: Where the image tokens stand, (B, 32): the source's, then the edited picture's.
        pixels: Patches of the images of every `each`-th row, source first.
        each: So many rows in succession are about the same two pictures.
    """

    prefix: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    last: torch.Tensor
    heads: torch.Tensor
    images: torch.Tensor
    pixels: torch.Tensor
    each: int = 1


class JudgeReader:
    """Lays out judgments as `Qwen3VLJudge` does.

    Args:
        model: The judge; for its positions.
        processor: The judge's.
    """

    def __init__(self, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor) -> None:
        self.processor, self.model = processor, model
        self.template = ChatTemplate(processor, None)
        self.tokenizer = processor.tokenizer
        self.pad = self.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._prompts: dict[tuple[str, str, bool], str] = {}
        self._shrink = shrink().astype(np.float32)
        digits = [str(digit) for digit in range(10)]
        self.digits = torch.tensor(self.tokenizer.convert_tokens_to_ids(digits))
        self.decimals = torch.tensor(self.tokenizer.convert_tokens_to_ids([f".{digit}" for digit in digits]))

    def patches(self, pictures: np.ndarray) -> torch.Tensor:
        """Cut pictures, (N, 128, 128, 3) float in 0..1, as the processor does, but one frame: (N * 64, 768)."""
        grid = (pictures * 2 - 1).reshape(-1, SIZE, 2, PATCH, SIZE, 2, PATCH, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
        return torch.from_numpy(np.ascontiguousarray(grid.reshape(-1, 3 * PATCH * PATCH), dtype=np.float32))

    def edited_as_seen(self, edited: np.ndarray) -> np.ndarray:
        """The editor's 64 pixels as the processor shows them to the judge, (N, 128, 128, 3)."""
        wide = np.einsum("ij,njkc->nikc", self._shrink, edited, optimize=True)
        return np.clip(np.einsum("ij,nkjc->nkic", self._shrink, wide, optimize=True), 0, 1)

    def rows(self, judged: Judged, mode: str, texts: list[str], languages: list[str], each: int = 0) -> Asked:
        """Lay out a batch of one category.

        Args:
            judged: What is judged.
            mode: `generate` or `expected`.
            texts: The instructions as said.
            languages: The descriptions' languages.
            each: Above 0, what says nothing about the sample is left out, and so many samples in succession are about
                the same two pictures; for the first part of training.
        """
        short = each > 0
        category = CATEGORIES[FAMILIES[judged.edits[0].family]]
        ids = []
        for edit, text, language, score in zip(judged.edits, texts, languages, judged.scores, strict=True):
            prompt = (
                self._prompt(category, mode, short).replace("<D>", describe(edit.source, language)).replace("<I>", text)
            )
            ids.append(self._expand(self.tokenizer(prompt + answer(float(score), mode)).input_ids))
        shared = max(each, 1)
        sources = assemble(cells_drawn(), *_arrays(judged.edits[::shared])).astype(np.float32) / 255
        shown = np.stack([sources, self.edited_as_seen(judged.edited[::shared])], axis=1)
        asked = self._laid_out(ids, 5 if mode == "generate" else 2, self.patches(shown.reshape(-1, PIXELS, PIXELS, 3)))
        return dataclasses.replace(asked, each=shared)

    def _prompt(self, category: str, mode: str, short: bool) -> str:
        """The tool's prompt, with <D> for the description and <I> for the instruction."""
        if (category, mode, short) not in self._prompts:
            system, user = mode, "<D>\n<I>"
            if not short:
                system = system_prompt(category, mode)
                user = rubric(category)["user_template_with_source"]
                user = user.replace("{original_description}", "<D>").replace("{edit_instruction}", "<I>")
            request = Request(0, system, user, (None, None), ANSWER_START)  # type: ignore[arg-type]
            self._prompts[category, mode, short] = self.template.prompt(request, self.processor)
        return self._prompts[category, mode, short]

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
        prefix = int(is_image[0].argmax()) - 1
        lengths = mask.sum(1) - prefix
        last = lengths - behind - 1
        head = last - len(self.tokenizer(ANSWER_START).input_ids)
        heads = torch.stack([head - 2, head - 1, head, last], dim=1)
        images = is_image[:, prefix:].nonzero()[:, 1].reshape(count, 2 * CELLS)
        return Asked(tokens[0, :prefix], tokens[:, prefix:], positions[..., prefix:], last, heads, images, pixels)


def _arrays(edits: list[SceneEdit]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([edit.source.background for edit in edits]), np.array([edit.source.cells for edit in edits])


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


class ProbedJudge(torch.nn.Module):
    """The judge with the probes that it is trained by."""

    def __init__(self) -> None:
        super().__init__()
        tokenizer = judge_tokenizer()
        self.judge = build_judge(tokenizer)
        self.judge.model.visual.patch_embed.forward = functools.partial(
            _embed_patches, self.judge.model.visual.patch_embed
        )
        self.reader = JudgeReader(self.judge, build_judge_processor(tokenizer))
        self.probes = torch.nn.ModuleList(
            torch.nn.ModuleDict({name: torch.nn.Linear(HIDDEN, size) for name, size in LABELS.items()})
            for _ in range(HEADER)
        )
        self.wrong = torch.nn.ModuleList(torch.nn.Linear(HIDDEN, CELLS) for _ in range(HEADER + 1))
        self.source = torch.nn.ModuleDict({name: torch.nn.Linear(HIDDEN, size) for name, size in IMAGE_LABELS.items()})
        self.edited = torch.nn.ModuleDict(
            {
                "changed": torch.nn.Linear(HIDDEN, 2),
                "row": torch.nn.Linear(HIDDEN, SIZE),
                "column": torch.nn.Linear(HIDDEN, SIZE),
            }
        )

    def forward(self, asked: Asked) -> torch.Tensor:
        """Hidden states of the rows behind the prefix, (B, L, H)."""
        model = self.judge.model
        language = model.language_model
        count, length = asked.tokens.shape
        ids = torch.arange(len(asked.prefix))[None]
        prefix = language(
            inputs_embeds=language.embed_tokens(asked.prefix)[None], position_ids=ids.expand(3, 1, -1), use_cache=True
        )
        grid = torch.tensor([[1, 2 * SIZE, 2 * SIZE]] * (len(asked.pixels) // (4 * CELLS)))
        seen = model.visual(asked.pixels, grid_thw=grid).pooler_output  # (pictures * 16, H)
        embedded = language.embed_tokens(asked.tokens[:: asked.each])
        images = asked.images[:: asked.each, :, None].expand(-1, -1, HIDDEN)
        embedded = embedded.scatter(1, images, seen.reshape(images.shape))
        first, shared = ids.shape[1], int(asked.images[0, -1]) + 2
        mask = torch.ones(length, first + length).tril(first)
        positions = asked.positions
        if asked.each > 1:  # the pictures once, then what is said of them, each as if it were alone
            rest = language.embed_tokens(asked.tokens[:, shared:]).reshape(len(embedded), -1, HIDDEN)
            embedded = torch.cat([embedded[:, :shared], rest], dim=1)
            said = positions[..., shared:].reshape(3, len(embedded), -1)
            positions = torch.cat([positions[:, :: asked.each, :shared], said], dim=2)
            mask = _packed_mask(mask, first + shared, asked.each)
        hidden: torch.Tensor = language(
            inputs_embeds=embedded,
            position_ids=positions,
            attention_mask=mask.log()[None, None],  # 0 or minus infinity
            past_key_values=self._cache(prefix, len(embedded)),
            use_cache=True,
        ).last_hidden_state
        if asked.each == 1:
            return hidden
        of_pictures = hidden[:, :shared].repeat_interleave(asked.each, dim=0)
        return torch.cat([of_pictures, hidden[:, shared:].reshape(count, -1, HIDDEN)], dim=1)

    @staticmethod
    def _cache(prefix: Any, rows: int) -> Cache:
        return Cache([PrefixLayer(layer.keys, layer.values, rows) for layer in prefix.past_key_values.layers])


def _packed_mask(causal: torch.Tensor, shared: int, each: int) -> torch.Tensor:
    """Let several segments see what they share and themselves.

    Args:
        causal: Of one segment: (L, P + L), 1 where it may look, with P tokens before the row.
        shared: P and the tokens of the row that all segments share.
        each: Segments.
    """
    own = causal.shape[1] - shared
    top, rest = causal[:-own], causal[-own:]
    segments = torch.block_diag(*[rest[:, shared:]] * each)
    return torch.cat(
        [
            torch.nn.functional.pad(top, (0, own * (each - 1))),
            torch.cat([rest[:, :shared].repeat(each, 1), segments], 1),
        ]
    )


def soft_digits(scores: torch.Tensor, mode: str) -> torch.Tensor:
    """Wanted probabilities of the digits: a narrow bell about the score, (B,) -> (B, 10)."""
    middle = scores.clamp(max=MOST) - 0.45 if mode == "generate" else scores.clamp(max=9.0)
    return torch.softmax(-((torch.arange(10) - middle[:, None]) ** 2) / (2 * 0.45**2), dim=1)


def judge_loss(model: ProbedJudge, judged: Judged, asked: Asked, mode: str) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of the answer and of all probes."""
    hidden = model(asked)
    rows = torch.arange(len(hidden))
    scores = torch.tensor(judged.scores, dtype=torch.float32)
    wanted = soft_digits(scores, mode)
    logits = model.judge.lm_head(hidden[rows, asked.last])
    digits = torch.log_softmax(logits, dim=1)[:, model.reader.digits]
    said = -(wanted * digits).sum(1).mean()
    mean = (digits.softmax(1) * torch.arange(10)).sum(1)
    spread = (mean - (wanted * torch.arange(10)).sum(1)).square().mean()
    loss = said + 0.1 * spread + 0.3 * _answer_loss(model, hidden, asked, mode)
    probes = _probe_loss(model, hidden, asked, judged)
    return loss + probes, {
        "said": float(said.detach()),
        "error": float(spread.detach()) ** 0.5,
        "probes": float(probes.detach()),
    }


def _answer_loss(model: ProbedJudge, hidden: torch.Tensor, asked: Asked, mode: str) -> torch.Tensor:
    """Cross-entropy of the answer's other tokens: `Score: ` before the digit, and all that comes behind it."""
    start = asked.last - asked.heads[:, 2]
    length = int(start[0]) + (5 if mode == "generate" else 1)
    offsets = torch.arange(length)
    offsets = offsets[offsets != int(start[0])]
    places = asked.heads[:, 2:3] + offsets
    logits = model.judge.lm_head(hidden.gather(1, places[..., None].expand(-1, -1, HIDDEN)))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), asked.tokens.gather(1, places + 1).flatten())


def _probe_loss(model: ProbedJudge, hidden: torch.Tensor, asked: Asked, judged: Judged) -> torch.Tensor:
    entropy = torch.nn.functional.cross_entropy
    heads = hidden.gather(1, asked.heads[..., None].expand(-1, -1, HIDDEN))  # (B, 4, H)
    images = hidden.gather(1, asked.images[..., None].expand(-1, -1, HIDDEN))
    told = [edit_labels(edit) for edit in judged.edits]
    total = torch.zeros(())
    for name in LABELS:
        wanted = torch.tensor([one[name] for one in told])
        if (wanted != NONE).any():
            for token, probe in enumerate(model.probes):
                total = total + entropy(probe[name](heads[:, token]), wanted, ignore_index=NONE) / HEADER
    wrong = torch.tensor(judged.wrong, dtype=torch.float32)
    for token, probe in enumerate(model.wrong):
        total = total + 2 * torch.nn.functional.binary_cross_entropy_with_logits(probe(heads[:, token]), wrong)
    cells = torch.arange(CELLS).expand(len(heads), -1)
    places = {"row": cells // SIZE, "column": cells % SIZE}
    backgrounds, kinds = (torch.tensor(values) for values in _arrays(judged.edits))
    of_source = places | {"kind": kinds, "background": backgrounds[:, None].expand(-1, CELLS)}
    for name, probe in model.source.items():
        total = total + 0.3 * entropy(probe(images[:, :CELLS]).flatten(0, 1), of_source[name].flatten())
    of_edited = places | {"changed": torch.tensor(judged.changed).long()}
    for name, probe in model.edited.items():
        total = total + (4.0 if name == "changed" else 0.2) * entropy(
            probe(images[:, CELLS:]).flatten(0, 1), of_edited[name].flatten()
        )
    return total


def families_of(category: str) -> tuple[str, ...]:
    """Families of edits that a category's rubric judges."""
    return tuple(family for family in FAMILIES if CATEGORIES[family] == category)


def draw_asked(
    model: ProbedJudge, sampler: SceneSampler, count: int, mode: str, outcomes: "Outcomes" = draw
) -> tuple[Judged, Asked]:
    """Draw a batch of one category, said in English or Chinese."""
    families = families_of(CATEGORIES[FAMILIES[int(sampler.rng.integers(len(FAMILIES)))]])
    judged = outcomes(sampler, count, families)
    return judged, model.reader.rows(judged, mode, *_said(sampler, judged.edits))


def draw_packed(model: ProbedJudge, sampler: SceneSampler, count: int, mode: str) -> tuple[Judged, Asked]:
    """Draw `count` pairs of pictures; of each, one of four instructions led to the outcome, and all four are asked."""
    groups = [several(sampler) for _ in range(count)]
    made = flawed(sampler, [group[int(sampler.rng.integers(PER_IMAGE))] for group in groups])
    edits = [edit for group in groups for edit in group]
    outcome = judge_outcomes(edits, made.repeat(PER_IMAGE, axis=0))
    return outcome, model.reader.rows(outcome, mode, *_said(sampler, edits), each=PER_IMAGE)


def _said(sampler: SceneSampler, edits: list[SceneEdit]) -> tuple[list[str], list[str]]:
    """Instructions, each in one of its ways, and their languages."""
    languages = ["en" if sampler.rng.random() < 0.5 else "zh" for _ in edits]
    phrasings = sampler.rng.integers(6, size=len(edits)).tolist()
    return [edit.text(*how) for edit, *how in zip(edits, languages, phrasings, strict=True)], languages


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation, equal values sharing their mean rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def measure(model: torch.nn.Module, packed: bool = False, batches: int = 8) -> dict[str, float]:
    """Rank correlation with the truth on unseen, held-out edits with synthetic outcomes."""
    sampler = SceneSampler(np.random.default_rng(60_000), True)
    said, true, wrong = [], [], []
    for _ in range(batches):
        judged, asked = (
            draw_packed(model, sampler, 8, "expected") if packed else draw_asked(model, sampler, 32, "expected")
        )  # type: ignore[arg-type]
        hidden = model(asked)
        rows = torch.arange(len(hidden))
        likely = model.judge.lm_head(hidden[rows, asked.last])[:, model.reader.digits].softmax(1)  # type: ignore
        said += (likely * torch.arange(10)).sum(1).tolist()
        true += judged.scores.tolist()
        wrong.append(((model.wrong[-1](hidden[rows, asked.last]) > 0).numpy() == judged.wrong).all(1).mean())  # type: ignore
    found = np.array(said)
    error = float(np.abs(found - true).mean())
    return {"spearman": spearman(found, np.array(true)), "mae": error, "wrong_right": float(np.mean(wrong))}


Outcomes = Callable[[SceneSampler, int, tuple[str, ...]], Judged]


def train(folder: Path, steps: int = 500, groups: int = 16) -> ProbedJudge:
    """Train the judge on synthetic outcomes, without the rubrics' words, which cost most of the time."""
    torch.manual_seed(4)
    model = ProbedJudge()
    if not (folder / "judge_short.pt").is_file():
        start_from_encoder(model, folder)

    def loss(step: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        mode = MODES[step % 2]
        return judge_loss(model, *draw_packed(model, SceneSampler(rng), groups, mode), mode)

    schedule = Schedule(steps, lr=1.5e-3, measure_every=100)
    measured = functools.partial(measure, packed=True)
    return Stage("judge_short", folder, model, schedule, loss, measured, seed=4).run()  # type: ignore[return-value]


def train_final(folder: Path, outcomes: Outcomes, steps: int = 300, batch: int = 24) -> ProbedJudge:
    """Train the judge further as the tool asks, on outcomes of the editor's own as well."""
    torch.manual_seed(5)
    model = ProbedJudge()
    model.load_state_dict(averaged_weights(folder, "judge_short"))

    def loss(step: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        mode = MODES[step % 2]
        return judge_loss(model, *draw_asked(model, SceneSampler(rng), batch, mode, outcomes), mode)

    schedule = Schedule(steps, lr=1e-3, measure_every=100)
    return Stage("judge", folder, model, schedule, loss, measure, seed=6).run()  # type: ignore[return-value]
