"""The editor's text encoder: a small Qwen2.5-VL that reads the source and the instruction and works out the edit.

In the pipeline's template the image stands before the instruction and attention is causal, so image tokens cannot know
the instruction. The tokens behind it, the head of the reply that never comes, carry what is to be done: probes on them
are trained to tell the operation, the shape, its cell and its new cell, the new colour and the background.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from make_tiny_checkpoints import text_config, token_ids
from transformers import Cache, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from editbench.judges.prompt_prefix import PrefixLayer
from nano.pictures import cells_for_encoder
from nano.scenes import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    FAMILIES,
    KINDS,
    NONE,
    SHAPES,
    SIZE,
    THINGS,
    SceneEdit,
    SceneSampler,
    colour_of,
    shape_of,
)
from nano.training import Schedule, Stage, cross_entropy
from nano.words import editor_tokenizer

HIDDEN, LAYERS, MLP, HEADS = 128, 4, 256, 4
VISION_HIDDEN = 64
PATCH, MERGE = 14, 2
PREFIX = 64  # tokens of the pipeline's template that it drops
HEADER = 3  # last tokens, which the probes read
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # of the image processor, for pixels in 0..1
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
PER_IMAGE = 4  # instructions for one scene in training
TEMPLATE = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, texture, objects, "
    "background), then explain how the user's text instruction should alter or modify the image. Generate a new image "
    "that meets the user's requirements while maintaining consistency with the original input where appropriate."
    "<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
LABELS = {
    "family": len(FAMILIES),
    "colour": len(COLOURS),
    "shape": len(SHAPES),
    "new": len(COLOURS),
    "cell": CELLS,
    "goal": CELLS,
    "background": len(BACKGROUNDS),
}
IMAGE_LABELS = {"kind": KINDS, "row": SIZE, "column": SIZE, "background": len(BACKGROUNDS)}


def build_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    """An untrained encoder; its vision part looks at one cell at a time."""
    rope = {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [4, 6, 6]}
    text = text_config(
        tokenizer,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        rope_parameters=rope,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        tie_word_embeddings=True,
    )
    vision = {
        "depth": 1,
        "hidden_size": VISION_HIDDEN,
        "intermediate_size": 2 * VISION_HIDDEN,
        "num_heads": 2,
        "out_hidden_size": HIDDEN,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "window_size": PATCH * MERGE,
        "fullatt_block_indexes": [],
    }
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **token_ids(tokenizer))
    return Qwen2_5_VLForConditionalGeneration(config)


def patches(looks: np.ndarray) -> torch.Tensor:
    """Cut looks of a cell into patches as the Qwen image processors do.

    Args:
        looks: (N, 28, 28, 3) uint8.

    Returns:
        (N * 4, 3 * 2 * 14 * 14): the four patches of each look, each twice as one picture is two frames.
    """
    pixels = (looks.astype(np.float32) / 255 - MEAN) / STD
    grid = pixels.reshape(-1, MERGE, PATCH, MERGE, PATCH, 3).transpose(0, 1, 3, 5, 2, 4)  # (N, 2, 2, 3, p, p)
    twice = np.repeat(grid[:, :, :, :, None], 2, axis=4)  # (N, 2, 2, 3, 2, p, p)
    return torch.tensor(twice.reshape(len(pixels) * MERGE**2, -1), dtype=torch.float32)


def _looks(groups: list[list[SceneEdit]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of the looks that scenes show, and which of these looks every cell has, (B, 16)."""
    backgrounds = np.array([group[0].source.background for group in groups])
    cells = np.array([group[0].source.cells for group in groups])
    floor = np.arange(CELLS) >= CELLS - SIZE
    numbers, index = np.unique((backgrounds[:, None] * THINGS + cells) * 2 + floor, return_inverse=True)
    seen = cells_for_encoder().reshape(-1, 2 * PATCH, 2 * PATCH, 3)[numbers]
    return patches(seen), torch.tensor(index.reshape(cells.shape))


def edit_labels(edit: SceneEdit) -> dict[str, int]:
    """What the probes behind the instruction have to tell; NONE where nothing."""
    is_background = FAMILIES[edit.family] == "background"
    meant = 0 if edit.cell == NONE else edit.source.cells[edit.cell]
    return {
        "family": edit.family,
        "colour": colour_of(meant),
        "shape": shape_of(meant),
        "new": edit.new,
        "cell": edit.cell,
        "goal": edit.to,
        "background": edit.target.background if is_background else NONE,
    }


@dataclass
class Rows:
    """Scenes with several instructions each, laid out in one row a scene.

    Attributes:
        patches: Of the looks that the scenes show, as `patches` cuts them.
        looks: (B, 16) int64, which of these looks every cell has.
        tokens: (B, L) int64; image tokens first, then the instructions' segments one after the other, then padding.
        positions: (3, B, L) int64; every segment is placed as if it were the only one.
        mask: (B, 1, L, 64 + L) float32, 0 or minus infinity: segments do not see each other.
        heads: (B, PER_IMAGE, 3) int64, where the probed tokens stand.
        spans: For each scene and instruction, its first token and the one behind its last.
        labels: Each of LABELS, (B, PER_IMAGE) int64; of IMAGE_LABELS as `image_NAME`, (B, 16).
    """

    patches: torch.Tensor
    looks: torch.Tensor
    tokens: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    heads: torch.Tensor
    spans: list[list[tuple[int, int]]]
    labels: dict[str, torch.Tensor]


class EncoderReader:
    """Lays out scenes and instructions for the encoder.

    Args:
        tokenizer: The editor's.

    Raises:
        ValueError: the pipeline's template does not begin with the 64 tokens that the pipeline drops.
    """

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        self.tokenizer = tokenizer
        before, behind = TEMPLATE.split("<|image_pad|>")
        ids = tokenizer(before).input_ids
        if len(ids) != PREFIX + 1:
            raise ValueError(f"the template's prefix has {len(ids) - 1} tokens, the pipeline drops {PREFIX}")
        self.prefix = torch.tensor(ids[:PREFIX])
        self.start, self.pad = ids[PREFIX], tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._behind = behind
        self._known: dict[str, list[int]] = {}

    def segment(self, instruction: str) -> list[int]:
        """Tokens behind the image."""
        if instruction not in self._known:
            self._known[instruction] = self.tokenizer(self._behind.format(instruction)).input_ids
        return self._known[instruction]

    def rows(self, groups: list[list[SceneEdit]], texts: list[list[str]]) -> Rows:
        """Lay out edits; those of a group have one source."""
        segments = [[self.segment(text) for text in row] for row in texts]
        length = 1 + CELLS + max(sum(map(len, row)) for row in segments)
        count, each = len(groups), len(groups[0])
        tokens = torch.full((count, length), self.tokenizer.pad_token_id)
        positions = torch.zeros(3, count, length, dtype=torch.long)
        mask = torch.full((count, 1, length, PREFIX + length), float("-inf"))
        heads = torch.zeros(count, each, HEADER, dtype=torch.long)
        image = image_positions(PREFIX + 1)
        head = 1 + CELLS
        causal = torch.zeros(length, length).masked_fill_(torch.ones(length, length).triu(1).bool(), float("-inf"))
        mask[:, :, :, :PREFIX] = 0.0
        mask[:, 0, :head, PREFIX : PREFIX + head] = causal[:head, :head]
        tokens[:, 0], tokens[:, 1:head] = self.start, self.pad
        positions[:, :, 0] = PREFIX
        positions[:, :, 1:head] = image[:, None]
        spans: list[list[tuple[int, int]]] = [[] for _ in groups]
        for row, parts in enumerate(segments):
            begin = head
            for number, part in enumerate(parts):
                end = begin + len(part)
                tokens[row, begin:end] = torch.tensor(part)
                positions[:, row, begin:end] = torch.arange(len(part)) + PREFIX + 1 + SIZE
                mask[row, 0, begin:end, PREFIX : PREFIX + head] = 0.0
                mask[row, 0, begin:end, PREFIX + begin : PREFIX + end] = causal[: len(part), : len(part)]
                heads[row, number] = torch.arange(end - HEADER, end)
                spans[row].append((begin, end))
                begin = end
        return Rows(*_looks(groups), tokens, positions, mask, heads, spans, _labels(groups))


def image_positions(start: int) -> torch.Tensor:
    """Positions of an image's 16 tokens in time, height and width: (3, 16)."""
    cells = torch.arange(CELLS)
    return torch.stack([torch.full((CELLS,), start), start + cells // SIZE, start + cells % SIZE])


def _labels(groups: list[list[SceneEdit]]) -> dict[str, torch.Tensor]:
    told = [[edit_labels(edit) for edit in group] for group in groups]
    labels = {name: torch.tensor([[one[name] for one in row] for row in told]) for name in LABELS}
    cells = torch.arange(CELLS).expand(len(groups), -1)
    labels["image_kind"] = torch.tensor([group[0].source.kinds() for group in groups])
    labels["image_row"], labels["image_column"] = cells // SIZE, cells % SIZE
    labels["image_background"] = torch.tensor([[group[0].source.background] * CELLS for group in groups])
    return labels


class ProbedEncoder(torch.nn.Module):
    """The encoder with the probes that it is trained by.

    Args:
        tokenizer: The editor's.
    """

    def __init__(self, tokenizer: Qwen2Tokenizer) -> None:
        super().__init__()
        self.encoder = build_text_encoder(tokenizer)
        self.reader = EncoderReader(tokenizer)
        self.probes = torch.nn.ModuleList(
            torch.nn.ModuleDict({name: torch.nn.Linear(HIDDEN, size) for name, size in LABELS.items()})
            for _ in range(HEADER)
        )
        self.image_probes = torch.nn.ModuleDict(
            {name: torch.nn.Linear(HIDDEN, size) for name, size in IMAGE_LABELS.items()}
        )

    def seen(self, patches: torch.Tensor) -> torch.Tensor:
        """What the vision part, which looks at one cell at a time, makes of looks: (N * 4, ...) -> (N, H)."""
        grid = torch.tensor([[1, MERGE, len(patches) // MERGE]])  # as if all looks stood in a row
        return self.encoder.model.visual(patches, grid_thw=grid).pooler_output

    def forward(self, rows: Rows) -> torch.Tensor:
        """Hidden states of the rows' tokens behind the dropped prefix, (B, L, H)."""
        model = self.encoder.model.language_model
        prefix = model(inputs_embeds=model.embed_tokens(self.reader.prefix)[None], use_cache=True).past_key_values
        count = len(rows.tokens)
        cache = Cache([PrefixLayer(layer.keys, layer.values, count) for layer in prefix.layers])
        embedded = model.embed_tokens(rows.tokens)
        embedded = torch.cat([embedded[:, :1], self.seen(rows.patches)[rows.looks], embedded[:, 1 + CELLS :]], dim=1)
        return model(
            inputs_embeds=embedded,
            position_ids=rows.positions,
            attention_mask={"full_attention": rows.mask},
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state

    def read(self, hidden: torch.Tensor, rows: Rows) -> dict[str, torch.Tensor]:
        """Logits of every probe: (B, PER_IMAGE, 3, classes); of the image's as `image_NAME`, (B, 16, classes)."""
        count, each, _ = rows.heads.shape
        index = rows.heads.reshape(count, -1, 1).expand(-1, -1, HIDDEN)
        found = hidden.gather(1, index).reshape(count, each, HEADER, HIDDEN)
        told = {
            name: torch.stack([probe[name](found[:, :, token]) for token, probe in enumerate(self.probes)], dim=2)
            for name in LABELS
        }
        image = hidden[:, 1 : 1 + CELLS]
        return told | {f"image_{name}": probe(image) for name, probe in self.image_probes.items()}


def draw_rows(
    reader: EncoderReader, rng: np.random.Generator, count: int, held_out: bool | None = False
) -> tuple[Rows, list[list[SceneEdit]]]:
    """Draw `count` scenes with four instructions each, in English and Chinese."""
    sampler = SceneSampler(rng, held_out)
    groups, texts = [], []
    while len(groups) < count:
        group = several(sampler)
        groups.append(group)
        texts.append([edit.text("en" if rng.random() < 0.5 else "zh", int(rng.integers(6))) for edit in group])
    return reader.rows(groups, texts), groups


def several(sampler: SceneSampler) -> list[SceneEdit]:
    """Edits of one scene, of families drawn at random."""
    families = ("referential", *sampler.families)  # the hardest twice
    while True:
        first = sampler.edit()
        edits = [first]
        for _ in range(40):
            family = families[int(sampler.rng.integers(len(families)))]
            if family == "referential" and len(first.source.objects()) < 2:
                continue
            edit = sampler.edit_of(first.source, family)
            if edit is not None and (sampler.held_out is None or edit.held_out() == sampler.held_out):
                edits.append(edit)
            if len(edits) == PER_IMAGE:
                return edits


def probe_loss(logits: dict[str, torch.Tensor], labels: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of all probes over what applies, summed over their names."""
    total = torch.zeros(())
    for name, found in logits.items():
        wanted = labels[name]
        if found.ndim == 4:
            wanted = wanted[..., None].expand(found.shape[:-1])
        total = total + (0.5 if name.startswith("image_") else 1.0) * cross_entropy(found, wanted)
    return total


def accuracy(encoder: ProbedEncoder, edits: int = 256, seed: int = 20_000) -> dict[str, float]:
    """Share of unseen, held-out edits with all labels right by the last token, in all and by family."""
    rng = np.random.default_rng(seed)
    right: dict[int, list[bool]] = {}
    by_label: dict[str, list[bool]] = {}
    for _ in range(max(1, edits // 64)):
        rows, groups = draw_rows(encoder.reader, rng, 64 // PER_IMAGE, held_out=True)
        logits = encoder.read(encoder(rows), rows)
        good = torch.ones(len(groups), PER_IMAGE, dtype=torch.bool)
        for name in LABELS:
            wanted = rows.labels[name]
            hit = (logits[name][:, :, -1].argmax(-1) == wanted) | (wanted == NONE)
            by_label.setdefault(name, []).extend(hit[wanted != NONE].tolist())
            good &= hit
        for row, group in enumerate(groups):
            for number, edit in enumerate(group):
                right.setdefault(edit.family, []).append(bool(good[row, number]))
    families = {FAMILIES[family]: float(np.mean(hits)) for family, hits in sorted(right.items())}
    labels = {f"label_{name}": float(np.mean(hits)) for name, hits in by_label.items()}
    return {"all": float(np.mean([hit for hits in right.values() for hit in hits])), **families, **labels}


def train(folder: Path, steps: int = 1600, images: int = 20) -> ProbedEncoder:
    """Train the encoder; `images` scenes of four instructions a step."""
    torch.manual_seed(2)
    encoder = ProbedEncoder(editor_tokenizer())

    def loss(step: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        rows, _ = draw_rows(encoder.reader, rng, images)
        return probe_loss(encoder.read(encoder(rows), rows), rows.labels), {}

    schedule = Schedule(steps, lr=2e-3, measure_every=100)
    return Stage("text_encoder", folder, encoder, schedule, loss, accuracy, seed=2).run()
