"""What an upstream gave, and how it stands with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """``upstream``: the name of the one that gave it."""

    upstream: str
    value: T


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
