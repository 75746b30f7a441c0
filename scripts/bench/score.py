"""Score phase: what batches and the mode `expected` gain, with tiny judges of the real classes on one core."""

import json
from pathlib import Path

from bench.edit import Work, editor_overrides
from bench.measure import Row, at_least, at_most, ratios, row, spread
from bench.pictures import write_benchmark
from bench.running import Settings, phase, run

KINDS = {"dense": "qwen3_vl_nonsense", "MoE": "qwen3_vl_moe_nonsense"}  # their replies go on until they are cut
REACHES = {4: 2.7, 8: 4.0}
SIZE = 256
RUBRICS = ("physical", "environmental", "social", "causal", "referential")
SHORT = {
    "system_prompt": "Score the edit.",
    "user_template": "{edit_instruction}",
    "answer": "Answer: Score and a number.",
    "answer_label": "Answer with a digit.",
}
"""A rubric of one sentence."""


def judges(settings: Settings) -> list[Row]:
    """Tiny judges, dense and MoE: batches, and mode expected."""
    return _judges(settings, settings.folder / "score", [])


def short_prompts(settings: Settings) -> list[Row]:
    """The same with a rubric of one sentence: what the rubric's length costs."""
    said = [f"rubrics.{name}.{key}='{text}'" for name in RUBRICS for key, text in SHORT.items()]
    return _judges(settings, settings.folder / "short", said)


def _judges(settings: Settings, folder: Path, overrides: list[str]) -> list[Row]:
    folder.mkdir(exist_ok=True)
    work = Work(10 if settings.quick else 40, SIZE, 0.0, 1)  # 8 of each category
    benchmark = write_benchmark(folder / "benchmark.json", work.edits, work.size)
    edited = [*editor_overrides(work, folder), "judge=fake", f"dataset.path={benchmark}", "log_level=WARNING"]
    phase("edit", 1, folder / "run", edited)
    rows = []
    for kind, name in KINDS.items():
        rows += _rows(kind, _measure(settings, folder, name, overrides))
    return rows


FIGURES = (judges, short_prompts)


def _measure(settings: Settings, folder: Path, name: str, overrides: list[str]) -> dict[str, list[float]]:
    """Seconds per sample of every side; see score_worker.py."""
    result = folder / f"{name}.json"
    arguments = {
        "run": str(folder / "run"),
        "checkpoint": name,
        "repeats": settings.repeats,
        "new_tokens": 8 if settings.quick else 128,
        "decided": 5 if settings.quick else 20,
        "result": str(result),
        "overrides": overrides,
    }
    run(["-m", "bench.score_worker", json.dumps(arguments)], folder)
    seconds: dict[str, list[float]] = json.loads(result.read_text())
    return seconds


def _rows(kind: str, seconds: dict[str, list[float]]) -> list[Row]:
    tokens = seconds.pop("prompt tokens, new tokens")
    alone = seconds["generate 1"]
    listed = {side: f"{spread([value * 1000 for value in values])} ms" for side, values in seconds.items()}
    words = f"tiny {kind} judge, prompts of {tokens[0]:.0f} tokens with an image of {SIZE}x{SIZE}"
    rows = [
        row(
            f"{words}: generate {tokens[1]:.0f} tokens in batches of {size}",
            "one by one",
            ratios(alone, seconds[f"generate {size}"]),
            at_least(reach),
            "x",
            f"{listed[f'generate {size}']} a sample against {listed['generate 1']}",
            seconds if size == 4 else None,
        )
        for size, reach in REACHES.items()
    ]
    for size in REACHES:
        expected = seconds[f"expected {size}"]
        rows += [
            row(
                f"{words}: expected in batches of {size}",
                f"one by one generate {tokens[1]:.0f}",
                ratios(alone, expected),
                at_least(10),
                "x",
                f"{listed[f'expected {size}']} a sample against {listed['generate 1']}",
            ),
            row(
                f"{words}: expected in batches of {size}, from the PNG in its shard to the score",
                "bare forward passes on prepared inputs",
                ratios(expected, seconds[f"forward {size}"]),
                at_most(1.15),
                "x",
                f"{listed[f'expected {size}']} a sample against {listed[f'forward {size}']}",
            ),
            row(
                f"{words}: the same, batches of {size}",
                "the same passes, the rubric read once per category, on prepared inputs",
                ratios(expected, seconds[f"probabilities {size}"]),
                at_most(1.15),
                "x",
                f"{listed[f'expected {size}']} a sample against {listed[f'probabilities {size}']}; preparing alone "
                f"takes {listed[f'prepare {size}']}",
            ),
        ]
    rows.append(
        row(
            f"{words}: transformers' decision pipeline (it takes one request at a time)",
            "expected in batches of 8",
            ratios(seconds["decision"], seconds["expected 8"]),
            ("> 1", lambda value: value > 1),
            "x",
            f"{listed['decision']} a sample against {listed['expected 8']}; one by one expected takes "
            f"{listed['expected 1']}; its prompts have {tokens[2]:.0f} tokens",
        )
    )
    return rows
