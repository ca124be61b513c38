"""Overlap of patterns agrees with the matcher that applies them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from identity.grants import matches
from topology.globs import overlap
from topology.values import Glob


def readable(pattern: str) -> bool:
    """Whether the language takes it (values.Glob)."""
    try:
        GLOB.validate_python(pattern)
    except ValidationError:
        return False
    return True


GLOB = TypeAdapter(Glob)
PIECES = st.sampled_from(["a", "b", "/", "*", "**", "**/", "/**", "?", "[ab]"])
PATTERNS = st.lists(PIECES, min_size=1, max_size=5).map("".join).filter(readable)
NAMES = st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=1, max_size=3).map("/".join)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("apps/**", "apps/api", True),
        ("apps/**", "libs/**", False),
        ("apps/*", "apps/a/b", False),
        ("apps/**", "*/a/b", True),
        ("**", "anything/at/all", True),
        ("v*", "v1.2", True),
        ("v*", "stable", False),
        ("*-rc", "v*", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a/**/b", "a/b", True),
        ("a**", "a/b", False),
        ("library/python", "library/python", True),
    ],
)
def test_known_pairs(left: str, right: str, expected: bool) -> None:
    assert overlap(left, right) is expected
    assert overlap(right, left) is expected


@given(PATTERNS, PATTERNS, NAMES)
@settings(max_examples=800, deadline=None)
def test_a_common_name_is_never_overlooked(left: str, right: str, name: str) -> None:
    if matches(name, (left,)) and matches(name, (right,)):
        assert overlap(left, right)


@given(PATTERNS, NAMES)
@settings(max_examples=400, deadline=None)
def test_a_literal_overlaps_what_matches_it(pattern: str, name: str) -> None:
    if matches(name, (pattern,)):
        assert overlap(pattern, name)
