"""The figures of the model card: measured on what is shipped, written as JSON and as pictures."""

import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.stats import wilcoxon

from editbench.analysis.agreement_with_truth import judge_against_truth
from nano import evaluation, export
from nano.denoiser import Frozen, Pairs, denoise, exported_denoiser, target_labels
from nano.evaluation import Outcome
from nano.flaws import flawed
from nano.pictures import PIPELINE
from nano.scenes import FAMILIES, SceneEdit, SceneSampler

EACH = 20  # scenes a family
SEED = 90_000


def evaluate(shipped: Path, each: int = EACH) -> dict[str, object]:
    """Measure editor, stages and judge on held-out scenes; write `evaluation.json` beside the models.

    Args:
        shipped: `models/nano`.
        each: Scenes a family.
    """
    edits = evaluation.fixed_set(each, SEED)
    made = {"final": evaluation.edit_all(shipped / "editor", edits, "final")}
    made |= {stage: edits_of_stage(shipped, stage, edits) for stage in export.STAGES}
    flawed_ones = synthetic(made["final"])
    controls = evaluation.controls(edits[::4], made["final"])
    found: dict[str, object] = {
        "megabytes": export.sizes(shipped),
        "parameters": export.parameters(shipped),
        "seconds_an_edit": float(np.median([o.seconds for o in made["final"]])),
        "editor": {stage: evaluation.table(outcomes) for stage, outcomes in made.items()},
        "judge": {
            mode: judge_figures(shipped / "judge", made, flawed_ones, controls, mode)
            for mode in ("expected", "generate")
        },
    }
    export.write_json(shipped / "evaluation.json", found)
    sheet(made["final"][:12]).save(shipped / "edits.png", optimize=True)
    return found


def edits_of_stage(shipped: Path, stage: str, edits: list[SceneEdit]) -> list[Outcome]:
    """What an earlier stage of the denoiser makes, computed in batches and without the VAE's outer levels."""
    frozen, model = Frozen.exported(shipped / "editor"), exported_denoiser(shipped / "stages" / stage)
    said = [edit.text(evaluation.language_of(number), number // len(FAMILIES)) for number, edit in enumerate(edits)]
    text, mask = frozen.texts(edits, said)
    labels = target_labels(edits)
    pairs = Pairs(frozen.latents(edits, False), frozen.latents(edits, True), text, mask, labels, edits)
    return enlarged(edits, frozen.pictures(denoise(model, pairs, SEED)), stage)


def enlarged(edits: list[SceneEdit], pictures: np.ndarray, kind: str) -> list[Outcome]:
    """Outcomes of pictures at 64 pixels, (N, 64, 64, 3) in 0..1, enlarged as the editor's are."""
    images = [Image.fromarray((255 * picture).round().astype(np.uint8)) for picture in pictures]
    large = [image.resize((PIPELINE, PIPELINE), Image.Resampling.NEAREST) for image in images]
    return [
        evaluation.outcome(edit, n, image, 0.0, kind) for n, (edit, image) in enumerate(zip(edits, large, strict=True))
    ]


def synthetic(outcomes: list[Outcome]) -> list[Outcome]:
    """Outcomes of the same edits with known flaws."""
    sampler = SceneSampler(np.random.default_rng(95_000), True)
    edits = [one.edit for one in outcomes]
    return enlarged(edits, flawed(sampler, edits), "synthetic")


def judge_figures(
    folder: Path, made: dict[str, list[Outcome]], flawed_ones: list[Outcome], controls: list[Outcome], mode: str
) -> dict[str, object]:
    """Agreement of the judge with the truth, and how it tells stages and controls apart."""
    groups = {**made, "synthetic": flawed_ones}
    for one in controls:
        groups.setdefault(one.kind, []).append(one)
    every = [one for outcomes in groups.values() for one in outcomes]
    began = time.perf_counter()
    scores = evaluation.judge_all(folder, every, mode)
    seconds = (time.perf_counter() - began) / len(every)
    by_kind: dict[str, list[tuple[float, float]]] = {}
    for one, score in zip(every, scores, strict=True):
        if score is not None:
            by_kind.setdefault(one.kind, []).append((score, float(one.truth["score"])))
    own = [pair for stage in made for pair in by_kind[stage]]
    return {
        "seconds_a_judgment": seconds,
        "parsed": sum(score is not None for score in scores) / len(scores),
        "own_outputs": agreement(own),
        "synthetic": agreement(by_kind["synthetic"]),
        "own_and_synthetic": agreement(own + by_kind["synthetic"]),
        "with_controls": agreement([pair for pairs in by_kind.values() for pair in pairs]),
        "mean_by_kind": {
            kind: {"judged": float(np.mean(pairs, axis=0)[0]), "true": float(np.mean(pairs, axis=0)[1])}
            for kind, pairs in by_kind.items()
        },
        "final_over_middle_p": _paired(by_kind["final"], by_kind["middle"]),
    }


def agreement(pairs: list[tuple[float, float]]) -> dict[str, object]:
    """`judge_against_truth` of pairs of judged and true scores."""
    return judge_against_truth([judged for judged, _ in pairs], [true for _, true in pairs])


def _paired(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> dict[str, float]:
    """One-sided signed-rank tests that the first is better on the scenes of both, by the judge and by the truth."""
    shared = list(zip(one, other, strict=False))
    return {
        name: float(wilcoxon([a[i] - b[i] for a, b in shared], alternative="greater").pvalue)
        for name, i in {"judged": 0, "true": 1}.items()
    }


def sheet(outcomes: list[Outcome], side: int = 128) -> Image.Image:
    """Sources and edits side by side with their instructions, three a row."""
    across, high = 2 * side + 24, side + 34
    page = Image.new("RGB", (3 * across, (len(outcomes) + 2) // 3 * high), "white")
    pen = ImageDraw.Draw(page)
    for number, one in enumerate(outcomes):
        x, y = number % 3 * across + 8, number // 3 * high + 6
        page.paste(one.source, (x, y))
        page.paste(one.edited.resize((side, side), Image.Resampling.BOX), (x + side + 4, y))
        text = one.edit.text("en", number // len(FAMILIES))
        pen.text((x, y + side + 4), f"{text}  {one.truth['score']:.1f}", fill="black")
    return page
