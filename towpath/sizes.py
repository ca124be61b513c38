"""Sizes as people read them."""

from __future__ import annotations


def binary(size: int) -> str:
    """``5.2 MiB``"""
    value, unit, larger = float(size), "B", iter(("KiB", "MiB", "GiB", "TiB"))
    while value >= 1024 and (bigger := next(larger, None)):
        value, unit = value / 1024, bigger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
