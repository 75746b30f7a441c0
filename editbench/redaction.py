"""Secrets stay out of files, reports and errors.

Data is redacted by its keys. Text that others wrote, such as an exception's message, is searched for the secrets that
are known: those in the configuration, and those in the environment.
"""

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

REDACTED = "<redacted>"
"""Stands in files and reports in place of a secret."""

_SECRET_KEY = re.compile(
    r"(^|[_-]|(?<=[a-z])(?=[A-Z]))(?i:token|secrets?|passwords?|passwd|passphrase|credentials?|authorization|"
    r"((?<![a-z])(hf|auth|access|api)[_-]?tokens)|(api|access|secret|private|auth)[_-]?keys?)$"
)


def redact(value: Any, key: str = "") -> Any:
    """Copy plain data with everything replaced that looks like a secret by its key."""
    secret = _SECRET_KEY.search(key) is not None
    if isinstance(value, dict):
        return {name: redact(item, key if secret else str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [redact(item, key) for item in value]
    is_token_id = isinstance(value, int) and key.lower().endswith("token")
    return REDACTED if secret and value and not isinstance(value, bool) and not is_token_id else value


_known: list[str] = []

_SHORTEST_HIDDEN = 6
"""Shorter values, in characters, are not searched for in text: they stand in other words too."""


def learn_secrets(settings: Any) -> None:
    """Take note of the secrets in plain data and in the environment, for `hide`."""
    found = {str(value) for value in _secrets(settings) if len(str(value)) >= _SHORTEST_HIDDEN}
    found |= {
        value for name, value in os.environ.items() if _SECRET_KEY.search(name) and len(value) >= _SHORTEST_HIDDEN
    }
    _known[:] = sorted(found, key=len, reverse=True)


def hide(text: str) -> str:
    """Replace the known secrets in a text."""
    for secret in _known:
        text = text.replace(secret, REDACTED)
    return text


def _secrets(value: Any, key: str = "") -> Iterator[Any]:
    secret = _SECRET_KEY.search(key) is not None
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, key if secret else str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, key)
    elif redact(value, key) != value:
        yield value


def restore(value: Any, given: Any) -> Any:
    """Undo `redact` with what stands in its places in the data given now."""
    if isinstance(value, dict):
        given = given if isinstance(given, dict) else {}
        return {name: restore(item, given.get(name)) for name, item in value.items()}
    if isinstance(value, list):
        given = given if isinstance(given, list) and len(given) == len(value) else [None] * len(value)
        return [restore(item, other) for item, other in zip(value, given, strict=True)]
    return given if value == REDACTED else value


def without_secrets(sentence: str, overrides: Sequence[str]) -> str:
    """Hide the values, and all longer parts of them, of overrides that look like secrets by their keys."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value and _SECRET_KEY.search(key.split(".")[-1]):
            for part in sorted({value, *re.findall(r"[\w-]{4,}", value)}, key=len, reverse=True):
                sentence = sentence.replace(part, REDACTED)
    return sentence
