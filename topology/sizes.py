"""Sizes as people read them."""

from __future__ import annotations

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def binary(size: int) -> str:
    """``412 GiB``, ``5.243 MiB``: four digits, so that two sizes in one row differ when they do."""
    at, value = 0, float(size)
    while value >= 1024 and at < len(_UNITS) - 1:
        value, at = value / 1024, at + 1
    return f"{value:.4g} {_UNITS[at]}" if value < 10_000 else f"{value:.0f} {_UNITS[at]}"
