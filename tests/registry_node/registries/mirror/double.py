"""An upstream that tests hold in their hand: a registry in memory that fails, hangs, cuts and lies on demand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import NameUnknown, RegistryError, Unreachable
from oci_wire.manifest import Manifest
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import BlobStream, ByteRange, Call, Page
from registry_node.registries.upstreams.asked import Answer, May, NotShared, UpstreamStatus, anybody

CHUNK = 64 * 1024
Chunks = AsyncIterator[bytes]


class Upstream:
    """Satisfies ``Sources``. ``asked`` counts the questions by kind; ``down`` is raised by all of them."""

    def __init__(self, name: str = "hub") -> None:
        self.name, self.registry = name, MemoryRegistry()
        self.asked: Counter[str] = Counter()
        self.down: RegistryError | None = None
        self.answering = asyncio.Event()  # cleared: questions hang
        self.answering.set()
        self.flowing = asyncio.Event()  # cleared: streams stop after ``first`` bytes
        self.flowing.set()
        self.first = 0
        self.spans: list[ByteRange | None] = []
        self.bend: Callable[[Chunks], Chunks] = lambda chunks: chunks  # what becomes of a blob's bytes on the way
        self.known: list[Descriptor | None] = []  # what each question for a tag had to compare with
        self.closed = 0  # streams that were closed
        self.blamed: list[str] = []

    def blame(self, upstream: str, digest: Digest) -> None:
        self.blamed.append(upstream)

    def status(self) -> tuple[UpstreamStatus, ...]:
        return ()

    async def _question(self, kind: str) -> None:
        self.asked[kind] += 1
        await self.answering.wait()
        if self.down is not None:
            raise self.down

    def key(self, repository: str, ns: str) -> str:
        if repository.startswith("denied/"):
            raise NameUnknown(f"no upstream may be asked for {repository}")
        return repository if "/" in repository else f"library/{repository}"

    async def resolve(
        self, call: Call, repository: str, reference: str, *, known: Descriptor | None = None
    ) -> Answer[Descriptor]:
        self.known.append(known)
        await self._question("resolve")
        return Answer(self.name, await self.registry.resolve(call, repository, reference))

    async def get_manifest(
        self, call: Call, repository: str, reference: str, *, refresh: bool = False
    ) -> Answer[Manifest]:
        await self._question("manifest")
        return Answer(self.name, await self.registry.get_manifest(call, repository, reference))

    async def stat_blob(
        self, call: Call, repository: str, digest: Digest, *, prefer: str = "", layer: Descriptor | None = None
    ) -> Answer[Descriptor]:
        await self._question("stat")
        return Answer(self.name, await self.registry.stat_blob(call, repository, digest))

    async def open_blob(
        self,
        call: Call,
        repository: str,
        digest: Digest,
        span: ByteRange | None = None,
        *,
        prefer: str = "",
        layer: Descriptor | None = None,
        may: May = anybody,
    ) -> Answer[BlobStream]:
        if not may(self.name):
            raise NotShared
        await self._question("blob")
        self.spans.append(span)
        found = await self.registry.open_blob(call, repository, digest, span)
        chunks = self.bend(self._flow(await found.read()))
        return Answer(self.name, BlobStream(found.descriptor, found.start, found.stop, chunks))

    async def _flow(self, content: bytes) -> Chunks:
        try:
            for at in range(0, len(content), CHUNK):
                if at >= self.first:
                    await self.flowing.wait()
                await asyncio.sleep(0)
                yield content[at : at + CHUNK]
        finally:
            self.closed += 1

    async def tags(
        self, call: Call, repository: str, *, after: str = "", limit: int | None = None
    ) -> Answer[Page[str]]:
        await self._question("tags")
        return Answer(self.name, await self.registry.tags(call, repository, after=after, limit=limit))

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Answer[Page[Descriptor]]:
        await self._question("referrers")
        page = await self.registry.referrers(call, repository, digest, artifact_type=artifact_type, after=after)
        return Answer(self.name, page)

    async def aclose(self) -> None:
        self.down = Unreachable("closed")


def cut_after(count: int, times: int = 1) -> Callable[[Chunks], Chunks]:
    """The connection breaks after so many bytes, for the first ``times`` streams."""
    left = [times]

    async def bent(chunks: Chunks) -> Chunks:
        passed = 0
        left[0] -= 1
        async for chunk in chunks:
            if left[0] >= 0 and passed + len(chunk) > count:
                yield chunk[: count - passed]
                raise Unreachable("the connection broke")
            passed += len(chunk)
            yield chunk

    return bent


async def flipped(chunks: Chunks) -> Chunks:
    """As many bytes, and other ones."""
    async for chunk in chunks:
        yield bytes(255 - byte for byte in chunk[:1]) + chunk[1:]


async def endless(chunks: Chunks) -> Chunks:
    """What was announced, and then more."""
    async for chunk in chunks:
        yield chunk
    while True:
        await asyncio.sleep(0)
        yield bytes(CHUNK)
