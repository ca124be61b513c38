"""One question to a mirror, as its parts pass it on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from oci_wire.registry import Call


@dataclass(frozen=True, slots=True)
class Place:
    """A repository: the client's call and name for it, and the ``key`` under which its copies are kept."""

    call: Call
    repository: str
    key: str

    @property
    def shared(self) -> Call:
        """For a question that others may wait for as well: it does not end when this client's time does."""
        return replace(self.call, deadline=None, notes={})
