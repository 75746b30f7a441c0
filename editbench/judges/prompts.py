"""The words the judge is given: a category's prompts, filled in for a sample."""

import re

from editbench.config.schema import RubricConfig
from editbench.run.records import Sample


def prompts(rubric: RubricConfig, sample: Sample, with_source: bool) -> tuple[str, str]:
    """Fill in the prompts of a sample.

    Args:
        rubric: The rubric of the sample's category.
        sample: The sample.
        with_source: Whether the judge is shown the source image too.

    Returns:
        The system prompt and the user prompt.
    """
    template = rubric.user_template_with_source if with_source else rubric.user_template
    return rubric.system_prompt, render(template, sample)


def render(template: str, sample: Sample) -> str:
    """Fill in a template in one pass, so that braces in a description or instruction stay as they are."""
    values = {"original_description": sample.description, "edit_instruction": sample.instruction}
    return re.sub(r"\{(original_description|edit_instruction)\}", lambda match: values[match.group(1)], template)
