"""The tables of what pixels say, without a judge."""

from typing import Any

from editbench.views.sections import link, linked, sections
from editbench.views.tables import UNKNOWN, Cell, Column, Table, at, number, rate, rate_names, whole, words


def pixels(report: dict[str, Any]) -> Table:
    """What the pixels say without a judge."""
    columns = (
        Column("Category", text=True),
        Column("Measured"),
        Column("No-op", rate_names("no-op")),
        Column("Drifted", rate_names("drifted")),
        Column("Shift of the drifted in %, median", ("drift shift median",)),
        Column("Zoom of the drifted, median", ("drift zoom median",)),
        Column("Other size", rate_names("size changed")),
        Column("Other shape", rate_names("shape changed")),
        Column("Changed pixels, median", ("changed median",)),
        Column("PSNR in dB, median", ("psnr median",)),
        Column("SSIM, median", ("ssim median",)),
    )
    rows = []
    for name, section, chosen in sections(report):
        measured = section.get("pixels")
        if measured is None:
            continue
        changed = measured.get("changed")
        rows.append(
            [
                words(name),
                whole(measured.get("n")),
                linked(rate(measured.get("no_op")), link(**chosen, flag="no-op")),
                linked(rate(measured.get("drifted")), link(**chosen, flag="drifted")),
                number(measured.get("drift_shift")),
                number(measured.get("drift_zoom"), 3),
                linked(rate(measured.get("size_changed")), link(**chosen, flag="size changed")),
                linked(rate(measured.get("shape_changed")), link(**chosen, flag="shape changed")),
                Cell(UNKNOWN if changed is None else f"{changed:.1%}", number(changed).values),
                number(measured.get("psnr"), 1),
                number(measured.get("ssim"), 3),
            ]
        )
    return Table("pixels", "What the pixels say, without a judge", columns, rows, totals=1)


def masks(report: dict[str, Any]) -> Table:
    """What was changed inside the masks, where the edit belongs, and what outside."""
    columns = (
        Column("Category", text=True),
        Column("Measured"),
        Column("PSNR inside, median", ("psnr inside median",)),
        Column("PSNR outside, median", ("psnr outside median",)),
        Column("SSIM inside, median", ("ssim inside median",)),
        Column("SSIM outside, median", ("ssim outside median",)),
        Column("Identical outside"),
        Column("Without figures"),
    )
    rows = [
        [
            words(name),
            whole(found["n"]),
            *(number(found[f"psnr_{side}"], 1) for side in ("inside", "outside")),
            *(number(found[f"ssim_{side}"], 3) for side in ("inside", "outside")),
            whole(found["identical_outside"]),
            whole(found["without_figures"]),
        ]
        for name, section, _ in sections(report)
        if (found := at(section, "pixels", "masked"))
    ]
    return Table("masks", "Inside and outside the masks", columns, rows, totals=1)
