"""What is fuzzed: how an input comes about, and what of its answers is wrong besides what wire.py says."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.fuzz.wire import Answer, Wrong
from tests.nodes import SECRETS

REPOSITORY = "fuzz/api"
DIGEST = f"sha256:{'0' * 64}"


@dataclass(frozen=True)
class Target:
    """``make(random, token)``: the bytes of one connection; ``token``: a Bearer token of ``dev``, good for now.
    ``answered``: each input is one whole request, so one answer must come. ``whole(wire)``: this one is, in any case.
    ``check(wire, answers)`` raises Wrong."""

    name: str
    make: Callable[[Random, str], bytes]
    answered: bool
    check: Callable[[bytes, Sequence[Answer]], None] = lambda wire, answers: None
    whole: Callable[[bytes], bool] = lambda wire: False


def basic(name: str = "dev") -> bytes:
    return b"Basic " + base64.b64encode(f"{name}:{SECRETS[name]}".encode())


def request(
    method: bytes, target: bytes, *headers: tuple[bytes, bytes], body: bytes = b"", auth: bytes | None = None
) -> bytes:
    """One whole request that ends its connection."""
    given = ((b"Authorization", auth),) if auth is not None else ()
    lines = [b"%b: %b" % each for each in (*given, *headers)]
    length = [b"Content-Length: %d" % len(body)] if body or method in (b"PUT", b"POST", b"PATCH") else []
    head = [b"%b %b HTTP/1.1" % (method, target), b"Host: box.test", b"Connection: close", *lines, *length]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def methods_of(wire: bytes) -> list[str]:
    """The method of the first request, if it can be told."""
    return [wire.lstrip(b"\r\n").partition(b" ")[0].decode("latin-1")]


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)
