"""Where a server is, and the key that it wants: checked, and read from the environment."""

import os
import re

import httpx2

from editbench.errors import UserError
from editbench.text import learn_secrets


def check_address(base_url: str, api_key_env: str | None, group: str) -> None:
    """Check where a server is said to be, and where its key is said to be, without saying what may be a secret.

    Raises:
        UserError: no plain HTTP address, or no name of an environment variable.
    """
    try:
        url = httpx2.URL(base_url)
    except (httpx2.InvalidURL, TypeError):
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise UserError(
            f"{group}.base_url: must be an address such as http://localhost:8000/v1, without user name, password, ? "
            f"and #; a key belongs into the environment variable that {group}.api_key_env names"
        )
    if api_key_env is not None and not re.fullmatch(r"[A-Z][A-Z0-9_]*", api_key_env):
        raise UserError(
            f"{group}.api_key_env: must be the name of an environment variable in capitals, such as OPENAI_API_KEY, "
            "and never the key itself; or null"
        )


def read_key(variable: str | None, group: str) -> str | None:
    """The key that an environment variable holds, which from now on is hidden wherever text is shown; None without.

    Raises:
        UserError: what it holds is no key.
    """
    key = os.environ.get(variable, "").strip() if variable else ""
    if key and not re.fullmatch(r"[!-~]+", key):
        raise UserError(f"{group}.api_key_env: what {variable} holds is no key, it has characters that none has")
    if key:
        learn_secrets({"api_key": key})
    return key or None
