"""Measures the shipped models through the tool's own editor and judge: what the model card's tables say."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from editbench.analysis.truth import Truth, true_score
from editbench.config.load import load
from editbench.config.schema import ANSWER_START
from editbench.editors.diffusers_pipeline import DiffusersEditor
from editbench.judges.base import Request
from editbench.judges.labels import read_labels
from editbench.judges.prompts import by_rubric, prompts
from editbench.judges.qwen3_vl import Qwen3VLJudge
from editbench.judges.reply import parse_score
from editbench.run.records import Sample
from nano.dataset import edits_of
from nano.denoiser import STEPS
from nano.judge import PIXELS
from nano.pictures import draw
from nano.scenes import CATEGORIES, FAMILIES, SIZE, SceneEdit, describe

DIGITS = {str(digit): float(digit) for digit in range(10)}


@dataclass(frozen=True)
class Outcome:
    """One edit and what came of it.

    Attributes:
        edit: What was asked.
        language: In which language.
        source, edited: The pictures.
        truth: `score`, `strict` and `cells_right`.
        seconds: What the edit took.
        kind: Where the edited picture is from, e.g. `final` or `black`.
    """

    edit: SceneEdit
    language: str
    source: Image.Image
    edited: Image.Image
    truth: dict[str, float | bool]
    seconds: float
    kind: str


def load_editor(folder: Path) -> DiffusersEditor:
    """The editor as conf/editor/nano.yaml loads it."""
    return DiffusersEditor(
        "cpu",
        "QwenImageEditPipeline",
        str(folder),
        dtype="float32",
        num_inference_steps=STEPS,
        true_cfg_scale=1.0,
    )


def outcome(edit: SceneEdit, number: int, edited: Image.Image, seconds: float, kind: str) -> Outcome:
    """Work out the truth about an edited picture."""
    source, target = draw(edit.source), draw(edit.target)
    return Outcome(
        edit, language_of(number), source, edited, true_score(source, edited, Truth(target, SIZE)), seconds, kind
    )


def language_of(number: int) -> str:
    """English and Chinese by turns of the families."""
    return "en" if number // len(FAMILIES) % 2 == 0 else "zh"


def edit_all(folder: Path, edits: Sequence[SceneEdit], kind: str) -> list[Outcome]:
    """Edit scenes, English and Chinese by turns."""
    editor = load_editor(folder)
    done = []
    for number, edit in enumerate(edits):
        began = time.perf_counter()
        text = edit.text(language_of(number), number // len(FAMILIES))
        edited = editor.edit(draw(edit.source), text, number, lambda *_: None)
        done.append(outcome(edit, number, edited, time.perf_counter() - began, kind))
    return done


def table(outcomes: Sequence[Outcome]) -> dict[str, dict[str, float]]:
    """Strict success, share of right cells and mean true score, by family, by number of shapes and in all."""
    groups = {family: [o for o in outcomes if FAMILIES[o.edit.family] == family] for family in FAMILIES}
    groups |= {f"{n} shapes": [o for o in outcomes if len(o.edit.source.objects()) == n] for n in (1, 2, 3)}
    groups |= {language: [o for o in outcomes if o.language == language] for language in ("en", "zh")}
    groups["all"] = list(outcomes)
    return {
        name: {
            "n": len(some),
            "strict": float(np.mean([o.truth["strict"] for o in some])),
            "every_cell": float(np.mean([o.truth["cells_right"] for o in some])),
            "score": float(np.mean([o.truth["score"] for o in some])),
        }
        for name, some in groups.items()
        if some
    }


def controls(edits: Sequence[SceneEdit], outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What no editor should be praised for: the source unchanged, black, noise, and another sample's edit."""
    rng = np.random.default_rng(80_000)
    made = []
    for number, edit in enumerate(edits):
        noise = Image.fromarray(rng.integers(0, 256, (PIXELS, PIXELS, 3), dtype=np.uint8))
        other = outcomes[(number + 7) % len(outcomes)].edited
        pictures = {
            "unchanged": draw(edit.source),
            "black": Image.new("RGB", (PIXELS, PIXELS)),
            "noise": noise,
            "other": other,
        }
        made += [outcome(edit, number, picture, 0.0, kind) for kind, picture in pictures.items()]
    return made


def judge_all(folder: Path, outcomes: Sequence[Outcome], mode: str, batch: int = 8) -> list[float | None]:
    """Have outcomes judged as the tool does; None where a reply holds no score."""
    judge = Qwen3VLJudge(
        ["cpu"], str(folder), dtype="float32", max_new_tokens=16, max_image_pixels=PIXELS * PIXELS, images="last"
    )
    rubrics = load(["dataset=scenes", f"judge.mode={mode}"]).rubrics
    scores: list[float | None] = []
    for begin in range(0, len(outcomes), batch):
        some = enumerate(outcomes[begin : begin + batch], begin)
        asked = [_request(one, i, rubrics[CATEGORIES[FAMILIES[one.edit.family]]], mode) for i, one in some]
        scores += _answers(judge, asked, mode)
    return scores


def _request(one: Outcome, index: int, rubric: object, mode: str) -> Request:
    text = one.edit.text(one.language, index)
    description = describe(one.edit.source, one.language)
    sample = Sample(index, str(index), str(index), "", text, description, "", [])
    system, user = prompts(by_rubric(rubric, True), sample)  # type: ignore[arg-type]
    start, wanted = (ANSWER_START, "label") if mode == "expected" else ("", "reply")
    return Request(index, system, user, (one.source, one.edited), start, wanted)  # type: ignore[arg-type]


def _answers(judge: Qwen3VLJudge, requests: list[Request], mode: str) -> list[float | None]:
    prepared = judge.prepare(requests)
    if mode == "expected":
        likely = judge.label_probabilities(prepared, list(DIGITS))
        return [read_labels(one, DIGITS, 0.5).score for one in likely]
    return [parse_score(reply) for reply in judge.reply(prepared)]


def fixed_set(each: int, seed: int) -> list[SceneEdit]:
    """Held-out edits to measure on; other seeds than the dataset's and the training's."""
    return edits_of(each, seed)
