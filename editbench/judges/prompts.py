"""What the judge is asked about a sample: the criteria of the protocol, and their words filled in for the sample."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from editbench.config.protocol import SCORE, CriterionConfig
from editbench.config.schema import Config, RubricConfig
from editbench.errors import UserError
from editbench.judges.base import Form
from editbench.run.records import Sample

EDIT_FIRST = (
    "The two images are shown in the other order here: the edited image comes first, the source image second. Where "
    "the text below speaks of the first image it means the second, and the other way round.\n\n"
)
"""What goes before the user prompt where the edit is shown before its source."""

SEVERAL_SOURCES = (
    "There are {images} images here: {sources} source images, in the order in which the instruction counts them, and "
    "the edited image, which comes {place}. Where the text below speaks of the source image or the first image, it "
    "means the source images together; by the second image it means the edited image.\n\n"
)
"""What goes before the user prompt where the sample has several source images and the judge is shown them."""

REFERENCE = (
    "Behind all images that the text below speaks of stands one more: a reference, made by those who set the task, "
    "that shows a correct result. The editor was not given it. Use it to tell whether the edited image is right, which "
    "may be drawn otherwise; give it no score itself.\n\n"
)
"""What goes before the user prompt where the judge is also shown the sample's reference."""

SERIES = (
    "This edit is step {turn} of a series: each step changes what the step before has made of the picture. So the "
    "source image is the result of the steps before, whose instructions were:\n{earlier}\nJudge this step alone: by "
    "its own instruction, given below, and by what the earlier ones ask of the steps that come later.\n\n"
)
"""What goes before the user prompt where the sample follows others."""


@dataclass(frozen=True)
class Criterion:
    """What one request asks about a sample.

    Attributes:
        name: As the protocol calls it; empty: the one score by the rubric of the sample's category.
        title: What is judged, for people; a reply may call its score so.
        system, template: The system prompt, and the user prompt that is to be filled in.
        with_source: Whether the source image is shown too.
        with_reference: Whether the sample's reference is shown too, behind the others.
        form: The numbers that the reply is to hold; None: the rubric's one score.
        numbers: Their names in the protocol's formulas, in order.
        about: What `{category_criteria}` stands for.
    """

    name: str
    title: str
    system: str
    template: str
    with_source: bool
    form: Form | None = None
    numbers: tuple[str, ...] = ()
    about: str = ""
    with_reference: bool = False

    @property
    def can_be_completed(self) -> bool:
        """Whether a reply without what is asked for can go on behind `Score: `: that holds a single number."""
        return self.form is None or len(self.form.labels) == 1


def criteria_for(config: Config, sample: Sample) -> list[Criterion]:
    """What is asked about a sample, a request each: by its rubric, or by the criteria of a protocol that has some."""
    rubric = config.rubrics[sample.category]
    asked = config.protocol.criteria_of(sample.category, sample.extra)
    if not config.protocol.criteria:
        return [by_rubric(rubric, config.judge.compare_with_original)]
    return [_by_protocol(name, criterion, sample, rubric) for name, criterion in asked.items()]


def sees_reference(config: Config, sample: Sample) -> bool:
    """Whether the judge is shown a sample's reference under any criterion."""
    return any(criterion.with_reference for criterion in criteria_for(config, sample))


def by_rubric(rubric: RubricConfig, with_source: bool) -> Criterion:
    """The one score of a rubric."""
    template = rubric.user_template_with_source if with_source else rubric.user_template
    return Criterion("", rubric.title, rubric.system_prompt, template, with_source)


def _by_protocol(name: str, criterion: CriterionConfig, sample: Sample, rubric: RubricConfig) -> Criterion:
    words, (low, high) = criterion.words(sample.category), map(float, criterion.scale)
    labels = words.labels or [number.replace("_", " ").capitalize() for number in criterion.numbers]
    form = Form(name, tuple(labels), low, high, criterion.whole, criterion.title)
    shows_source = criterion.images == "source_and_edit"
    about = rubric.criteria.strip() or rubric.title
    shows_reference = criterion.reference and sample.reference is not None
    asked = (words.system_prompt, words.user_template, shows_source, form, tuple(criterion.numbers), about)
    return Criterion(name, criterion.title, *asked, shows_reference)


def prompts(criterion: Criterion, sample: Sample, edit_first: bool = False) -> tuple[str, str]:
    """Fill in the prompts of a criterion.

    Args:
        criterion: What is asked.
        sample: The sample.
        edit_first: Whether the judge is shown the edit before its source.

    Returns:
        The system prompt and the user prompt.
    """
    own = criterion.form is not None  # a rubric's system prompt is the same for all of its samples, braces too
    system = render(criterion.system, sample, criterion.about) if own else criterion.system
    user = render(criterion.template, sample, criterion.about)
    reference = REFERENCE * criterion.with_reference
    return system, _series(sample) + _order(sample, criterion.with_source, edit_first) + reference + user


def _series(sample: Sample) -> str:
    if not sample.earlier:
        return ""
    earlier = "\n".join(f"{turn}. {instruction}" for turn, instruction in enumerate(sample.earlier, start=1))
    return SERIES.format(turn=sample.turn, earlier=earlier)


def _order(sample: Sample, with_source: bool, edit_first: bool) -> str:
    """What is said of the images where they are not the source and then the edit."""
    if not with_source or sample.source_images == 1:
        return EDIT_FIRST * (edit_first and with_source)
    return SEVERAL_SOURCES.format(
        images=sample.source_images + 1, sources=sample.source_images, place="first" if edit_first else "last"
    )


def render(template: str, sample: Sample, about: str = "") -> str:
    """Fill in a template in one pass, so that braces in a description or instruction stay as they are."""
    values = {
        "original_description": sample.description,
        "edit_instruction": sample.instruction,
        "category_criteria": about,
    }
    return re.sub(rf"\{{({'|'.join(values)})\}}", lambda match: values[match[1]], template)


def refuse_unscored(config: Config, samples: Iterable[Sample]) -> None:
    """Refuse a protocol that gives a sample no score.

    Raises:
        UserError: names the first such category.
    """
    protocol = config.protocol
    for sample in samples if protocol.criteria else ():
        if SCORE not in protocol.scores_asked(sample.category, sample.extra):
            raise UserError(
                f"protocol={protocol.name} gives samples of category {sample.category!r} no score; choose another "
                "protocol, such as protocol=seed, or the rubrics that belong to it"
            )


def asked_words(config: Config, sample: Sample, edit_first: bool = False) -> list[str]:
    """All words that decide the judgment of a sample: what is asked, and how scores are made of the answers."""
    words: list[str] = []
    for criterion in criteria_for(config, sample):
        words += prompts(criterion, sample, edit_first)
        if form := criterion.form:
            numbers = [form.criterion, form.labels, form.low, form.high, form.whole, form.title, criterion.with_source]
            words.append(json.dumps(numbers))
    if config.protocol.criteria:
        words.append(json.dumps([config.protocol.scores, config.protocol.prompts_sha256]))
    return words
