"""Writes the scenes benchmark: records in the benchmark's format, pictures, and the wanted picture of each."""

import json
from pathlib import Path

import numpy as np

from nano.pictures import CELL, centre_of, draw
from nano.scenes import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    FAMILIES,
    PLACINGS,
    RADII,
    SHAPES,
    SIZE,
    Scene,
    SceneEdit,
    SceneSampler,
    colour_of,
    describe,
    placing_of,
    shape_of,
)

SEED = 2024


def edits_of(each: int, seed: int = SEED) -> list[SceneEdit]:
    """Held-out edits, `each` of every family, families by turns, no two alike."""
    sampler = SceneSampler(np.random.default_rng(seed), held_out=True)
    found: list[SceneEdit] = []
    while len(found) < each * len(FAMILIES):
        edit = sampler.edit(FAMILIES[len(found) % len(FAMILIES)])
        if edit not in found:
            found.append(edit)
    return found


def shown(scene: Scene) -> dict[str, object]:
    """A scene as plain data; places and sizes in pixels of 128."""
    return {
        "background": BACKGROUNDS[scene.background],
        "objects": [_shown_shape(scene.cells[cell], cell) for cell in scene.objects()],
    }


def _shown_shape(thing: int, cell: int) -> dict[str, object]:
    row, column = divmod(cell, SIZE)
    x, y = centre_of(placing_of(thing))
    return {
        "shape": SHAPES[shape_of(thing)],
        "colour": COLOURS[colour_of(thing)],
        "row": row,
        "column": column,
        "x": column * CELL + x,
        "y": row * CELL + y,
        "radius": RADII[PLACINGS[placing_of(thing)][0]],
    }


def record(edit: SceneEdit, number: int) -> dict[str, object]:
    """A record of the benchmark, but for the source's bytes."""
    family = FAMILIES[edit.family]
    name = f"{family}_{number // len(FAMILIES):02d}"
    return {
        "subset": CATEGORIES[family],
        "original_description": describe(edit.source, "zh"),
        "original_description_en": describe(edit.source, "en"),
        "edit_instruction": edit.text("zh", number // len(FAMILIES)),
        "edit_instruction_en": edit.text("en", number // len(FAMILIES)),
        "original_image_path": f"sources/{name}.png",
        "reference_image_path": f"targets/{name}.png",
        "target_cells": SIZE,
        "family": family,
        "source_scene": shown(edit.source),
        "target_scene": shown(edit.target),
    }


def write(folder: Path, each: int = 12) -> list[dict[str, object]]:
    """Write records.json, sources/ and targets/ into a folder; returns the records."""
    edits = edits_of(each)
    records = [record(edit, number) for number, edit in enumerate(edits)]
    for name in ("sources", "targets"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for edit, one in zip(edits, records, strict=True):
        draw(edit.source).save(folder / str(one["original_image_path"]), optimize=True)
        draw(edit.target).save(folder / str(one["reference_image_path"]), optimize=True)
    text = json.dumps(records, indent=1, ensure_ascii=False)
    (folder / "records.json").write_text(text + "\n", encoding="utf-8")
    return records
