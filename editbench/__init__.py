"""Benchmark of instruction-based image editors: edit under torchrun, score under torchrun, report."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from editbench.loaded_run import load_run

__all__ = ["load_run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `load_run` where it is asked for: commands need no more than they import themselves."""
    if name == "load_run":
        from editbench.loaded_run import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
