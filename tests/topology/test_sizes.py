"""Sizes as people read them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology.sizes import binary

_FACTORS = {unit: 1024**at for at, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (412 * 2**30, "412 GiB"),
        (int(5.25 * 2**20), "5.25 MiB"),
        (3 * 2**40, "3 TiB"),
        (20_000 * 2**50, "20000 PiB"),
    ],
)
def test_a_size_is_said_in_its_largest_unit(size: int, text: str) -> None:
    assert binary(size) == text


@given(st.integers(0, 2**70))
def test_what_is_said_is_the_size_but_for_its_fifth_digit(size: int) -> None:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ([KMGTP]?i?B)", binary(size))
    assert found
    assert abs(float(found[1]) * _FACTORS[found[2]] - size) <= size * 0.0006
