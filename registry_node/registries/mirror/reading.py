"""One answer out of a fill, which follows it as it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from registry_node.growing import FilePart
from registry_node.registries.mirror.fill import PIECE, Fill

WITHHELD = 64 * 1024  # last bytes of an answer that wait until the whole blob is verified


class Reading(AsyncIterator[bytes]):
    """The bytes ``at`` to ``stop``, which are set once the size is known; satisfies ``InParts``. ``left`` is called once,
    when it ends. What goes by in memory is held here when it may not be given yet: it holds up nobody."""

    def __init__(self, fill: Fill, left: Callable[[Reading], None]) -> None:
        self.fill, self.at, self.stop, self._left = fill, 0, 0, left
        self._held = b""
        fill.readers.add(self)

    async def __anext__(self) -> bytes:
        part = await self._part(PIECE)
        if part is None:
            raise StopAsyncIteration
        if isinstance(part, bytes):
            return part
        piece = await self.fill.read(part)
        self.at = part.offset + len(piece)
        return piece

    async def parts(self) -> AsyncIterator[FilePart | bytes]:
        while (part := await self._part(self.stop)) is not None:
            yield part
            if not isinstance(part, bytes):
                self.at = part.offset + part.count

    async def _part(self, most: int) -> FilePart | bytes | None:
        """What may be given next, None at the end. Raises why there will be no more."""
        fill = self.fill
        while self._held or self.at < self.stop:
            may = self.stop if fill.verified else self.stop - WITHHELD  # bytes up to there may be given
            if (count := may - (self.at - len(self._held))) > 0 and self._held:
                given, self._held = self._held[:count], self._held[count:]
                return given
            if (end := min(fill.in_file, may, self.at + most)) > self.at:
                return fill.file_part(self.at, end)
            if self.at < self.stop and fill.in_file <= self.at < fill.received:
                self._take(fill.from_window(self.at, self.stop))
            elif not fill.stored and self.at < (end := min(fill.in_file, self.stop)):
                self._take(await fill.read(fill.file_part(self.at, end)))  # less than WITHHELD: what follows goes by
            elif fill.error is not None and not fill.verified:
                raise fill.error
            else:
                await fill.news()
        return None

    def _take(self, piece: bytes) -> None:
        self._held += piece
        self.at += len(piece)
        self.fill.tell()

    async def aclose(self) -> None:
        if self in self.fill.readers:
            self.fill.readers.discard(self)
            self.fill.tell()
            self._left(self)
