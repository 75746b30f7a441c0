"""Benchmark of instruction-based image editors: edit under torchrun, score under torchrun, report."""

__version__ = "0.1.0"
