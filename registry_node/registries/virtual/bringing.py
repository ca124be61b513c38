"""What a push needs and another member has: brought to the member that takes the push.

Clients leave out what a HEAD has found here, at whatever member: layers, and the images of an index. What was pushed must
be whole where it was pushed: another member may delete its copy, a mirror makes room, and a promotion copies from there.
It is read as the caller, and written as whoever may push there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from oci_wire.closure import Kind, Source, walk
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Unavailable
from oci_wire.manifest import ACCEPTED, Manifest
from oci_wire.registry import Call
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.virtual.doors import Door


class Members(Source, Protocol):
    """All members, as the caller may read them."""


class Bringing:
    """One push of ``repository`` to ``door``. ``call``: its notes are nobody's."""

    def __init__(self, members: Members, call: Call, repository: str, door: Door) -> None:
        self._members, self._call, self._repository, self._door = members, call, repository, door

    async def children(self, manifest: Manifest) -> None:
        """The manifests of an index with all that they need. What nobody has is left to the member: it may take an index
        without. Raises MemberFailed."""
        for child in manifest.children:
            if not await self._has(child):
                await self._tree(child)

    async def blobs(self, wanted: Sequence[Descriptor]) -> bool:
        """Whether all of them are there now, and some were not. Raises MemberFailed."""
        brought = 0
        for each in wanted:
            if not await self._has_blob(each.digest):
                if not await self.blob(self._repository, each.digest):
                    return False
                brought += 1
        return brought > 0

    async def blob(self, source: str, digest: Digest) -> bool:
        """False when nobody has it in ``source`` for this caller. Raises MemberFailed."""
        try:
            stream = await self._members.open_blob(self._call, source, digest)
        except ABSENT:
            return False
        async with stream:
            put = self._door.registry.put_blob(self._call, self._repository, stream.descriptor, stream.chunks)
            await self._door.tell(put)
        return True

    async def blob_if_it_can_be(self, source: str, digest: Digest) -> bool:
        """For who can send it as well: then an outage is only a no."""
        try:
            return await self.blob(source, digest)
        except Unavailable:
            return False

    async def _has(self, child: Descriptor) -> bool:
        if child.media_type not in ACCEPTED:
            return await self._has_blob(child.digest)
        try:
            await self._door.ask(self._door.registry.resolve(self._call, self._repository, str(child.digest)))
        except ABSENT:
            return False
        return True

    async def _has_blob(self, digest: Digest) -> bool:
        try:
            await self._door.ask(self._door.registry.stat_blob(self._call, self._repository, digest))
        except ABSENT:
            return False
        return True

    async def _tree(self, child: Descriptor) -> None:
        """In an order that is safe to write; nothing of it when a part of it is nowhere."""
        if child.media_type not in ACCEPTED:
            await self.blob(self._repository, child.digest)
            return
        tree = walk(self._members, self._call, self._repository, child.digest, evidence=False, stat_blobs=True)
        links = [each async for each in tree]
        if any(each.problem for each in links):
            return
        for link in links:
            if link.kind is Kind.BLOB:
                await self.blobs((link.descriptor,))
            elif link.manifest is not None:
                put = self._door.registry.put_manifest(self._call, self._repository, link.manifest)
                await self._door.tell(put)
