"""Keeps text from datasets text: no instruction can end a turn or start another one in a model's prompt."""

import re
from typing import Any

WORD_JOINER = "\N{WORD JOINER}"
"""Invisible, and no tokenizer joins it with its neighbours into a special token."""


def as_plain_text(text: str, tokenizer: Any) -> str:
    """Break up what the tokenizer would read as one of its special tokens, such as `<|im_start|>`.

    Args:
        text: A description or instruction.
        tokenizer: A transformers tokenizer; None if the model has none.

    Returns:
        The text, with a word joiner behind the first character of each special token in it.
    """
    tokens = [token for token in tokenizer.get_added_vocab() if token] if tokenizer is not None else []
    if not tokens:
        return text
    pattern = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    return re.sub(pattern, lambda match: match.group()[0] + WORD_JOINER + match.group()[1:], text)
