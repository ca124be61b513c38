"""Challenges and token scopes (RFC 9110 section 11.6.1; distribution's token authentication specification)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from oci_wire.errors import NameInvalid
from oci_wire.reference import check_repository

_TOKEN_LETTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a WWW-Authenticate header: ``Bearer realm="...",service="...",scope="..."``."""

    scheme: str  # lower case
    parameters: dict[str, str] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        shown = ",".join(f'{name}="{_escape(value)}"' for name, value in self.parameters.items())
        return f"{self.scheme.title()} {shown}".rstrip()


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of one header, in order. What cannot be read is left out; never raises."""
    found: list[Challenge] = []
    at = 0
    while at < len(header):
        at = _skip(header, at, " ,\t")
        word, at = _word(header, at)
        if not word:
            break
        after = _skip(header, at, " \t")
        if after < len(header) and header[after] == "=" and found:  # a parameter of the challenge before it
            value, at = _value(header, _skip(header, after + 1, " \t"))
            found[-1].parameters[word.lower()] = value
        else:
            found.append(Challenge(word.lower(), {}))
    return tuple(found)


def _skip(text: str, at: int, letters: str) -> int:
    while at < len(text) and text[at] in letters:
        at += 1
    return at


def _word(text: str, at: int) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] in _TOKEN_LETTERS:
        end += 1
    return text[at:end], end


def _value(text: str, at: int) -> tuple[str, int]:
    if at >= len(text) or text[at] != '"':
        end = at
        while end < len(text) and text[end] not in ", \t":
            end += 1
        return text[at:end], end
    letters: list[str] = []
    at += 1
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            at += 1
        letters.append(text[at : at + 1])
        at += 1
    return "".join(letters), at + 1


@dataclass(frozen=True, slots=True)
class TokenScope:
    """``repository:apps/api:pull,push`` - what a token is for."""

    kind: str  # repository | registry
    name: str
    actions: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> TokenScope | None:
        """None for what is no scope that we know of: a token server ignores those."""
        kind, _, rest = text.partition(":")
        name, colon, actions = rest.rpartition(":")
        kind = kind.partition("(")[0]  # repository(plugin)
        if not colon or kind not in ("repository", "registry") or not name:
            return None
        if kind == "repository":
            try:
                check_repository(name)
            except NameInvalid:
                return None
        return cls(kind, name, frozenset(each for each in actions.split(",") if each))

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{','.join(sorted(self.actions))}"


def parse_scopes(values: Iterable[str]) -> tuple[TokenScope, ...]:
    """From the ``scope`` parameters of a token request: several, each with one or more scopes, space separated."""
    scopes = (TokenScope.parse(each) for value in values for each in value.split(" ") if each)
    return tuple(each for each in scopes if each is not None)
