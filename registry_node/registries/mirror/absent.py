"""What upstreams have said is not there, for a short time: a client that polls must not be passed on each time."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from oci_wire.errors import RegistryError
from registry_node.recent import Recent

_HALF = 8192


class Absent:
    """In memory, of a bounded number of things. ``clock``: seconds, growing."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock = seconds, clock
        self._said: Recent[Hashable, tuple[float, RegistryError]] = Recent(_HALF)

    def check(self, thing: Hashable) -> None:
        """Raises what was said of it, while that is believed."""
        found = self._said.get(thing)
        if found is not None and self._clock() < found[0]:
            raise type(found[1])(found[1].message)

    def put(self, thing: Hashable, error: RegistryError) -> None:
        if self._seconds > 0:
            self._said.put(thing, (self._clock() + self._seconds, error))

    def clear(self) -> None:
        self._said = Recent(_HALF)
