"""The words the judge is given: a category's prompts, filled in for a sample."""

import re

from editbench.config.schema import RubricConfig
from editbench.run.records import Sample

EDIT_FIRST = (
    "The two images are shown in the other order here: the edited image comes first, the source image second. Where "
    "the text below speaks of the first image it means the second, and the other way round.\n\n"
)
"""What goes before the user prompt where the edit is shown before its source."""


def prompts(rubric: RubricConfig, sample: Sample, with_source: bool, edit_first: bool = False) -> tuple[str, str]:
    """Fill in the prompts of a sample.

    Args:
        rubric: The rubric of the sample's category.
        sample: The sample.
        with_source: Whether the judge is shown the source image too.
        edit_first: Whether it is shown the edit before its source.

    Returns:
        The system prompt and the user prompt.
    """
    template = rubric.user_template_with_source if with_source else rubric.user_template
    return rubric.system_prompt, EDIT_FIRST * edit_first + render(template, sample)


def render(template: str, sample: Sample) -> str:
    """Fill in a template in one pass, so that braces in a description or instruction stay as they are."""
    values = {"original_description": sample.description, "edit_instruction": sample.instruction}
    return re.sub(r"\{(original_description|edit_instruction)\}", lambda match: values[match.group(1)], template)
