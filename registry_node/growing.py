"""Answers out of a file that is still being written: what has come of it is sent from there, part after part."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import FileIO
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class FilePart:
    """``count`` bytes of an open file from ``offset`` on, which are all there."""

    file: FileIO
    offset: int
    count: int


@runtime_checkable
class InParts(Protocol):
    """Chunks (an ``AsyncIterator[bytes]``) that a server which sends files itself takes in this form instead."""

    def parts(self) -> AsyncIterator[FilePart | bytes]:
        """The same bytes; each part is sent before the next one is asked for. Raises what iterating would."""
        ...
