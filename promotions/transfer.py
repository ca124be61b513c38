"""Moving one image with all that belongs to it, from one place to another. Tags come later, and elsewhere.

Order: missing blobs (mount, else stream) -> manifests of the image, children first -> what refers to them.
Nothing is sent that is there; a partial target heals. No blob is ever whole in memory.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from oci_wire.closure import Kind, Link, walk
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    SizeInvalid,
    Unavailable,
)
from oci_wire.manifest import OCI_INDEX, Manifest
from oci_wire.registry import Call, every
from oci_wire.verify import verified
from promotions.bounded import for_each
from promotions.pace import Pace
from promotions.place import Place
from promotions.progress import BlobMoved, ManifestMoved, Watch, unwatched
from promotions.retry import RetryPolicy

AT_ONCE = 4


class SourceIncomplete(Exception):
    """The source does not have all that the image needs. Nothing was tagged at the target."""

    def __init__(self, place: Place, root: Digest, problems: tuple[str, ...]) -> None:
        super().__init__(f"source {place}@{root} is not whole: {'; '.join(problems[:5])}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Closure:
    """An image and what belongs to it, in an order that is safe to write."""

    root: Digest
    needed: tuple[Link, ...]  # blobs and manifests of the image itself
    evidence: tuple[Link, ...]  # what refers to them, with what that needs

    @property
    def links(self) -> tuple[Link, ...]:
        return self.needed + self.evidence

    @property
    def blobs(self) -> tuple[Link, ...]:
        return tuple(each for each in self.links if each.kind is Kind.BLOB)

    @property
    def tags(self) -> dict[str, Digest]:
        """cosign's tags, that must change together with the image's own."""
        return {each.tag: each.descriptor.digest for each in self.evidence if each.kind is Kind.COSIGN}

    @property
    def bytes(self) -> int:
        return sum(each.descriptor.size for each in self.links)


async def read_closure(place: Place, call: Call, root: Digest) -> Closure:
    """Walks the image at a place, asking for every blob. Raises SourceIncomplete, RegistryError."""
    links = [link async for link in walk(place.registry, call, place.repository, root, stat_blobs=True)]
    problems = tuple(f"{each.kind} {each.descriptor.digest}: {each.problem}" for each in links if each.problem)
    if problems:
        raise SourceIncomplete(place, root, problems)
    needed = _needed(links)
    return Closure(
        root,
        tuple(each for each in links if each.descriptor.digest in needed),
        tuple(each for each in links if each.descriptor.digest not in needed),
    )


def _needed(links: list[Link]) -> set[Digest]:
    """A walk gives children before their parents: read backwards, whoever hangs on the root is known in time."""
    needed: set[Digest] = set()
    for link in reversed(links):
        if link.kind is Kind.ROOT or (link.parent in needed and link.kind in (Kind.CHILD, Kind.BLOB)):
            needed.add(link.descriptor.digest)
    return needed


@dataclass(slots=True)
class Transfer:
    """One copy in progress. ``sent``, ``mounted`` and ``present`` count bytes of blobs."""

    source: Place
    target: Place
    retry: RetryPolicy
    call: Call = field(default_factory=Call)
    watch: Watch = unwatched
    at_once: int = AT_ONCE
    pace: Pace = field(default_factory=Pace)
    sent: int = 0
    mounted: int = 0
    present: int = 0

    async def copy(self, closure: Closure) -> None:
        """Brings all of it to the target. Raises SourceIncomplete, RegistryError."""
        await for_each(closure.blobs, self._blob, at_once=self.at_once)
        for link in closure.links:
            if link.manifest is not None:
                await self._manifest(link.manifest, link, closure)

    async def _blob(self, link: Link) -> None:
        blob = link.descriptor
        if await self._is_there(blob):
            self.present += blob.size
            how = "present"
        elif await self._mount(blob):
            self.mounted += blob.size
            how = "mounted"
        else:
            await self.retry(lambda: self._send(blob))
            self.sent += blob.size
            how = "copied"
        self.watch(BlobMoved(blob.digest, blob.size, blob.size, how))

    async def _is_there(self, blob: Descriptor) -> bool:
        try:
            found = await self.target.registry.stat_blob(self.call, self.target.repository, blob.digest)
        except (BlobUnknown, NameUnknown):
            return False
        return found.size == blob.size

    async def _mount(self, blob: Descriptor) -> bool:
        if self.source.origin != self.target.origin:
            return False
        return await self.target.registry.mount_blob(
            self.call, self.target.repository, blob.digest, self.source.repository
        )

    async def _send(self, blob: Descriptor) -> None:
        """Streams one blob. A source that was cut off, or sent other bytes, may do better the next time."""
        self.watch(BlobMoved(blob.digest, blob.size, 0, "copied"))
        stream = await self.source.registry.open_blob(self.call, self.source.repository, blob.digest)
        chunks = self._counted(verified(stream.chunks, blob.digest, blob.size), blob)
        try:
            await self.target.registry.put_blob(self.call, self.target.repository, blob, chunks)
        except (DigestInvalid, SizeInvalid) as error:
            raise Unavailable(f"{blob.digest} did not come whole from {self.source.node}: {error.message}") from None

    async def _counted(self, chunks: AsyncIterator[bytes], blob: Descriptor) -> AsyncIterator[bytes]:
        done = 0
        async for chunk in chunks:
            done += len(chunk)
            self.watch(BlobMoved(blob.digest, blob.size, done, "copied"))
            await self.pace(len(chunk))
            yield chunk

    async def _manifest(self, manifest: Manifest, link: Link, closure: Closure) -> None:
        if link.kind is Kind.FALLBACK:
            await self._fallback(manifest, link)
            return
        if not await has_manifest(self.target, self.call, manifest.digest):
            await self.retry(lambda: self._put(manifest))
        self.watch(ManifestMoved(manifest.digest, link.kind))

    async def _put(self, manifest: Manifest, *tags: str) -> None:
        await self.target.registry.put_manifest(self.call, self.target.repository, manifest, tags=tags)

    async def _fallback(self, manifest: Manifest, link: Link) -> None:
        """A list of referrers, kept by clients under a tag. Where the target lists them itself it is not wanted."""
        assert link.parent is not None
        listed = await referrers_of(self.target, self.call, link.parent)
        if {each.digest for each in manifest.children} <= listed:
            return
        whole = await self._merged(manifest, link.tag)
        await self.retry(lambda: self._put(whole, link.tag))

    async def _merged(self, manifest: Manifest, tag: str) -> Manifest:
        """The source's list with what only the target's has: such a list is shared, not anybody's image."""
        try:
            there = await self.target.registry.get_manifest(self.call, self.target.repository, tag)
        except (ManifestUnknown, NameUnknown):
            return manifest
        own = {each.digest for each in manifest.children}
        more = [each.to_json() for each in there.children if each.digest not in own]
        if not more:
            return manifest
        body = json.loads(manifest.content)
        body["manifests"] = [*body["manifests"], *more]
        return Manifest.parse(json.dumps(body).encode(), OCI_INDEX)


async def has_manifest(place: Place, call: Call, digest: Digest) -> bool:
    try:
        await place.registry.resolve(call, place.repository, str(digest))
    except (ManifestUnknown, NameUnknown):
        return False
    return True


async def referrers_of(place: Place, call: Call, subject: Digest) -> set[Digest]:
    """The digests of all manifests that refer to a subject at a place."""
    pages = every(lambda after: place.registry.referrers(call, place.repository, subject, after=after))
    return {each.digest async for each in pages}


async def current(place: Place, call: Call, tag: str) -> str | None:
    """The digest that a tag shows now, None when there is no such tag."""
    try:
        return str((await place.registry.resolve(call, place.repository, tag)).digest)
    except (ManifestUnknown, NameUnknown):
        return None


__all__ = [
    "AT_ONCE",
    "Closure",
    "RegistryError",
    "SourceIncomplete",
    "Transfer",
    "current",
    "has_manifest",
    "read_closure",
]
