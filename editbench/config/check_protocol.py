"""Whether a protocol holds together, and fits the rubrics and the judge's settings; refused before models load."""

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator

from editbench.config.formulas import names_in
from editbench.config.protocol import SCORE, CriterionConfig, OffScaleError, ProtocolConfig
from editbench.config.schema import JudgeConfig, RubricConfig
from editbench.errors import UserError

MOST_NUMBERS = 12
"""Of so many numbers at most formulas are tried out at all ends of their scales."""

PLACEHOLDERS = ("original_description", "edit_instruction", "category_criteria")


def check_protocol(protocol: ProtocolConfig, judge: JudgeConfig, rubrics: dict[str, RubricConfig]) -> None:
    """Check a protocol; one without criteria asks by the rubrics alone, and has nothing to check but its scale.

    Raises:
        UserError: a sentence names the key, what was found, and what to do.
    """
    if not protocol.criteria:
        if protocol.scale[0] < 0:
            raise UserError(f"protocol{_below_0(protocol.scale)}")
        return
    _check_judge(protocol, judge)
    known = {number: name for name, criterion in protocol.criteria.items() for number in criterion.numbers}
    if len(known) < sum(len(criterion.numbers) for criterion in protocol.criteria.values()):
        raise UserError("protocol.criteria: two criteria have a number of the same name; each needs one of its own")
    for name, criterion in protocol.criteria.items():
        for problem in _problems(criterion, rubrics):
            raise UserError(f"protocol.criteria.{name}{problem}")
    _check_scores(protocol, set(known))
    for name, figure in protocol.figures.items():
        if unknown := set(figure.of) - set(protocol.scores):
            raise UserError(f"protocol.figures.{name}.of: there is no score {min(unknown)!r} in protocol.scores")
    _check_categories(protocol, rubrics)
    spared = {one.unless: True for one in protocol.criteria.values() if one.unless}
    asked = [tuple(protocol.criteria_of(category, extra)) for category in rubrics for extra in ({}, spared)]
    for criteria in dict.fromkeys(asked):
        _check_values(protocol, criteria)


def _below_0(scale: list[float]) -> str:
    low, high = scale
    return (
        f".scale=[{low:g}, {high:g}]: begins below 0, and no minus sign is read from a reply; ask for numbers from 0 on"
    )


def _check_judge(protocol: ProtocolConfig, judge: JudgeConfig) -> None:
    if judge.mode == "expected":
        several = next((name for name, one in protocol.criteria.items() if len(one.numbers) > 1), None)
        why = f"criterion {several} asks for several in one reply" if several else "its figures count whole numbers"
        raise UserError(
            f"judge.mode=expected gives one expected value per request, and of protocol={protocol.name} {why}; use "
            "judge.mode=generate, or protocol=seed"
        )
    if judge.compare_with_original:
        raise UserError(
            f"judge.compare_with_original=true has no effect with protocol={protocol.name}, whose criteria say which "
            "images the judge sees; give judge.compare_with_original=false, or protocol=seed"
        )


def _check_categories(protocol: ProtocolConfig, rubrics: dict[str, RubricConfig]) -> None:
    """Categories that a criterion is of, or has words of its own for, and those of a figure have a rubric, or another
    part names them: a protocol can stand beside the rubrics of another dataset."""
    named = {f"protocol.criteria.{name}.categories": one.categories or [] for name, one in protocol.criteria.items()}
    named |= {f"protocol.figures.{name}.categories": one.categories or [] for name, one in protocol.figures.items()}
    for place, categories in named.items():
        others = [own for other, own in named.items() if other != place]
        _refuse_unknown(place, categories, {*rubrics}.union(*others))
    for name, criterion in protocol.criteria.items():
        _refuse_unknown(
            f"protocol.criteria.{name}.by_category", criterion.by_category, {*rubrics}.union(*named.values())
        )


def _refuse_unknown(place: str, given: Iterable[str], known: set[str]) -> None:
    for category in given:
        if category not in known:
            near = difflib.get_close_matches(category, known, 1, 0.6) or sorted(known)[:20]
            raise UserError(f"{place}: there is no category {category!r}; there is {', '.join(near)}")


def _problems(criterion: CriterionConfig, rubrics: dict[str, RubricConfig]) -> Iterator[str]:
    """What is wrong with a criterion, each as the end of a sentence that begins with its key."""
    if criterion.scale[0] < 0:
        yield f"{_below_0(criterion.scale)}, and let protocol.scores take away from them"
    asked = [name for name in rubrics if criterion.categories is None or name in criterion.categories]
    for category in asked:
        words = criterion.words(category)
        if not words.user_template.strip():
            yield f": has no user_template for category {category}; give one, or one for all"
        unknown = set(re.findall(r"\{(\w+)\}", words.system_prompt + words.user_template)) - {*PLACEHOLDERS}
        if unknown:
            yield (
                f": the prompts have the placeholder {{{min(unknown)}}}; known are "
                + ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            )
        if words.labels is not None and not len(set(words.labels)) == len(words.labels) == len(criterion.numbers):
            yield f".labels={words.labels}: must be a different one for each of {', '.join(criterion.numbers)}"


def _check_scores(protocol: ProtocolConfig, known: set[str]) -> None:
    for name, formulas in protocol.scores.items():
        if name in known:
            raise UserError(f"protocol.scores.{name}: a number has that name already; give another")
        for formula in formulas:
            try:
                unknown = names_in(formula) - known
            except ValueError as error:
                raise UserError(f"protocol.scores.{name}: {error}") from error
            if unknown:
                raise UserError(
                    f"protocol.scores.{name}: {formula!r} needs {min(unknown)!r}, which is no number of a criterion "
                    "nor a score above it"
                )
        known.add(name)
    if SCORE not in protocol.scores:
        raise UserError(f"protocol.scores: there is no {SCORE!r}; that is what a sample's one score is called")


def _check_values(protocol: ProtocolConfig, asked: tuple[str, ...]) -> None:
    """Compute the scores where the numbers are lowest and highest: on their scale, and with a value somewhere."""
    ends = {number: protocol.criteria[name].scale for name in asked for number in protocol.criteria[name].numbers}
    if len(ends) > MOST_NUMBERS:
        return
    corners = [dict(zip(ends, values, strict=True)) for values in itertools.product(*ends.values())]
    causes = [protocol.causes(asked, numbers) for numbers in corners]
    for name in protocol.scores:
        errors = [found.get(name) for found in causes]
        for numbers, error in zip(corners, errors, strict=True):
            if isinstance(error, OffScaleError) or (error and all(errors)):
                at = " and ".join(f"{number}={value:g}" for number, value in numbers.items())
                raise UserError(f"protocol.scores.{name}: where {at}, it has no value ({error}); give another formula")
