"""Where the project's own files lie: beside the package in a checkout, inside it where it was installed."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]

CHECKOUT = None if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
"""Root of the checkout the package runs from; None for an installed package."""

CONF_DIR = CHECKOUT / "conf" if CHECKOUT else _PACKAGE / "conf"
"""Folder of the project's YAMLs."""

ONLY_IN_CHECKOUT = "only-in-a-checkout:"
"""Begins the path of what an installed package does not have; `components.check` says what to give instead."""


def in_checkout(path: str) -> str:
    """Path of a file of the checkout (`${checkout:…}` in YAMLs); marked where there is none."""
    return str(CHECKOUT / path) if CHECKOUT else f"{ONLY_IN_CHECKOUT}{path}"
