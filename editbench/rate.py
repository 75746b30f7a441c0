"""A local page on which a person rates edits, by keyboard.

    python -m editbench.rate run=runs/mine rater=ann                      # single edits, from 0 to 10
    python -m editbench.rate base=runs/old other=runs/new rater=ann       # blind pairs: which one is better?

Open the address that it prints. Each rating is written at once to a CSV file that `editbench agree` reads; the same
command goes on with what the rater has not rated yet. Ctrl-C ends it. docs/agreement.md tells more.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from editbench import cli, images, logs
from editbench.config.annotations import Count, CountOrZero, Port
from editbench.config.load import check_sources
from editbench.datasets.sources import Sources
from editbench.errors import UserError
from editbench.ratings.from_run import edited_samples
from editbench.ratings.questions import COLUMNS, Question, arrange, pair_edits
from editbench.ratings.ratings_file import RatingsFile
from editbench.ratings.server import RatingServer
from editbench.ratings.session import RatingSession
from editbench.results import find_run
from editbench.run.folder import RunDir
from editbench.run.shards import read_edited


@dataclass(frozen=True)
class RateOptions:
    """What is rated, by whom.

    Attributes:
        rater: Name or initials; stands in every row.
        run: A run, by folder or name, whose edits are rated one by one; or else
        base, other: two runs, whose edits of the same samples are shown as blind pairs.
        samples: How many to rate, the same ones for all raters; None: all.
        seed: Of the choice, the order and the sides.
        out: The CSV file; by default ratings.csv in the run, or preferences.csv in the other run.
        port: 0: any that is free.
    """

    rater: str
    run: str | None = None
    base: str | None = None
    other: str | None = None
    samples: Count | None = None
    seed: CountOrZero = 0
    out: Path | None = None
    port: Port = 0


def main(options: RateOptions) -> None:
    """Serve the page until Ctrl-C."""
    session, pictures, ratings = open_session(options)
    page = (files("editbench.views") / "templates" / "rate.html").read_text(encoding="utf-8")
    console = logs.console()
    with RatingServer(session, page, pictures.read, options.port) as server:
        state = session.state()
        said = f"{state['rated']} of {state['total']} rated by {options.rater} in {ratings.path.absolute()}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
        console.print(f"open {server.url} (Ctrl-C ends)", markup=False, highlight=False, soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            state = session.state()
    ratings.close()
    console.print(
        f"\n{state['rated']} of {state['total']} rated: {ratings.path.absolute()}", markup=False, soft_wrap=True
    )


def open_session(options: RateOptions) -> tuple[RatingSession, "Pictures", RatingsFile]:
    """Read what is to be rated, and what the rater has rated of it.

    Raises:
        UserError: an option is missing or wrong, or a run has nothing to rate.
    """
    if not options.rater.strip() or not options.rater.isprintable():
        raise UserError(f"rater={options.rater!r} is no name; give a name or initials")
    if (options.run is None) == (options.base is None and options.other is None):
        raise UserError("give either run=<run> or base=<run> other=<run>")
    base = None
    if options.run is not None:
        run = find_run(options.run)
        questions = [Question(edited) for edited in edited_samples(run)]
    elif options.base is None or options.other is None:
        raise UserError("a blind pair needs both base=<run> and other=<run>")
    else:
        run, base = find_run(options.other), find_run(options.base)
        questions = pair_edits(edited_samples(base), edited_samples(run))
    questions = arrange(questions, options.rater, options.seed, options.samples)
    pictures = Pictures(questions, run, base)
    path = options.out or run.root / ("ratings.csv" if base is None else "preferences.csv")
    ratings = RatingsFile(path, COLUMNS[questions[0].kind])
    return RatingSession(questions, ratings, options.rater), pictures, ratings


class Pictures:
    """Reads what the page shows, as PNG.

    Args:
        questions: What is asked.
        run: The run that is rated; sources come from its dataset.
        base: The run that its edits are compared with.
    """

    def __init__(self, questions: Sequence[Question], run: RunDir, base: RunDir | None) -> None:
        self._questions, self._run, self._base = questions, run, base
        self._sources = Sources(*check_sources(run.read_config()))
        self._lock = threading.Lock()

    def read(self, number: int, place: str) -> bytes:
        """Read one picture of a question: `source`, `source2` and on, or a place of one of its edits.

        Raises:
            ValueError: there is no such one, or it cannot be read.
        """
        if number >= len(self._questions):
            raise ValueError(f"there is no question {number}")
        question = self._questions[number]
        if place in question.source_places:
            if question.other.before:
                return read_edited(self._run.edits, question.other.before)
            with self._lock:
                sources = self._sources.read(question.other.sample)
            return images.encode_png(sources[question.source_places.index(place)])
        shown = question.shown().get(place)
        if shown is None:
            raise ValueError(f"there is no picture {place!r}")
        run = self._base if self._base is not None and shown is question.base else self._run
        return read_edited(run.edits, shown.edit)


if __name__ == "__main__":
    cli.run_with_options(main, RateOptions, __doc__)
