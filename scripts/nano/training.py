"""What every stage of training shares: a run that can be stopped at any moment and goes on from its last checkpoint.

Models are made and trained on torch's default device. Batches are drawn on the CPU, by processes of their own where
models are trained elsewhere.
"""

import copy
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

SAVE_EVERY_S = 60.0
AHEAD = 8  # batches that each process draws ahead

Figures = Mapping[str, float | torch.Tensor]
Draw = Callable[[int, np.random.Generator], Any]
"""Given the step and its numpy generator: a batch, of arrays, tensors on the CPU, and dataclasses of these."""

Loss = Callable[[int, Any, torch.Generator], tuple[torch.Tensor, Figures]]
"""Given the step, its batch and its torch generator: the loss, and figures for the log."""


def seeded(seed: int) -> torch.Generator:
    """A generator on torch's default device."""
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def on_device(batch: Any) -> Any:
    """A batch with its tensors on torch's default device; all else stays as it is."""
    if isinstance(batch, torch.Tensor):
        return batch.to(torch.get_default_device(), non_blocking=True)
    if isinstance(batch, dict):
        return {name: on_device(value) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(on_device(value) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        changed = {one.name: on_device(getattr(batch, one.name)) for one in dataclasses.fields(batch)}
        return dataclasses.replace(batch, **changed)
    return batch


class _Batches(Dataset[Any]):
    """What `draw` draws at each step."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self.draw, self.seed = draw, seed

    def __getitem__(self, step: int) -> Any:
        with torch.device("cpu"):
            return self.draw(step, np.random.default_rng([self.seed, step]))


def _as_it_is(batch: Any) -> Any:
    return batch


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
        draw, loss: See `Draw` and `Loss`.
        measure: Given the averaged model: figures on unseen data.
        seed: Of batches and noise.
    """

    name: str
    folder: Path
    model: torch.nn.Module
    schedule: Schedule
    draw: Draw
    loss: Loss
    measure: Callable[[torch.nn.Module], dict[str, float]] | None = None
    seed: int = 0
    seconds: float = 0.0  # measuring included
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
        state = torch.load(self.checkpoint, map_location=torch.get_default_device(), weights_only=True)
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

    def batches(self, done: int) -> Iterator[Any]:
        """The batches of all steps from `done` on, on torch's default device."""
        elsewhere = torch.get_default_device().type != "cpu"
        workers = max(1, (os.cpu_count() or 1) // 3) if elsewhere else 0
        loader = DataLoader(
            _Batches(self.draw, self.seed),
            sampler=range(done, self.schedule.steps),
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
        )
        return map(on_device, loader)

    def step(self, step: int, batch: Any) -> Figures:
        """Take one step; returns its figures."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(step)
        loss, figures = self.loss(step, batch, seeded(self.seed * 1_000_003 + step))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self._average(step)
        return {"loss": loss.detach(), **figures}

    @torch.no_grad()
    def _average(self, step: int) -> None:
        kept = min(self.schedule.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - kept)

    def run(self, keep: dict[int, str] | None = None) -> torch.nn.Module:
        """Train to the end.

        Args:
            keep: Step -> name: the averaged weights of these steps are kept as `NAME-<name>.pt`.

        Returns:
            The averaged model.
        """
        done = self.restore()
        saved = began = time.monotonic()
        for step, batch in enumerate(self.batches(done), done):
            figures = dict(self.step(step, batch))
            last = step + 1 == self.schedule.steps
            due = self.schedule.measure_every and (step + 1) % self.schedule.measure_every == 0
            if self.measure and (due or last):
                self.averaged.eval()
                with torch.no_grad():
                    figures |= self.measure(self.averaged)
            if (step + 1) % self.schedule.log_every == 0 or last or due:
                told = {name: float(value) for name, value in figures.items()}
                self.seconds, began = self.seconds + time.monotonic() - began, time.monotonic()
                rate = self.schedule.rate(step)
                self.log({"step": step + 1, "seconds": round(self.seconds, 1), "lr": rate, **told})
            if keep and step + 1 in keep:
                torch.save(self.averaged.state_dict(), self.folder / f"{self.name}-{keep[step + 1]}.pt")
            if last or time.monotonic() - saved > SAVE_EVERY_S:
                self.save(step + 1)
                saved = time.monotonic()
        return self.averaged


def averaged_weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Read the averaged weights of a stage's checkpoint.

    Raises:
        FileNotFoundError: the stage has not been trained.
    """
    path = folder / f"{name}.pt"
    state = torch.load(path, map_location=torch.get_default_device(), weights_only=True)
    weights: dict[str, torch.Tensor] = state["averaged"]
    return weights
