"""Tables for the console."""

from collections import Counter

from rich.markup import escape
from rich.table import Table

from editbench.run.folder import Plan
from editbench.run.records import Sample
from editbench.text import printable

MAX_ROWS = 40


def plan_table(plan: Plan) -> Table:
    """Samples per category."""
    table = Table(title=f"{len(plan.samples)} samples planned" + f", {len(plan.skipped)} skipped" * bool(plan.skipped))
    table.add_column("category")
    table.add_column("samples", justify="right")
    for category, count in sorted(Counter(sample.category for sample in plan.samples).items()):
        table.add_row(escape(category), str(count))
    return table


def assignment_table(shares: list[list[Sample]], what: str) -> Table:
    """Which rank does which samples."""
    table = Table(title=f"{what}: {sum(map(len, shares))} samples on {len(shares)} ranks", expand=True)
    table.add_column("rank", justify="right")
    table.add_column("samples", justify="right")
    table.add_column("which", overflow="ellipsis", no_wrap=True, ratio=1)
    for rank, share in enumerate(shares[:MAX_ROWS]):
        shown = ", ".join(sample.sample_id for sample in share[:6]) + (", …" if len(share) > 6 else "")
        table.add_row(str(rank), str(len(share)), escape(printable(shown)))
    if len(shares) > MAX_ROWS:
        table.add_row("…", "", f"and {len(shares) - MAX_ROWS} ranks more")
    return table
