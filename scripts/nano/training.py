"""What every stage of training shares: a run that can be stopped at any moment and goes on from its last checkpoint."""

import copy
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nano.scenes import NONE

SAVE_EVERY_S = 60.0

StepLoss = Callable[[int, np.random.Generator, torch.Generator], tuple[torch.Tensor, dict[str, float]]]
"""Given the step, and the step's own numpy and torch generators: the loss, and figures for the log."""


@dataclass(frozen=True)
class Schedule:
    """How long a stage trains, and how fast.

    Attributes:
        steps: Steps in all.
        lr: Greatest learning rate.
        warmup: Steps of linear rise; from there it falls as a cosine to a fiftieth.
        weight_decay: Of AdamW.
        ema: Share of the old in the running mean of the weights at each step.
        log_every: Steps between two lines of the log.
        measure_every: Steps between two measurements on unseen data; 0: none.
    """

    steps: int
    lr: float = 2e-3
    warmup: int = 50
    weight_decay: float = 0.01
    ema: float = 0.99
    log_every: int = 20
    measure_every: int = 200

    def rate(self, step: int) -> float:
        """Learning rate at a step, counted from 0."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass
class Stage:
    """One stage of training.

    Attributes:
        name: Names the files: `NAME.pt` (checkpoint) and `NAME.jsonl` (curve).
        folder: Where they are.
        model: Trained in place; only what requires a gradient.
        schedule: See `Schedule`.
        loss: See `StepLoss`.
        measure: Given the averaged model: figures on unseen data.
    """

    name: str
    folder: Path
    model: torch.nn.Module
    schedule: Schedule
    loss: StepLoss
    measure: Callable[[torch.nn.Module], dict[str, float]] | None = None
    seed: int = 0
    seconds: float = 0.0
    averaged: torch.nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        decay = self.schedule.weight_decay
        groups = [
            {"params": [w for w in trained if w.ndim > 1], "weight_decay": decay},
            {"params": [w for w in trained if w.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.schedule.lr, betas=(0.9, 0.98))
        self.trained = trained

    @property
    def checkpoint(self) -> Path:
        """The file that training goes on from."""
        return self.folder / f"{self.name}.pt"

    def restore(self) -> int:
        """Go on from the last checkpoint if there is one; returns the number of steps done."""
        if not self.checkpoint.is_file():
            return 0
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.seconds = state["seconds"]
        return int(state["step"])

    def save(self, step: int, path: Path | None = None) -> None:
        """Write a checkpoint; it appears under its name only when it is whole."""
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "seconds": self.seconds,
            "step": step,
        }
        path = path or self.checkpoint
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def log(self, line: dict[str, Any]) -> None:
        """Add a line to the curve."""
        rounded = {key: round(value, 5) if isinstance(value, float) else value for key, value in line.items()}
        with (self.folder / f"{self.name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")

    def step(self, step: int) -> dict[str, float]:
        """Take one step; returns its figures."""
        rng = np.random.default_rng([self.seed, step])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(step)
        loss, figures = self.loss(step, rng, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self._average(step)
        return {"loss": float(loss.detach()), **figures}

    @torch.no_grad()
    def _average(self, step: int) -> None:
        kept = min(self.schedule.ema, (1 + step) / (10 + step))
        for mean, weight in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(weight, 1 - kept)

    def run(self, keep: dict[int, str] | None = None) -> torch.nn.Module:
        """Train to the end.

        Args:
            keep: Step -> name: the averaged weights of these steps are kept as `NAME-<name>.pt`.

        Returns:
            The averaged model.
        """
        done = self.restore()
        saved = time.monotonic()
        for step in range(done, self.schedule.steps):
            began = time.monotonic()
            figures = self.step(step)
            self.seconds += time.monotonic() - began
            last = step + 1 == self.schedule.steps
            due = self.schedule.measure_every and (step + 1) % self.schedule.measure_every == 0
            if self.measure and (due or last):
                self.averaged.eval()
                with torch.no_grad():
                    figures |= self.measure(self.averaged)
            if (step + 1) % self.schedule.log_every == 0 or last or due:
                self.log(
                    {"step": step + 1, "seconds": round(self.seconds, 1), "lr": self.schedule.rate(step), **figures}
                )
            if keep and step + 1 in keep:
                torch.save(self.averaged.state_dict(), self.folder / f"{self.name}-{keep[step + 1]}.pt")
            if last or time.monotonic() - saved > SAVE_EVERY_S:
                self.save(step + 1)
                saved = time.monotonic()
        return self.averaged


def cross_entropy(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over what applies: logits (..., C), wanted (...), NONE where nothing; 0 if nothing does."""
    flat = wanted.flatten()
    total = torch.nn.functional.cross_entropy(logits.flatten(0, -2), flat, ignore_index=NONE, reduction="sum")
    return total / (flat != NONE).sum().clamp(min=1)


def averaged_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Read the averaged weights of a stage's checkpoint.

    Raises:
        FileNotFoundError: the stage has not been trained.
    """
    weights: dict[str, torch.Tensor] = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)[
        "averaged"
    ]
    return weights
