"""Questions made from nothing, and the rating page served in a thread, with pictures made from numbers."""

import contextlib
import csv
import threading
from collections.abc import Iterator
from pathlib import Path

from benchmark_file import make_picture, png_bytes
from running import CHECKOUT

from editbench.ratings.from_run import Edited
from editbench.ratings.questions import COLUMNS, Question, pair_edits
from editbench.ratings.ratings_file import RatingsFile
from editbench.ratings.server import RatingServer
from editbench.ratings.session import RatingSession
from editbench.run.records import Edit, Sample

PAGE = CHECKOUT / "editbench" / "views" / "templates" / "rate.html"
UNREADABLE = "unreadable"
"""A question of a sample of this name has no source."""


def edited(sample_id, run="new", instruction="Change it"):
    sample = Sample(0, sample_id, "key", "physical", instruction, "", "ab" * 32, [0])
    sha256 = f"{sample_id}-{run}"
    return Edited(sample, Edit(sample_id, "physical", "edited", "unit", f"input of {sample_id}", 1, sha256=sha256))


def singles(n):
    return [Question(edited(f"s{i}")) for i in range(n)]


def pairs(n):
    return pair_edits([edited(f"s{i}", "old") for i in range(n)], [edited(f"s{i}") for i in range(n)])


def session(path, questions, rater="ann"):
    return RatingSession(questions, RatingsFile(path, COLUMNS[questions[0].kind]), rater)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@contextlib.contextmanager
def serving(path: Path, questions: list[Question], port: int = 0) -> Iterator[RatingServer]:
    """Ratings by `ann` go to the path."""

    def read_image(number: int, place: str) -> bytes:
        if place not in ("source", *questions[number].shown()) or questions[number].sample_id == UNREADABLE:
            raise ValueError(f"there is no picture {place!r}")
        return png_bytes(make_picture(number))

    ratings = RatingsFile(path, COLUMNS[questions[0].kind])
    session = RatingSession(questions, ratings, "ann")
    with RatingServer(session, PAGE.read_text(encoding="utf-8"), read_image, port) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            ratings.close()
