"""What all connections of one server share (front.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from registry_node.forwarded import Origin, Proxies
from registry_node.framing import Header
from registry_node.heads import Head
from registry_node.intake import Intakes
from registry_node.outflow import Outflows
from registry_node.settings import Limits

OriginOf = Callable[[Iterable[Header]], Origin]


class AtOnce(Protocol):
    def __call__(self, content: bytes, head: Head | None, origin: OriginOf, more: bytes) -> bytes | None:
        """A whole answer to a request head, with the header lines ``more``; ``head``: the same read, or None."""


class Refused(Protocol):
    def __call__(self, method: str, path: str, status: int, sent: int, remote: str) -> bytes:
        """Records what no app sees; gives it a request id."""


@dataclass(frozen=True, slots=True)
class Shared:
    """``at_once``: the short way; ``intakes``, ``outflows``: the threads for large bodies and answers."""

    at_once: AtOnce
    limits: Limits
    refused: Refused
    proxies: Proxies
    intakes: Intakes
    outflows: Outflows
