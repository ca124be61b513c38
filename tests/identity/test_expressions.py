"""Expressions of settings: they say what ``re`` says, and no text makes them slow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.expressions import Expression

_ATOMS = st.sampled_from(["a", "b", "-", r"\d", r"[a-c]", r"[^a]", r"\w", ".", r"\."])
_EXPRESSIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=5,
)


@given(_EXPRESSIONS, st.text("abc-.1\n", max_size=8))
def test_it_says_what_re_says(pattern: str, text: str) -> None:
    try:
        ours = Expression.compile(pattern)
    except ValueError as error:
        assert "nested" in str(error)
        return
    assert ours.fullmatch(text) == (re.fullmatch(pattern, text) is not None)


@pytest.mark.attack("A-redos")
@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(.*)*b", "(a?){200}a{200}b", "((a*)*)*b", "a*a*a*a*a*a*a*b"])
def test_what_would_take_re_for_ever_is_answered(pattern: str) -> None:
    expression = Expression.compile(pattern)
    assert not expression.fullmatch("a" * 255)
    assert expression.fullmatch("a" * 254 + "b")


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", "(?=a)b", "(?i)a", "(?i:a)", r"a\b", "((((a*)*)*)*)*", "a{5000}", "[", "a" * 1001, "(" * 500]
)
def test_what_is_not_matched_here_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Expression.compile(pattern)
