"""Fixtures shared by all tests. Nothing here, nor in any test, may reach for a model hub."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers or diffusers are imported: they read it once
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: tests run in as many processes as there are cores

import fcntl
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_checkpoints_script() -> ModuleType:
    """Returns `scripts/make_tiny_checkpoints.py` as a module."""
    path = CHECKOUT / "scripts" / "make_tiny_checkpoints.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_checkpoints(tiny_checkpoints_script: ModuleType) -> Path:
    """Returns the folder of tiny checkpoints with random weights, built first where something is missing."""
    root = CHECKOUT / "checkpoints" / "tiny"
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:  # several processes of pytest use them
        fcntl.flock(lock, fcntl.LOCK_EX)
        tiny_checkpoints_script.main([str(root)])
    return root
