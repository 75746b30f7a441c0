"""With which versions, code and machine a phase worked."""

import importlib.metadata
import platform
import subprocess
from typing import Any

from editbench import __version__
from editbench.config.places import CHECKOUT

PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "hydra-core", "pillow", "numpy")


def environment() -> dict[str, Any]:
    """Versions of what was used, the checkout's git commit, Python and the host's name."""
    versions: dict[str, str | None] = {"editbench": __version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "versions": versions,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "host": platform.node(),
    }


def git_commit() -> str | None:
    """The checkout's commit, with `-dirty` behind it if files were changed; None outside a git checkout.

    Only of editbench's own repository: an installed or copied package can lie in somebody else's.
    """
    try:
        if CHECKOUT is None or not (CHECKOUT / ".git").exists():
            return None
        if 'name = "editbench"' not in (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"):
            return None
        described = subprocess.run(
            ["git", "-C", str(CHECKOUT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()
