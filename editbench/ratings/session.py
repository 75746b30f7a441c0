"""One person's way through the questions: what comes next, what is done, what is taken back."""

import threading
from collections.abc import Sequence
from typing import Any

from editbench.ratings.questions import Question
from editbench.ratings.ratings_file import RatingsFile
from editbench.run.folder import utc_now


class OutdatedError(ValueError):
    """An answer to a question that is not the current one: sent twice, or from another window."""


class RatingSession:
    """Asks for what the rater has not rated yet; any number of threads may call it.

    Args:
        questions: In the rater's order.
        ratings: Where answers go; what it holds of the rater is done.
        rater: The name.
    """

    def __init__(self, questions: Sequence[Question], ratings: RatingsFile, rater: str) -> None:
        self.questions = questions
        self._ratings, self._rater = ratings, rater
        done = {_identity(row) for row in ratings.rows if row["rater"] == rater}
        self._open = [
            number
            for number, question in enumerate(questions)
            if _identity({"sample_id": question.sample_id, **question.images()}) not in done
        ]
        self._answered: list[int] = []
        self._skipped: list[int] = []
        self._lock = threading.Lock()

    def state(self) -> dict[str, Any]:
        """What the page shows: counts, and the current question, None if there is none left."""
        with self._lock:
            return self._state()

    def answer(self, number: int, answer: Any) -> dict[str, Any]:
        """Write down the answer to the current question.

        Raises:
            OutdatedError: another question is the current one.
            ValueError: it is no answer.
        """
        with self._lock:
            self._check_current(number)
            row = self.questions[number].row(answer)
            self._ratings.append({**row, "rater": self._rater, "rated_at": utc_now()})
            self._answered.append(self._open.pop(0))
            return self._state()

    def skip(self, number: int) -> dict[str, Any]:
        """Leave out the current question; the next start asks it again."""
        with self._lock:
            self._check_current(number)
            self._skipped.append(self._open.pop(0))
            return self._state()

    def undo(self) -> dict[str, Any]:
        """Take back the last answer of this session and ask again; without one nothing happens."""
        with self._lock:
            if self._answered:
                self._ratings.undo()
                self._open.insert(0, self._answered.pop())
            return self._state()

    def _check_current(self, number: int) -> None:
        if self._open[:1] != [number]:
            raise OutdatedError("this is not the current question; nothing was written")

    def _state(self) -> dict[str, Any]:
        total, left = len(self.questions), len(self._open)
        state: dict[str, Any] = {
            "total": total,
            "rated": total - left - len(self._skipped),
            "skipped": len(self._skipped),
            "can_undo": bool(self._answered),
            "question": None,
            "next": self._ask(self._open[1]) if left > 1 else None,
        }
        if left:
            question = self.questions[self._open[0]]
            state["question"] = self._ask(self._open[0]) | {"instruction": question.other.sample.instruction}
        return state

    def _ask(self, number: int) -> dict[str, Any]:
        return {"number": number, "images": [*self.questions[number].source_places, *self.questions[number].shown()]}


def _identity(row: dict[str, str]) -> tuple[str | None, ...]:
    """What is rated: a sample, by these images."""
    return row["sample_id"], row["image_sha256"], row.get("base_sha256")
