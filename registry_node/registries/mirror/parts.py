"""What has come of blobs whose fills stopped: it waits a while for the next who asks, and then goes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from registry_node.storage.incoming import Incoming
from registry_node.storage.store import Store

MOST, SECONDS = 32, 3600.0


class Sought(NamedTuple):
    """A blob, and who may have what comes of it: all repositories to which the upstream ``giver`` gave a manifest that
    names it, and then its bytes come from there alone; without one, ``repository``."""

    digest: Digest
    giver: str = ""
    repository: str = ""


@dataclass(slots=True)
class Part:
    """``size``: of the whole, 0 while it is not known. ``givers``: the upstreams that its bytes came from; ``held``
    False: hosts are among them (Answer)."""

    incoming: Incoming
    size: int = 0
    givers: set[str] = field(default_factory=set)
    held: bool = True

    @property
    def giver(self) -> str | None:
        """The upstream that all of its bytes came from."""
        return next(iter(self.givers)) if self.held and len(self.givers) == 1 else None


class Parts:
    """Belongs to one event loop. ``most`` of them at once, each for so many ``seconds``; none outlives the node."""

    def __init__(self, store: Store, *, most: int = MOST, seconds: float = SECONDS) -> None:
        self._store, self._most, self._seconds = store, most, seconds
        self._kept: OrderedDict[Sought, Part] = OrderedDict()
        self._ends: dict[Sought, asyncio.TimerHandle] = {}
        self._dropping: set[asyncio.Task[None]] = set()

    @property
    def bytes(self) -> int:
        return sum(part.incoming.size for part in self._kept.values())

    def has(self, sought: Sought) -> bool:
        return sought in self._kept

    def take(self, sought: Sought) -> Part | None:
        """It is the caller's now."""
        part = self._kept.pop(sought, None)
        if part is not None:
            self._ends.pop(sought).cancel()
        return part

    async def keep(self, sought: Sought, part: Part) -> None:
        older = self.take(sought)
        self._kept[sought] = part
        self._ends[sought] = asyncio.get_running_loop().call_later(self._seconds, self._expire, sought)
        if older is not None:
            await self.drop(older)
        while len(self._kept) > self._most:
            await self._drop_oldest()

    async def drop(self, part: Part) -> None:
        with suppress(RegistryError):
            await self._store.from_disk("a blob", part.incoming.path.unlink, missing_ok=True)

    async def drop_all(self) -> None:
        """Their room is needed."""
        while self._kept:
            await self._drop_oldest()

    async def _drop_oldest(self) -> None:
        part = self.take(next(iter(self._kept)))
        if part is not None:
            await self.drop(part)

    def _expire(self, sought: Sought) -> None:
        part = self.take(sought)
        if part is not None:
            task = asyncio.create_task(self.drop(part))
            self._dropping.add(task)
            task.add_done_callback(self._dropping.discard)

    def stop(self) -> None:
        """The node ends."""
        for each in self._ends.values():
            each.cancel()
