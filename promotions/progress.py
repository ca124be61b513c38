"""What a running promotion tells whoever watches (the command line's bars)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from oci_wire.digest import Digest
from promotions.states import State


@dataclass(frozen=True, slots=True)
class Entered:
    """A promotion came into a state."""

    promotion: str
    state: State
    note: str = ""


@dataclass(frozen=True, slots=True)
class BlobMoved:
    """``done`` of ``size`` bytes of one blob are at the target. ``how``: copied | mounted | present | checked."""

    digest: Digest
    size: int
    done: int
    how: str


@dataclass(frozen=True, slots=True)
class ManifestMoved:
    digest: Digest
    kind: str  # closure.Kind


Progress = Entered | BlobMoved | ManifestMoved
Watch = Callable[[Progress], None]


def unwatched(_: Progress) -> None:
    """Nobody looks."""
