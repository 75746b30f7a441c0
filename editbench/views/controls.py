"""The rows of the table of controls, as Markdown and the page show them."""

from typing import Any

from editbench.analysis.controls import IN_WORDS

_NUMBERS = ("real_mean", "mean", "difference")


def control_rows(controls: dict[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """What real edits and each kind of control scored; a dash where a number is not known.

    Args:
        controls: The report's `controls`.

    Returns:
        The header, and a row for each kind of wrong edit.
    """
    header = ("shown in place of the edit", "real edits", "control", "difference", "95 % interval", "pairs", "failed")
    rows = []
    for kind in controls["per_kind"]:
        numbers = ["–" if kind[key] is None else f"{kind[key]:.3f}" for key in _NUMBERS]
        interval = "–" if kind["interval"] is None else "{:.3f} to {:.3f}".format(*kind["interval"])
        rows.append([IN_WORDS[kind["control"]], *numbers, interval, str(kind["n"]), str(kind["failed"])])
    return header, rows
