"""When each content was last read: gathered in memory, written down every few seconds, never for each read."""

from __future__ import annotations

import asyncio
import logging

from oci_wire.errors import RegistryError
from registry_node.storage import cached
from registry_node.storage.store import Store

log = logging.getLogger(__name__)
FLUSH_SECONDS = 10.0


class Uses:
    """Belongs to one event loop. A killed node forgets the last few seconds."""

    def __init__(self, store: Store, seconds: float = FLUSH_SECONDS) -> None:
        self._store, self._seconds = store, seconds
        self._digests: set[str] = set()
        self._writing: set[asyncio.Task[None]] = set()

    def note(self, digest: str) -> None:
        """It was read just now."""
        if not self._digests:
            asyncio.get_running_loop().call_later(self._seconds, self._start)
        self._digests.add(digest)

    def _start(self) -> None:
        task = asyncio.create_task(self.flush())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def flush(self) -> None:
        digests, self._digests = self._digests, set()
        if not digests:
            return
        at = self._store.clock()
        try:
            await self._store.write(lambda unit: cached.put_uses(unit, digests, at), durable=False)
        except RegistryError as error:
            log.warning("what was read last is not written down: %s", error)
