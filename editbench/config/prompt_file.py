"""A benchmark's own prompts, from a user's file, in place of those that come with a protocol."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from editbench.errors import UserError

_WORDS = {"system_prompt", "user_template", "labels"}


def with_prompts(protocol: dict[str, Any]) -> dict[str, Any]:
    """Put the prompts of `protocol.prompts` into a protocol.

    Args:
        protocol: The section of the configuration, as plain data.

    Returns:
        The same with the file's words, and its digest, so that a run folder holds all that the judge was told; the
        section itself where no file is named, or where its prompts stand there already.

    Raises:
        UserError: the file cannot be read, or lacks the words of a criterion.
    """
    if not protocol.get("prompts") or protocol.get("prompts_sha256"):
        return protocol
    place, criteria = f"protocol.prompts={protocol['prompts']}", protocol.get("criteria") or {}
    if not criteria:
        raise UserError(f"{place}: protocol={protocol.get('name')} takes its prompts from the rubrics; set those")
    try:
        data = Path(protocol["prompts"]).expanduser().read_bytes()
        given = yaml.safe_load(data.decode())
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({error.strerror}); give a YAML or JSON file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{place}: is neither YAML nor JSON ({' '.join(str(error).split())})") from error
    if not isinstance(given, dict) or set(given) != set(criteria):
        found = ", ".join(map(str, given)) if isinstance(given, dict) else type(given).__name__
        raise UserError(f"{place}: must have the prompts of {', '.join(criteria)}, and no others; found {found}")
    filled = {name: {**criteria[name], **_words(f"{place}: {name}", given[name])} for name in criteria}
    return {**protocol, "criteria": filled, "prompts_sha256": hashlib.sha256(data).hexdigest()}


def _words(place: str, given: Any) -> dict[str, Any]:
    """A criterion's words in the file: general ones, those of single categories, or both."""
    if not isinstance(given, dict) or not given.keys() <= {*_WORDS, "by_category"}:
        raise UserError(f"{place} must have user_template, and may have system_prompt, labels and by_category")
    if not {"user_template", "by_category"} & given.keys():
        raise UserError(f"{place} has no user_template; that is what the judge is asked")
    return {"user_template": "", "system_prompt": "", "labels": None, "by_category": {}, **given}
