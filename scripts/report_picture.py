"""Draws the table that the report phase prints as an SVG, for the README.

python scripts/report_picture.py runs/scenes-nano nano docs/report.svg
"""

import io
import sys
from pathlib import Path

from rich.console import Console

from editbench.report import build_report
from editbench.run.folder import RunDir
from editbench.views.console import show_report


def main(run: str, judge: str, target: str) -> None:
    """Draw the report of the run folder `run`, judged by `judge`, to the file `target`."""
    console = Console(record=True, width=96, file=io.StringIO())
    show_report(console, build_report(RunDir(Path(run)), judge), Path(run) / "report.md")
    console.save_svg(target, title="./launch.sh", unique_id="report")


if __name__ == "__main__":
    main(*sys.argv[1:])
