"""What others wrote, made harmless: control characters, secrets, and the special tokens of models.

Data is redacted by its keys. Text, such as an exception's message, is searched for the secrets that are known: those in
the configuration, and those in the environment.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from typing import Any

WORD_JOINER = "\N{WORD JOINER}"
"""Invisible, and no tokenizer joins it with its neighbours into a special token."""

_VOCABULARY = 2**20
"""Numbers below it may be the id of a token; larger ones are a token to log in with."""

_SECRET_KEY = re.compile(
    r"(^|[_-]|(?<=[a-z])(?=[A-Z]))(?i:token|secrets?|passwords?|passwd|passphrase|credentials?|authorization|"
    r"((?<![a-z])(hf|auth|access|api)[_-]?tokens)|(api|access|secret|private|auth)[_-]?keys?)$"
)
_REDACTED = re.compile("<redacted( [0-9a-f]{12})?>")
_SHORTEST_HIDDEN = 6
"""Shorter values, in characters, are not searched for in text: they stand in other words too."""

_known: list[str] = []


def printable(text: str, kept: str = "") -> str:
    """Replace control characters but those kept, so that text from files and models cannot act in a terminal."""
    return "".join(
        character if character.isprintable() or character in kept else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def kind(value: Any) -> str:
    """What a value of JSON is, for a sentence: `null`, `an int`, `a list`."""
    name = type(value).__name__
    return "null" if value is None else f"an {name}" if name[0] in "aeiou" else f"a {name}"


def redact(value: Any, key: str = "") -> Any:
    """Copy plain data with a digest in place of everything that looks like a secret by its key.

    Different secrets stay different, so what decides a result can be compared after it. What is redacted already stays.
    """
    secret = _SECRET_KEY.search(key) is not None
    if isinstance(value, dict):
        return {name: redact(item, key if secret else str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [redact(item, key) for item in value]
    is_token_id = isinstance(value, int) and value < _VOCABULARY and key.lower().endswith("token")
    if not secret or not value or isinstance(value, bool) or is_token_id or _REDACTED.fullmatch(str(value)):
        return value
    return f"<redacted {hashlib.sha256(str(value).encode()).hexdigest()[:12]}>"


def restore(value: Any, given: Any) -> Any:
    """Undo `redact` with what stands in its places in the data given now."""
    if isinstance(value, dict):
        given = given if isinstance(given, dict) else {}
        return {name: restore(item, given.get(name)) for name, item in value.items()}
    if isinstance(value, list):
        given = given if isinstance(given, list) and len(given) == len(value) else [None] * len(value)
        return [restore(item, other) for item, other in zip(value, given, strict=True)]
    return given if isinstance(value, str) and _REDACTED.fullmatch(value) else value


def learn_secrets(settings: Any) -> None:
    """Take note of the secrets in plain data and in the environment, for `hide`."""
    found = {str(value) for value, shown in _pairs(settings, redact(settings)) if value != shown}
    found |= {value for name, value in os.environ.items() if _SECRET_KEY.search(name)}
    _known[:] = sorted({*_known, *(value for value in found if len(value) >= _SHORTEST_HIDDEN)}, key=len, reverse=True)


def _pairs(value: Any, shown: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield from _pairs(value[name], shown[name])
    else:
        yield value, shown


def hide(text: str) -> str:
    """Replace the known secrets in a text."""
    for secret in _known:
        text = text.replace(secret, "<redacted>")
    return text


def as_plain_text(text: str, tokenizer: Any) -> str:
    """Keep text from datasets text: no instruction can end a turn or start another one in a model's prompt.

    Args:
        text: A description or instruction.
        tokenizer: A transformers tokenizer; None if the model has none.

    Returns:
        The text, with a word joiner behind the first character of each special token in it, such as `<|im_start|>`.
    """
    tokens = [token for token in tokenizer.get_added_vocab() if token] if tokenizer is not None else []
    if not tokens:
        return text
    pattern = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    return re.sub(pattern, lambda match: match.group()[0] + WORD_JOINER + match.group()[1:], text)
