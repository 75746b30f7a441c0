"""What a dataset says of a sample beside what editbench uses; it goes into the plan as it is."""

import json
import math
from collections.abc import Container, Mapping
from typing import Any

MAX_EXTRA_CHARS = 4000
"""A longer value (a mask in base64, a drawing) stays in the dataset; characters of its JSON."""


def extra_fields(fields: Mapping[str, Any], used: Container[str]) -> dict[str, Any]:
    """Keep the fields that are not used, as plain data: no bytes, no value that is too long, null for NaN."""
    kept = {str(name): _plain(value) for name, value in fields.items() if name not in used and name is not None}
    return {name: value for name, value in kept.items() if _fits(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bytes) else str(value)


def _fits(value: Any) -> bool:
    try:
        return len(json.dumps(value, ensure_ascii=False)) <= MAX_EXTRA_CHARS
    except TypeError:  # bytes somewhere inside
        return False
