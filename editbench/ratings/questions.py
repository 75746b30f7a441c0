"""What a person is asked: single edits, or blind pairs of edits of the same sample, in an order of their own."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from editbench.errors import UserError
from editbench.ratings.from_run import Edited

Kind = Literal["single", "pair"]

COLUMNS: dict[Kind, list[str]] = {
    "single": ["sample_id", "source", "image_sha256", "rater", "score", "rated_at"],
    "pair": ["sample_id", "source", "image_sha256", "base_sha256", "rater", "preference", "left", "rated_at"],
}
"""Columns of the CSV. `preference` is 1 where the other run's edit is better, -1 where the base's is, 0 for a tie."""

HIGHEST_SCORE = 10
_PREFERENCES = {("left", "base"): -1, ("right", "base"): 1, ("left", "other"): 1, ("right", "other"): -1}


@dataclass(frozen=True)
class Question:
    """One thing to be rated.

    Attributes:
        other: The edit; of a pair, that of the run which is compared.
        base: Of a pair, the edit of the run which it is compared with.
        left: Of a pair, whose edit is shown on the left.
    """

    other: Edited
    base: Edited | None = None
    left: Literal["base", "other"] = "base"

    @property
    def kind(self) -> Kind:
        """Whether one edit is shown or two."""
        return "single" if self.base is None else "pair"

    @property
    def sample_id(self) -> str:
        """Which sample is shown."""
        return self.other.sample.sample_id

    @property
    def source_places(self) -> list[str]:
        """Places of the source images on the page: `source`, and `source2` and on where there are several."""
        return ["source", *(f"source{number}" for number in range(2, self.other.sample.source_images + 1))]

    def shown(self) -> dict[str, Edited]:
        """The edits by their place on the page."""
        if self.base is None:
            return {"edited": self.other}
        sides = (self.base, self.other) if self.left == "base" else (self.other, self.base)
        return dict(zip(("left", "right"), sides, strict=True))

    def images(self) -> dict[str, str]:
        """Digests of the edits, as the CSV holds them."""
        base = {} if self.base is None else {"base_sha256": str(self.base.edit.sha256)}
        return {"image_sha256": str(self.other.edit.sha256), **base}

    def row(self, answer: Any) -> dict[str, Any]:
        """What the CSV says of an answer.

        Args:
            answer: A whole number from 0 to 10; of a pair `left`, `right` or `tie`, whichever is better.

        Raises:
            ValueError: it is something else.
        """
        row = {"sample_id": self.sample_id, "source": self.other.source, **self.images()}
        if self.base is not None:
            if answer not in ("left", "right", "tie"):
                raise ValueError("a pair is answered by left, right or tie")
            return row | {"preference": _PREFERENCES.get((answer, self.left), 0), "left": self.left}
        if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer <= HIGHEST_SCORE:
            raise ValueError(f"a score is a whole number from 0 to {HIGHEST_SCORE}")
        return row | {"score": answer}


def pair_edits(base: Sequence[Edited], other: Sequence[Edited]) -> list[Question]:
    """Pair the edits of two runs that were given the same source and instruction.

    Raises:
        UserError: there are none.
    """
    of_base = {_given(edited): edited for edited in base}
    pairs = [Question(edited, of_base[key]) for edited in other if (key := _given(edited)) in of_base]
    if not pairs:
        raise UserError(
            "base and other have no edit of the same sample, source and instruction; give runs of one dataset"
        )
    return pairs


def _given(edited: Edited) -> tuple[str, str, str | None]:
    """What the editor was given; later turns were given what the run itself had made, and are seldom a pair."""
    return edited.sample.sample_id, edited.edit.input, edited.edit.follows_sha256


def arrange(questions: Sequence[Question], rater: str, seed: int, samples: int | None) -> list[Question]:
    """Choose questions, and put them into the rater's order.

    The choice follows from the seed alone, so that all raters see the same; order and sides from seed and rater. Of
    every two pairs in a row one has the base on the left, so that any part of a session is balanced.

    Args:
        questions: All there are.
        rater: A name.
        seed: Another one, another order.
        samples: How many to choose; None: all.
    """
    chosen = list(questions)
    if samples is not None and samples < len(chosen):
        chosen = random.Random(f"samples {seed}").sample(chosen, samples)
    of_rater = random.Random(f"order {seed} {rater}")
    of_rater.shuffle(chosen)
    arranged: list[Question] = []
    for first in range(0, len(chosen), 2):
        sides: list[Literal["base", "other"]] = ["base", "other"]
        of_rater.shuffle(sides)
        arranged += [replace(q, left=side) for q, side in zip(chosen[first : first + 2], sides, strict=False)]
    return arranged
