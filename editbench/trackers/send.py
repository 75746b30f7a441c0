"""The hook of the report phase: tells a tracker of a report, and never lets the report fail by it."""

import logging
from collections.abc import Sequence
from pathlib import Path

from editbench.components.load import component_class
from editbench.config.schema import ComponentConfig
from editbench.errors import UserError
from editbench.text import hide, printable
from editbench.trackers.base import Report, Tracker, config_of, failures_of, scalars_of

logger = logging.getLogger(__name__)

_LONGEST = 300
"""Characters of a tracker's own words in the warning."""


def send(settings: ComponentConfig, report: Report, files: Sequence[Path]) -> bool:
    """Send a report to a tracker; whether it took it.

    A tracker that is not installed, not reachable or raises anything else is one line of warning.

    Args:
        settings: Which tracker.
        report: As `build_report` makes it.
        files: Its files.
    """
    try:
        tracker: Tracker = component_class(settings, "tracker")(**settings.kwargs)
        tracker.start(report["run"], config_of(report))
        try:
            tracker.log(scalars_of(report), failures_of(report))
        except BaseException:
            tracker.finish([])  # what was begun is ended, or the process would wait for it
            raise
        tracker.finish(list(files))
    except Exception as error:
        words = printable(" ".join(hide(str(error)).split()))[:_LONGEST]
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        logger.warning("tracker %s: took no report (%s%s)", settings.name, kind, words)
        return False
    return True
