"""Ant-style patterns of web addresses, such as ``https://**.example.com/layers/**``: an allow-list that is meant to hold.

| part | pattern | fits |
|---|---|---|
| scheme | ``https``, ``http``, or ``*`` | that one, or either |
| host | labels: ``?`` one character, ``*`` any of one label, ``**`` any number of labels | without regard to case |
| port | none: the scheme's own; a number; ``*`` | |
| path | segments: ``?``, ``*`` within one, ``**`` any number of segments | as they are once decoded |

``**/example.com/**`` is the same host with either scheme, ``**`` alone is every address. A part never fits what stands
in another part: the scheme, the host and the path of an address are told apart first, by one strict reading, and the
request is made from what was read. Whatever two readers could take for different things is no address here: user
names, fragments, hosts that end in a dot, numbers for hosts, dots and slashes in disguise, anything but ASCII.

Sources: RFC 3986 (URI), Apache Ant's manual ("Patterns"); a query is sent, and has no part in the matching.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import unquote_to_bytes, urljoin

P = TypeVar("P")
V = TypeVar("V")
LONGEST = 4096  # characters of an address
_PORTS = {"http": 80, "https": 443}
_PART = r"[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}"
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    rf"(?P<path>/(?:{_PART}|/)*)?(?P<query>\?(?:{_PART}|[/?])*)?"
)
_AUTHORITY = re.compile(r"([A-Za-z]+://[^/?#]*)(.*)", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATTERN = re.compile(
    r"(?:(?P<scheme>https?|\*{1,2})://|\*\*/)(?P<host>[A-Za-z0-9._*?-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}|\*))?"
    r"(?P<path>/.*)?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """One that was read. ``labels`` of its host (an address in brackets is one); ``segments`` of its path, decoded."""

    scheme: str
    labels: tuple[str, ...]
    port: int
    segments: tuple[str, ...]
    target: str  # path and query, as they are sent

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, which says what is wrong with it."""
        plain = text.isascii() and len(text) <= LONGEST  # before lower(): it makes ASCII of some that is not
        authority = _AUTHORITY.fullmatch(text) if plain else None
        found = _ADDRESS.fullmatch(authority[1].lower() + authority[2]) if authority else None
        if found is None:
            raise ValueError("is no plain http address")
        port = int(found["port"] or _PORTS[found["scheme"]])
        if not 0 < port < 65536:
            raise ValueError("has a port that is none")
        path = found["path"] or "/"
        return cls(found["scheme"], _labels(found["host"]), port, _segments(path), path + (found["query"] or ""))

    def joined(self, location: str) -> Address:
        """Where an answer from here leads. Raises ValueError."""
        there = Address.parse(urljoin(str(self), location))
        if (self.scheme, there.scheme) == ("https", "http"):
            raise ValueError("leads from https to http")
        return there

    @property
    def host(self) -> str:
        return ".".join(self.labels)

    def __str__(self) -> str:
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.target}"


@dataclass(frozen=True, slots=True)
class AddressPattern:
    """``scheme`` None: either; ``port`` None: the scheme's own, 0: any."""

    scheme: str | None
    labels: tuple[str, ...]
    port: int | None
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, which says how a pattern is written."""
        if text == "**":
            return cls(None, ("**",), None, ("**",))
        found = _PATTERN.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is no pattern of addresses: write https://HOST/PATH, such as https://**.example.com/layers/**, "
                "or **/HOST/PATH for either scheme; a host in ASCII (xn--...)"
            )
        if found["path"] is None or re.search(r"[%#\\\s]|[^\x21-\x7e]|/\.{1,2}(?:/|$)|//", found["path"]):
            raise ValueError(
                f"{text!r}: the path is written decoded and plain, and whole: end it with /** for all below"
            )
        scheme, port = found["scheme"], found["port"]
        host = found["host"].lower()
        return cls(
            scheme if scheme in _PORTS else None,
            (host,) if host.startswith("[") else _pattern_labels(text, host),
            None if port is None else 0 if port == "*" else int(port),
            tuple(found["path"][1:].split("/")),
        )

    def fits(self, address: Address) -> bool:
        """Whether every part of the address fits its own part of this."""
        port = _PORTS[address.scheme] if self.port is None else self.port or address.port
        return (
            self.scheme in (None, address.scheme)
            and port == address.port
            and _fits(self.labels, address.labels, "**", _fits_word)
            and _fits(self.segments, address.segments, "**", _fits_word)
        )


def _labels(host: str) -> tuple[str, ...]:
    if host.startswith("["):
        ipaddress.IPv6Address(host[1:-1])
        return (host,)
    labels = tuple(host.split("."))
    if len(host) > 253 or not all(_LABEL.fullmatch(each) for each in labels):
        raise ValueError("has a host that is no name")
    if _NUMBER.fullmatch(labels[-1]):  # readers take 0x7f.1 and 2130706433 for 127.0.0.1
        ipaddress.IPv4Address(host)
    return labels


def _segments(path: str) -> tuple[str, ...]:
    segments = tuple(map(_decoded, path[1:].split("/")))
    if "" in segments[:-1]:
        raise ValueError("has an empty part in its path")
    return segments


def _decoded(segment: str) -> str:
    """What stands between two slashes, if all readers agree on it."""
    found = unquote_to_bytes(segment).decode()  # UnicodeDecodeError is a ValueError
    if re.search(r"[\x00-\x1f\x7f/\\%]", found):
        raise ValueError("has a slash, a percent or a control character in disguise in its path")
    if found.partition(";")[0].strip(" ") in (".", ".."):
        raise ValueError("has dots in its path that lead elsewhere")
    return found


def _pattern_labels(text: str, host: str) -> tuple[str, ...]:
    labels = tuple(host.split("."))
    if not all(labels) or any("**" in each and each != "**" for each in labels):
        raise ValueError(f"{text!r}: a host is labels with dots between them; ** stands for whole ones")
    return labels


def _fits_word(pattern: str, word: str) -> bool:
    return _fits(pattern, word, "*", lambda one, other: one in ("?", other))


def _fits(pattern: Sequence[P], value: Sequence[V], many: P, one: Callable[[P, V], bool]) -> bool:
    """``many`` fits any number of values. Tries again from the last of them only: the time is the product of the two
    lengths, whatever somebody thinks of."""
    at = seen = mark = 0
    last = -1
    while seen < len(value):
        if at < len(pattern) and pattern[at] == many:
            last, mark = at, seen
            at += 1
        elif at < len(pattern) and one(pattern[at], value[seen]):
            at, seen = at + 1, seen + 1
        elif last >= 0:
            mark += 1
            at, seen = last + 1, mark
        else:
            return False
    return all(each == many for each in pattern[at:])
