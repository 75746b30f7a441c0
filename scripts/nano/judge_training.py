"""Trains the judge: its answer, and on its tokens every step on the way there.

The token behind the text tells what was asked; the source's cells what they hold and what they should come to hold; the
edited picture's cells whether they changed and how far they are from that; the turn's head how much was done and kept.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nano.flaws import Judged, draw
from nano.judge import ANSWER_START, HIDDEN, MODES, MOST, Asked, JudgeReader, ReadingJudge
from nano.scenes import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    FAMILIES,
    KINDS,
    NONE,
    SHAPES,
    SIDES,
    SIZE,
    SceneEdit,
    SceneSampler,
    colour_of,
    shape_of,
)
from nano.training import Schedule, Stage, StepLoss, averaged_weights, cross_entropy

BATCH = 40
LEVELS = (0.03, 0.054, 0.1, 0.2, 0.3)  # bounds of the classes of a cell's error
ASKED = {
    "family": len(FAMILIES),
    "colour": len(COLOURS),
    "shape": len(SHAPES),
    "new": len(COLOURS),
    "word": len(SIDES),
    "background": len(BACKGROUNDS),
}
OF_SOURCE = {
    "kind": KINDS,
    "background": len(BACKGROUNDS),
    "row": SIZE,
    "column": SIZE,
    "meant": 2,
    "wanted": KINDS,
    "wanted_background": len(BACKGROUNDS),
}
OF_EDITED = {"row": SIZE, "column": SIZE, "changed": 2, "wrong": 2, "level": len(LEVELS) + 1}
WEIGHTS = {"row": 0.2, "column": 0.2, "meant": 2.0, "wanted": 2.0, "changed": 2.0, "wrong": 4.0, "level": 2.0}

Outcomes = Callable[[SceneSampler, int], Judged]


class ProbedJudge(ReadingJudge):
    """The judge with the probes that it is trained by."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.source, self.edited = (
            torch.nn.ModuleDict({name: torch.nn.Linear(HIDDEN, size) for name, size in sizes.items()})
            for sizes in (ASKED, OF_SOURCE, OF_EDITED)
        )
        self.parts = torch.nn.Linear(HIDDEN, 2)  # what was done and what was kept


def asked_labels(edits: list[SceneEdit]) -> dict[str, torch.Tensor]:
    """What the instruction says, NONE where nothing: each of ASKED, (B,)."""
    told = []
    for edit in edits:
        named = edit.cell != NONE and FAMILIES[edit.family] != "referential"
        meant = edit.source.cells[edit.cell] if named else 0
        background = edit.target.background if FAMILIES[edit.family] == "background" else NONE
        told.append([edit.family, colour_of(meant), shape_of(meant), edit.new, edit.word, background])
    return dict(zip(ASKED, torch.tensor(told).T, strict=True))


def cell_labels(judged: Judged) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What every cell of the source and of the edited picture should tell, each (B, 16)."""
    count = len(judged.edits)
    cells = torch.arange(CELLS).expand(count, -1)
    places = {"row": cells // SIZE, "column": cells % SIZE}
    before, after = [one.source for one in judged.edits], [one.target for one in judged.edits]
    source = places | {
        "kind": torch.tensor([scene.kinds() for scene in before]),
        "background": torch.tensor([[scene.background] * CELLS for scene in before]),
        "meant": (cells == torch.tensor([[one.cell] for one in judged.edits])).long(),
        "wanted": torch.tensor([scene.kinds() for scene in after]),
        "wanted_background": torch.tensor([[scene.background] * CELLS for scene in after]),
    }
    edited = places | {
        "changed": torch.tensor(judged.changed).long(),
        "wrong": torch.tensor(judged.wrong).long(),
        "level": torch.tensor(np.digitize(judged.errors, LEVELS)),
    }
    return source, edited


def soft_digits(scores: torch.Tensor, mode: str) -> torch.Tensor:
    """Wanted probabilities of the digits: a narrow bell about the score, (B,) -> (B, 10)."""
    middle = scores.clamp(max=MOST) - 0.45 if mode == "generate" else scores.clamp(max=9.0)
    return torch.softmax(-((torch.arange(10) - middle[:, None]) ** 2) / (2 * 0.45**2), dim=1)


def judge_loss(
    model: ProbedJudge, judged: Judged, asked: Asked, mode: str, weight: float = 1.0
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of the answer, and with a weight of all probes."""
    hidden = model(asked)
    rows = torch.arange(len(hidden))
    scores = torch.tensor(judged.scores, dtype=torch.float32)
    wanted = soft_digits(scores, mode)
    logits = model.judge.lm_head(hidden[rows, asked.last])
    digits = torch.log_softmax(logits, dim=1)[:, model.reader.digits]
    said = -(wanted * digits).sum(1).mean()
    mean = (digits.softmax(1) * torch.arange(10)).sum(1)
    spread = (mean - (wanted * torch.arange(10)).sum(1)).square().mean()
    probes, figures = _probe_loss(model, hidden, asked, judged)
    loss = said + 0.1 * spread + 0.3 * _answer_loss(model, hidden, asked, mode) + weight * probes
    return loss, figures | {"said": float(said.detach()), "error": float(spread.detach()) ** 0.5}


def _answer_loss(model: ProbedJudge, hidden: torch.Tensor, asked: Asked, mode: str) -> torch.Tensor:
    """Cross-entropy of the answer's other tokens: `Score: ` before the digit, and all that comes behind it."""
    start = len(model.reader.tokenizer(ANSWER_START).input_ids)  # from the head's end to the number
    length = start + (5 if mode == "generate" else 1)
    offsets = torch.tensor([offset for offset in range(length) if offset != start])
    places = asked.heads[:, 2:3] + offsets
    logits = model.judge.lm_head(hidden.gather(1, places[..., None].expand(-1, -1, HIDDEN)))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), asked.tokens.gather(1, places + 1).flatten())


def _probe_loss(
    model: ProbedJudge, hidden: torch.Tensor, asked: Asked, judged: Judged
) -> tuple[torch.Tensor, dict[str, float]]:
    rows = torch.arange(len(hidden))
    images = hidden.gather(1, asked.images[..., None].expand(-1, -1, HIDDEN))
    heads = hidden.gather(1, asked.heads[..., None].expand(-1, -1, HIDDEN))  # (B, 4, H)
    done_and_kept = torch.tensor(np.stack([judged.done, judged.kept], axis=1), dtype=torch.float32)
    parts = (model.parts(heads).sigmoid() - done_and_kept[:, None]).square().mean()
    total, figures = 4 * parts, {"parts": float(parts.detach()) ** 0.5}
    source, edited = cell_labels(judged)
    behind_text = hidden[rows, asked.said][:, None]
    for probes, labels, tokens in (
        (model.asked, {name: values[:, None] for name, values in asked_labels(judged.edits).items()}, behind_text),
        (model.source, source, images[:, :CELLS]),
        (model.edited, edited, images[:, CELLS:]),
    ):
        for name, probe in probes.items():
            found = cross_entropy(probe(tokens), labels[name])
            total = total + WEIGHTS.get(name, 0.5) * found
            if name in ("family", "meant", "wanted", "changed", "wrong"):
                figures[name] = float(found.detach())
    return total, figures


def draw_asked(
    reader: JudgeReader, sampler: SceneSampler, count: int, mode: str, outcomes: Outcomes = draw
) -> tuple[Judged, Asked]:
    """Draw a batch, said in English or Chinese."""
    judged = outcomes(sampler, count)
    return judged, reader.rows(judged, mode, *_said(sampler, judged.edits))


def _said(sampler: SceneSampler, edits: list[SceneEdit]) -> tuple[list[str], list[str]]:
    """Instructions, each in one of its ways, and their languages."""
    languages = ["en" if sampler.rng.random() < 0.5 else "zh" for _ in edits]
    phrasings = sampler.rng.integers(6, size=len(edits)).tolist()
    return [edit.text(*how) for edit, *how in zip(edits, languages, phrasings, strict=True)], languages


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation, equal values sharing their mean rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def measure(model: torch.nn.Module, outcomes: Outcomes = draw, batches: int = 8) -> dict[str, float]:
    """Rank correlation with the truth on unseen, held-out edits with synthetic outcomes, in all and by family."""
    assert isinstance(model, ProbedJudge)
    sampler = SceneSampler(np.random.default_rng(60_000), True)
    said: list[float] = []
    true: list[float] = []
    family: list[int] = []
    for _ in range(batches):
        judged, asked = draw_asked(model.reader, sampler, 32, "expected", outcomes)
        hidden = model(asked)
        likely = model.judge.lm_head(hidden[torch.arange(len(hidden)), asked.last])[:, model.reader.digits].softmax(1)
        said += (likely * torch.arange(10)).sum(1).tolist()
        true += judged.scores.tolist()
        family += [edit.family for edit in judged.edits]
    found, truth, families = np.array(said), np.array(true), np.array(family)
    by_family = {
        name: spearman(found[families == i], truth[families == i])
        for i, name in enumerate(FAMILIES)
        if (families == i).sum() > 2
    }
    return {"spearman": spearman(found, truth), "mae": float(np.abs(found - truth).mean()), **by_family}


def train(folder: Path, steps: int = 4500) -> ProbedJudge:
    """Train the judge on synthetic outcomes."""
    torch.manual_seed(4)
    model = ProbedJudge()
    schedule = Schedule(steps, lr=1.5e-3, warmup=100)
    return Stage("judge", folder, model, schedule, loss_of_outcomes(model, draw), measure, seed=4).run()


def train_on(folder: Path, outcomes: Outcomes, steps: int = 3500) -> ProbedJudge:
    """Train the judge further, on other outcomes."""
    model = _judge_of(folder, "judge")
    schedule = Schedule(steps, lr=8e-4, warmup=100)
    return Stage("judge_on", folder, model, schedule, loss_of_outcomes(model, outcomes), measure, seed=9).run()


def train_answer(folder: Path, outcomes: Outcomes, steps: int = 1200) -> ProbedJudge:
    """Train the judge further, its answer counting more beside the probes."""
    model = _judge_of(folder, "judge_on")
    schedule = Schedule(steps, lr=8e-4, warmup=50, ema=0.995)
    return Stage(
        "judge_answer", folder, model, schedule, loss_of_outcomes(model, outcomes, 0.3), measure, seed=10
    ).run()


def _judge_of(folder: Path, stage: str) -> ProbedJudge:
    model = ProbedJudge()
    model.load_state_dict(averaged_weights(folder, stage))
    return model


def loss_of_outcomes(model: ProbedJudge, outcomes: Outcomes, probes: float = 1.0) -> StepLoss:
    """Loss of outcomes that are drawn anew at every step; `probes` is the weight of the probes' loss."""

    def loss(step: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        mode = MODES[step % 2]
        drawn = draw_asked(model.reader, SceneSampler(rng), BATCH, mode, outcomes)
        return judge_loss(model, *drawn, mode, probes)

    return loss
