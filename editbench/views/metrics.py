"""The rows of a metric's tables, as all views show them."""

from typing import Any

from editbench.views.scores import interval, number

_COLUMNS = ("figure", "mean", "95 % interval", "samples", "rank correlation with the judge")
_CALIBRATION = ("judge's score", "samples", "mean judged", "mean true")


def metric_rows(metrics: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and a row for each of a metric's figures."""
    return _COLUMNS, [
        [
            name.replace("_", " "),
            number(found["mean"]),
            interval(found["interval"]),
            str(found["n"]),
            number(found["spearman"]),
        ]
        for name, found in metrics["figures"].items()
    ]


def metric_sentence(metrics: dict[str, Any]) -> str:
    """Every figure's mean with its interval, in a sentence."""
    said = (
        f"{name.replace('_', ' ')} {number(found['mean'])} {interval(found['interval'])}".rstrip()
        for name, found in metrics["figures"].items()
    )
    return f"From the pictures alone: {', '.join(said)}."


def calibration_rows(judge: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and a row for each fifth of the judge's scale: what it said, and what was true."""
    return _CALIBRATION, [
        [f"{row['from']:g} to {row['to']:g}", str(row["n"]), number(row["judged"]), number(row["true"])]
        for row in judge["calibration"]
    ]


def judge_sentence(judge: dict[str, Any]) -> str:
    """How far the judge agrees with the truth, in a sentence."""
    return (
        f"The judge's scores against the true ones: rank correlation {number(judge['spearman'])}, mean error "
        f"{judge['mean_error']:+.3f}, mean absolute error {number(judge['mean_absolute_error'])} "
        f"({judge['n']} samples)."
    )
