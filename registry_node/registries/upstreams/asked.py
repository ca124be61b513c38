"""What an upstream gave, and how it stands with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from oci_wire.errors import Unavailable

T = TypeVar("T")
State = Literal["closed", "open", "half-open"]
May = Callable[[str], bool]  # whether what the upstream of this name gives will do


def anybody(_: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """``upstream``: the name of the one that gave it. ``held`` False: it is the host of an address that a manifest
    names, which anybody may have written there."""

    upstream: str
    value: T
    held: bool = True


class NotShared(Unavailable):
    """Those that may be asked for several repositories at once do not give it: each asks for itself."""


@dataclass(frozen=True, slots=True)
class UpstreamStatus:
    """``retry_in``: seconds until it is asked again, when it is not now. ``budget_left``: manifests, None: not counted.

    ``requests``: answers by outcome (``answered``, ``absent``, or the reason of a failure)."""

    name: str
    circuit: State
    retry_in: float
    budget_left: int | None
    budget_limit: int | None
    requests: Mapping[str, int]
    received: int  # bytes of blobs
    last_error: str  # a reason, "" without one
