"""What a protocol is: criteria under which the judge is asked, and how their numbers make scores and figures.

Plain data from `conf/protocol/`, and what follows from it alone: which criteria a sample is judged under, and which
scores follow from the numbers of the replies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from editbench.config.annotations import Rule
from editbench.config.formulas import evaluate, names_in

SCORE = "score"
"""Name of the formula that gives a sample's one score."""

DECIMALS = 6
"""What scores are rounded to, so that a stored judgment gives them again exactly."""


class OffScaleError(ValueError):
    """A formula gives what is not on its scale."""


Scale = Annotated[
    list[float],
    Rule(lambda scale: len(scale) == 2 and scale[0] < scale[1], "a lower and a higher number: [0, 10]"),
]
Names = Annotated[list[str], Rule(lambda names: 0 < len(names) == len(set(names)), "a list of different names")]


@dataclass(frozen=True)
class PromptConfig:
    """The words of one criterion for one category."""

    user_template: str
    """With {edit_instruction}, {original_description} and {category_criteria} where they are wanted."""
    system_prompt: str = ""
    labels: list[str] | None = None
    """What the reply calls the numbers, in their order; None: as the criterion says."""


@dataclass(frozen=True)
class CriterionConfig:
    """What the judge is asked in one request."""

    title: str
    """What is judged, for people; a reply with a single number may call it so."""
    numbers: Names
    """Names of the numbers that the reply holds, in order."""
    scale: Scale
    """Lowest and highest value of each."""
    user_template: str
    """As in `PromptConfig`."""
    system_prompt: str = ""
    """The same for all categories, so that what requests begin with is read once."""
    images: Literal["edit", "source_and_edit"] = "source_and_edit"
    """What the judge is shown."""
    reference: bool = False
    """Whether the judge is also shown the sample's reference image, behind the others, where it has one."""
    whole: bool = True
    """Whether the numbers are whole ones; others are then no numbers."""
    labels: list[str] | None = None
    """What the reply calls the numbers, in order; None: by their names."""
    categories: list[str] | None = None
    """Rubrics of the samples that are judged under it; None: all."""
    unless: str | None = None
    """Field of a record that takes the sample out of it, where it holds anything but false."""
    by_category: dict[str, PromptConfig] = field(default_factory=dict)
    """Other words for single categories."""

    def asked_of(self, category: str, extra: Mapping[str, Any]) -> bool:
        """Whether a sample of this category, with these other fields, is judged under it."""
        return (self.categories is None or category in self.categories) and not (
            self.unless and holds(extra.get(self.unless))
        )

    def words(self, category: str) -> PromptConfig:
        """What the judge is told for a category."""
        own = PromptConfig(self.user_template, self.system_prompt, self.labels)
        return self.by_category.get(category, own)


@dataclass(frozen=True)
class FigureConfig:
    """A number of the whole benchmark, made of the samples' scores."""

    of: Names
    """Scores it is the mean of; of several, each value counts for itself."""
    mean_of: Literal["samples", "categories"] = "samples"
    """`samples`: all alike; `categories`: the unweighted mean of the categories' means."""
    categories: list[str] | None = None
    """Rubrics whose samples count; None: all."""
    where: str | None = None
    """Field of a record without which the sample does not count."""
    scale: Scale | None = None
    """Lowest and highest value; None: the protocol's."""
    unit: str = ""
    """What stands behind the number, such as `%`."""


@dataclass(frozen=True)
class PublishedConfig:
    """What others have published of an editor."""

    editor: str
    figures: dict[str, float]
    """Figures of this protocol by name."""
    source: str
    language: str = ""
    """Of which language's samples, as `language_field` has it; empty: of all, or not known."""
    judge: str = ""
    date: str = ""
    """When it was read there."""


@dataclass(frozen=True)
class ProtocolConfig:
    """How edits are judged; without criteria each gets one score by the rubric of its category."""

    name: str = "seed"
    scale: Scale = field(default_factory=lambda: [0.0, 10.0])
    """Lowest and highest score of a sample."""
    prompts: str | None = None
    """File with the benchmark's own prompts in place of ours."""
    prompts_sha256: str | None = None
    """Digest of that file; its prompts then stand in `criteria`."""
    criteria: dict[str, CriterionConfig] = field(default_factory=dict)
    """By name, in the order in which the judge is asked."""
    scores: dict[str, list[str]] = field(default_factory=dict)
    """Named scores of a sample by formulas of the numbers and of the scores before; `score` is the sample's one score.
    Of several formulas the first counts whose numbers were asked for."""
    figures: dict[str, FigureConfig] = field(default_factory=dict)
    """Of the whole benchmark, by name, the one that is published first."""
    language_field: str | None = None
    """Field of a record that tells its language: where samples are in several, each has figures of its own, as
    publishers give them; None: all count together."""
    published: list[PublishedConfig] = field(default_factory=list)
    """What others have published, for the report."""

    def criteria_of(self, category: str, extra: Mapping[str, Any]) -> dict[str, CriterionConfig]:
        """The criteria under which a sample is judged."""
        return {name: one for name, one in self.criteria.items() if one.asked_of(category, extra)}

    def scores_of(self, asked: Sequence[str], numbers: Mapping[str, float | None]) -> dict[str, float | None]:
        """Give the scores that follow from numbers.

        Args:
            asked: Names of the criteria that the sample was judged under.
            numbers: By name; None, or nothing, where a reply did not hold it.

        Returns:
            Every score that was asked for, to six decimals; None where one of its numbers is missing, where its formula
            has no value, and where that is outside the scale.
        """
        return self._follow(asked, numbers)[0]

    def causes(self, asked: Sequence[str], numbers: Mapping[str, float | None]) -> dict[str, Exception]:
        """Why scores have no value although their numbers are there, by name; arguments as in `scores_of`."""
        return self._follow(asked, numbers)[1]

    def _follow(
        self, asked: Sequence[str], numbers: Mapping[str, float | None]
    ) -> tuple[dict[str, float | None], dict[str, Exception]]:
        known: dict[str, float | None] = {
            number: numbers.get(number) for name in asked for number in self.criteria[name].numbers
        }
        found: dict[str, float | None] = {}
        causes: dict[str, Exception] = {}
        for name, formulas in self.scores.items():
            formula = next((one for one in formulas if names_in(one) <= known.keys()), None)
            if formula is None:
                continue
            try:
                value = _compute(formula, known)
                outside = [ends for ends in self._bounds_of(name) if value is not None and not _within(value, ends)]
                if outside:
                    raise OffScaleError(f"{value:g} is not from {outside[0][0]:g} to {outside[0][1]:g}")
            except (ValueError, ArithmeticError) as error:
                value, causes[name] = None, error
            found[name] = known[name] = value
        return found, causes

    def _bounds_of(self, score: str) -> list[tuple[float, float]]:
        """Scales that a score is on: that of samples, and those of the figures that are made of it."""
        own = [(self.scale[0], self.scale[1])] if score == SCORE else []
        return own + [self.bounds(name) for name, figure in self.figures.items() if score in figure.of]

    def scores_asked(self, category: str, extra: Mapping[str, Any]) -> set[str]:
        """Names of the scores that a sample gets; empty if it is judged under no criterion."""
        return set(self.scores_of(list(self.criteria_of(category, extra)), {}))

    def bounds(self, figure: str) -> tuple[float, float]:
        """Lowest and highest value of a figure."""
        low, high = self.figures[figure].scale or self.scale
        return low, high


def _compute(formula: str, known: Mapping[str, float | None]) -> float | None:
    values = {name: value for name in names_in(formula) if (value := known[name]) is not None}
    return round(evaluate(formula, values), DECIMALS) if values.keys() == names_in(formula) else None


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]


def holds(value: Any) -> bool:
    """Whether a field of a record says yes: tables fill what is missing with NaN, which does not."""
    return bool(value) and value == value and str(value).strip().lower() not in ("", "false", "no", "0", "nan", "none")
