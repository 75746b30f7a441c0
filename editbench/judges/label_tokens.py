"""The tokens of labels: mode `expected` reads the probability of one token for each."""

from collections.abc import Sequence
from typing import Any

from editbench.config.schema import ANSWER_START
from editbench.errors import UserError
from editbench.judges.chat_template import ChatTemplate


def find_label_tokens(template: ChatTemplate, tokenizer: Any, labels: Sequence[str]) -> dict[str, int]:
    """Find the token of each label as it stands behind the answer's start.

    Args:
        template: How the judge is asked.
        tokenizer: Its tokenizer.
        labels: The labels.

    Raises:
        UserError: a label is not one token there, or the judge would think first.
    """
    if template.opening:
        raise UserError(
            "judge.mode=expected: this judge's chat template opens a block of thinking, and a label there is no "
            "answer; close it with judge.thinking=false, or use judge.mode=generate"
        )
    start = _tokens(tokenizer, ANSWER_START)
    found: dict[str, int] = {}
    for label in labels:
        tokens = _tokens(tokenizer, ANSWER_START + label)
        if tokens[:-1] != start:
            raise UserError(
                f"judge.labels: {label!r} is no token of its own behind {ANSWER_START!r} for this judge; "
                "the digits 0 to 9 are"
            )
        found[label] = tokens[-1]
    return found


def _tokens(tokenizer: Any, text: str) -> list[int]:
    tokens: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return tokens
