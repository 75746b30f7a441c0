"""Edits gone wrong in known ways, and edits that went well, for a judge to learn from."""

from dataclasses import dataclass

import numpy as np

from editbench.analysis.truth import RIGHT, cell_errors, score_pixels
from nano.pictures import assemble, cells_for_vae
from nano.scenes import (
    BACKGROUNDS,
    CELLS,
    COLOURS,
    FAMILIES,
    KINDS,
    SIZE,
    Scene,
    SceneEdit,
    SceneSampler,
    beside,
    coloured,
    kind_of,
)

SIDE = 64


@dataclass(frozen=True)
class Judged:
    """Edits and their outcomes.

    Attributes:
        edits: What was asked, N of them.
        edited: What came out, (N, 64, 64, 3) float32 in 0..1.
        done, kept: How much of the change was made, and how much of the rest is as it was, (N,), 0 to 1.
        errors: Of every cell against the target, (N, 16), rms 0..1.
        changed: Which cells differ from the source, (N, 16) bool.
    """

    edits: list[SceneEdit]
    edited: np.ndarray
    done: np.ndarray
    kept: np.ndarray
    errors: np.ndarray
    changed: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """True scores, (N,), 0 to 10."""
        return 10 * self.done * self.kept

    @property
    def wrong(self) -> np.ndarray:
        """Which cells differ from the target, (N, 16) bool."""
        return self.errors > RIGHT

    def take(self, index: np.ndarray) -> "Judged":
        """Some of them."""
        arrays = {name: values[index] for name, values in vars(self).items() if name != "edits"}
        return Judged([self.edits[i] for i in index], **arrays)

    def and_also(self, others: "Judged") -> "Judged":
        """These and others behind them."""
        pairs = {name: (getattr(self, name), getattr(others, name)) for name in vars(self) if name != "edits"}
        return Judged([*self.edits, *others.edits], **{name: np.concatenate(pair) for name, pair in pairs.items()})


def pixels_of(scenes: list[Scene]) -> np.ndarray:
    """Pictures of scenes at 64 pixels, (N, 64, 64, 3) float32 in 0..1."""
    backgrounds = np.array([scene.background for scene in scenes])
    return assemble(cells_for_vae(), backgrounds, np.array([scene.cells for scene in scenes])).astype(np.float32) / 255


def judged(edits: list[SceneEdit], edited: np.ndarray) -> Judged:
    """Work out the truth about outcomes."""
    source, target = (pixels_of([getattr(edit, name) for edit in edits]) for name in ("source", "target"))
    found = score_pixels(source, edited, target, SIZE)
    changed = cell_errors(edited, source, SIZE) > RIGHT
    return Judged(edits, edited, found.done, found.kept, found.errors, changed)


def flawed(sampler: SceneSampler, edits: list[SceneEdit]) -> np.ndarray:
    """Draw an outcome for each edit, good or bad: (N, 64, 64, 3)."""
    return np.stack([_outcome(sampler, edit) for edit in edits]).astype(np.float32)


def _outcome(sampler: SceneSampler, edit: SceneEdit) -> np.ndarray:
    rng = sampler.rng
    target = pixels_of([edit.target])[0]
    source = pixels_of([edit.source])[0]
    way = rng.random()
    if way < 0.25:
        made = target
    elif way < 0.33:
        made = source
    elif way < 0.60:
        made = pixels_of([mistaken(sampler, edit)])[0]
    elif way < 0.76:
        share = rng.random()
        made = share * target + (1 - share) * source
    elif way < 0.92:
        other = pixels_of([spoilt(sampler, edit.target)])[0]
        share = rng.random()
        made = share * other + (1 - share) * target
    elif way < 0.97:
        made = pixels_of([sampler.edit().target])[0]
    else:
        made = (
            np.full((SIDE, SIDE, 3), rng.random() * (rng.random() < 0.5))
            if rng.random() < 0.5
            else rng.random((SIDE, SIDE, 3))
        )
    return np.clip(_smeared(rng, made), 0, 1)


def _smeared(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """What decoders do: grain, a shift of colour in some cells, blur."""
    made = picture + rng.normal(0, rng.choice([0.0, 0.01, 0.03]), picture.shape)
    if rng.random() < 0.3:
        tint = rng.normal(0, 0.06, (SIZE, SIZE, 1, 1, 3)) * (rng.random((SIZE, SIZE, 1, 1, 1)) < 0.15)
        made = made + np.broadcast_to(tint, (SIZE, SIZE, 16, 16, 3)).transpose(0, 2, 1, 3, 4).reshape(SIDE, SIDE, 3)
    if rng.random() < 0.15:
        made = (made + np.roll(made, 1, 0) + np.roll(made, -1, 0) + np.roll(made, 1, 1) + np.roll(made, -1, 1)) / 5
    return made


def spoilt(sampler: SceneSampler, scene: Scene) -> Scene:
    """A scene with another background, a shape of another place or size, or something else in one or two cells."""
    rng = sampler.rng
    way = rng.random()
    if way < 0.2:
        return Scene(int(rng.integers(len(BACKGROUNDS))), scene.cells)
    if way < 0.35 and scene.objects():
        cell = int(rng.choice(scene.objects()))
        return scene.replaced({cell: sampler.thing(kind_of(scene.cells[cell]))})
    places = rng.choice(CELLS, int(rng.integers(1, 3)), replace=False)
    if rng.random() < 0.5:
        places[0] = rng.choice(scene.objects() or [0])
    return scene.replaced(
        {int(place): sampler.thing(int(rng.integers(KINDS)) * int(rng.random() < 0.7)) for place in places}
    )


def mistaken(sampler: SceneSampler, edit: SceneEdit) -> Scene:
    """The right operation on the wrong shape, the wrong operation on the right one, or with the wrong outcome."""
    rng, source, family = sampler.rng, edit.source, FAMILIES[edit.family]
    if family == "background":
        wrong = Scene(int(rng.integers(len(BACKGROUNDS))), source.cells)
        return wrong if rng.random() < 0.6 else spoilt(sampler, edit.target)
    if rng.random() < 0.35:
        for _ in range(8):
            other = sampler.edit_of(source, FAMILIES[int(rng.integers(len(FAMILIES)))])
            if other is not None:
                return other.target
    if rng.random() < 0.3:
        return spoilt(sampler, edit.target)
    meant = source.cells[edit.cell]
    if family in ("recolour", "referential"):
        others = [cell for cell in source.objects() if cell != edit.cell]
        if others and rng.random() < 0.5:
            cell = int(rng.choice(others))
            return source.replaced({cell: coloured(source.cells[cell], edit.new)})
        return source.replaced({edit.cell: coloured(meant, int(rng.integers(len(COLOURS))))})
    if family == "remove":
        return source.replaced({int(rng.choice(source.objects())): 0})
    way = beside(edit.cell, int(rng.integers(4)))
    goal = int(rng.choice([way if way is not None else edit.to, edit.to, int(rng.integers(CELLS))]))
    changes = {edit.cell: 0, goal: meant}
    if rng.random() < 0.4:  # half done
        changes.pop(edit.cell if rng.random() < 0.5 else goal, None)
    if rng.random() < 0.2:
        changes[goal] = coloured(meant, int(rng.integers(len(COLOURS))))
    return source.replaced(changes)


def draw(sampler: SceneSampler, count: int) -> Judged:
    """Draw edits with outcomes."""
    edits = [sampler.edit() for _ in range(count)]
    return judged(edits, flawed(sampler, edits))
