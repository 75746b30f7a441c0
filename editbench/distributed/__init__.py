"""Ranks, devices and what passes between processes."""
