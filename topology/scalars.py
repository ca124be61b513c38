"""Plain scalars under the YAML 1.2 core schema (yaml.org/spec/1.2.2, 10.3.2).

``no`` is text, ``0755`` is 755, ``12:30`` is text.
"""

from __future__ import annotations

import re

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_DECIMAL = re.compile(r"[-+]?[0-9]{1,400}")
_OCTAL = re.compile(r"0o[0-7]{1,400}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,400}|[0-9]{1,400}(\.[0-9]{0,400})?)([eE][-+]?[0-9]{1,9})?")
_CORE = "tag:yaml.org,2002:"


class TagRefused(ValueError):
    """A tag that the core schema does not know, or whose text does not fit it."""


def resolve(text: str) -> Scalar:
    """The value of an untagged plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    return _number(text)


def _number(text: str) -> Scalar:
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def resolve_tagged(text: str, tag: str) -> Scalar:
    """The value of a scalar with an explicit tag. Raises TagRefused."""
    if tag in ("!", f"{_CORE}str"):
        return text
    value = resolve(text)
    wanted = {"int": int, "bool": bool, "float": float, "null": type(None)}.get(tag.removeprefix(_CORE))
    if wanted is None:
        raise TagRefused(f"the tag {tag} is not part of YAML's core schema")
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise TagRefused(f"the text does not fit its tag {tag}")
    return value
