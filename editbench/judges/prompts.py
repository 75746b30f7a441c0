"""The words the judge is given: a category's prompts, filled in for a sample."""

import re

from editbench.config.schema import RubricConfig
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

SERIES = (
    "This edit is step {turn} of a series: each step changes what the step before has made of the picture. So the "
    "source image is the result of the steps before, whose instructions were:\n{earlier}\nJudge this step alone: by "
    "its own instruction, given below, and by what the earlier ones ask of the steps that come later.\n\n"
)
"""What goes before the user prompt where the sample follows others."""


def prompts(rubric: RubricConfig, sample: Sample, with_source: bool, edit_first: bool = False) -> tuple[str, str]:
    """Fill in the prompts of a sample.

    Args:
        rubric: The rubric of the sample's category.
        sample: The sample.
        with_source: Whether the judge is shown the source images too.
        edit_first: Whether it is shown the edit before its source.

    Returns:
        The system prompt and the user prompt.
    """
    template = rubric.user_template_with_source if with_source else rubric.user_template
    said = _series(sample) + _order(sample, with_source, edit_first)
    return rubric.system_prompt, said + render(template, sample)


def _series(sample: Sample) -> str:
    if not sample.earlier:
        return ""
    earlier = "\n".join(f"{turn}. {instruction}" for turn, instruction in enumerate(sample.earlier, start=1))
    return SERIES.format(turn=sample.turn, earlier=earlier)


def _order(sample: Sample, with_source: bool, edit_first: bool) -> str:
    """What is said of the images where they are not the source and then the edit."""
    if not with_source or sample.source_images == 1:
        return EDIT_FIRST * edit_first
    return SEVERAL_SOURCES.format(
        images=sample.source_images + 1, sources=sample.source_images, place="first" if edit_first else "last"
    )


def render(template: str, sample: Sample) -> str:
    """Fill in a template in one pass, so that braces in a description or instruction stay as they are."""
    values = {"original_description": sample.description, "edit_instruction": sample.instruction}
    return re.sub(r"\{(original_description|edit_instruction)\}", lambda match: values[match.group(1)], template)
