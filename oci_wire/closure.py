"""What belongs to a manifest: its children and blobs, and what refers to it. One walker for transfer, gc, fsck, scrub.

```
root ── child* ── blob*                        what it needs
 └───── referrer*, fallback tag, cosign tags   what was said about it, or about a child (signatures, SBOMs, ...)
```

Links come in an order that is safe to write: a manifest after its blobs and children, a referrer after its subject.
Each digest comes once, however many ways lead to it, so a deep lattice of indexes costs what its manifests cost.
What is missing or unreadable is a link with a ``problem``; only errors that are not about content are raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol, TypeVar, runtime_checkable

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUnknown,
    DigestInvalid,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    SizeInvalid,
    Unsupported,
)
from oci_wire.extension import ClosureReport
from oci_wire.manifest import ACCEPTED, Manifest
from oci_wire.registry import Call, Lister, Reader, every
from oci_wire.verify import verified

T = TypeVar("T")
AT_ONCE = 8  # children and blobs of one manifest that are asked for together
COSIGN_SUFFIXES = (".sig", ".att", ".sbom")  # cosign's tags: sha256-<hex>.sig
_ABSENT = (ManifestUnknown, NameUnknown, BlobUnknown)


class Kind(StrEnum):
    ROOT = "root"
    CHILD = "child"  # a manifest of an index
    BLOB = "blob"  # config, layer, or a child that is no manifest (buildkit caches)
    REFERRER = "referrer"  # a manifest whose subject is another
    FALLBACK = "fallback"  # the index of the referrers tag schema
    COSIGN = "cosign"  # an image under a cosign tag


@dataclass(frozen=True, slots=True)
class Link:
    """One manifest or blob. ``parent`` is who leads here first (None: the root); ``tag`` is set when a tag does.

    ``manifest`` is None for blobs and for what could not be read; then ``problem`` says why."""

    kind: Kind
    descriptor: Descriptor
    parent: Digest | None = None
    tag: str = ""
    manifest: Manifest | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Beyond these a walk raises ManifestInvalid: no real image comes near them."""

    depth: int = 64  # indexes in indexes, referrers of referrers
    links: int = 100_000


@runtime_checkable
class Source(Reader, Lister, Protocol):
    """What a walk reads from."""


async def walk(
    source: Source,
    call: Call,
    repository: str,
    root: Digest,
    *,
    evidence: bool = True,
    stat_blobs: bool = False,
    limits: Limits = Limits(),
) -> AsyncIterator[Link]:
    """All links of ``root``, itself included. ``evidence`` False: only what it needs, not what refers to it.
    ``stat_blobs``: ask for every blob, so that an absent one is a problem too.

    Raises ManifestInvalid past the limits, and whatever the source raises that does not mean absent."""
    async for link in _Walk(source, call, repository, evidence, stat_blobs, limits).tree(root):
        yield link


async def report(source: Source, call: Call, repository: str, root: Digest, *, rehash: bool = False) -> ClosureReport:
    """Whether all that a digest needs is there; ``rehash`` reads every byte."""
    manifests, blobs, size, missing = 0, 0, 0, []
    async for link in walk(source, call, repository, root, evidence=False, stat_blobs=True):
        problem = link.problem
        if rehash and not problem:
            problem = await _hash_problem(source, call, repository, link)
        if problem:
            missing.append(f"{link.descriptor.digest}: {problem}")
            continue
        manifests += link.kind is not Kind.BLOB
        blobs += link.kind is Kind.BLOB
        size += link.descriptor.size
    return ClosureReport(
        digest=str(root), complete=not missing, manifests=manifests, blobs=blobs, bytes=size, missing=tuple(missing)
    )


async def _hash_problem(source: Source, call: Call, repository: str, link: Link) -> str:
    digest = link.descriptor.digest
    if link.manifest is not None:
        same = Digest.of(link.manifest.content, digest.algorithm) == digest
        return "" if same else "its bytes hash to something else"
    try:
        stream = await source.open_blob(call, repository, digest)
        async for _ in verified(stream.chunks, digest, link.descriptor.size):
            pass
    except _ABSENT:
        return "missing"
    except (DigestInvalid, SizeInvalid) as error:
        return error.message
    return ""


@dataclass(slots=True)
class _Walk:
    source: Source
    call: Call
    repository: str
    evidence: bool
    stat_blobs: bool
    limits: Limits
    seen: set[Digest] = field(default_factory=set)

    async def tree(self, root: Digest) -> AsyncIterator[Link]:
        found = Link(Kind.ROOT, Descriptor("", root, 0))
        async for link in self._manifest(found, 0):
            yield link

    async def _manifest(self, link: Link, depth: int, read: Link | None = None) -> AsyncIterator[Link]:
        """What the manifest needs, itself, then what refers to it. ``read``: the link when it was read before."""
        if not self._first(link, depth):
            return
        digest = link.descriptor.digest
        read = read or await self._read(link)
        if read.manifest is not None:
            async for needed in self._needed(read.manifest, depth):
                yield needed
        yield read
        if self.evidence and link.kind is not Kind.FALLBACK:
            async for evidence in self._evidence(digest, depth):
                yield evidence

    def _first(self, link: Link, depth: int) -> bool:
        digest = link.descriptor.digest
        if digest in self.seen:
            return False
        if depth > self.limits.depth or len(self.seen) >= self.limits.links:
            raise ManifestInvalid(
                f"{digest} lies deeper than {self.limits.depth} manifests or past {self.limits.links} links"
            )
        self.seen.add(digest)
        return True

    async def _read(self, link: Link) -> Link:
        expected = link.descriptor
        try:
            manifest = await self.source.get_manifest(self.call, self.repository, str(expected.digest))
        except _ABSENT:
            return replace(link, problem="missing")
        except (ManifestInvalid, DigestInvalid) as error:
            return replace(link, problem=error.message)
        if expected.size not in (0, manifest.size):
            problem = f"its parent says {expected.size} bytes, it has {manifest.size}"
            return replace(link, manifest=manifest, problem=problem)
        return replace(link, descriptor=manifest.descriptor, manifest=manifest)

    async def _needed(self, manifest: Manifest, depth: int) -> AsyncIterator[Link]:
        for at in range(0, len(manifest.blobs), AT_ONCE):
            for link in await self._blobs(manifest.digest, manifest.blobs[at : at + AT_ONCE], depth):
                yield link
        for at in range(0, len(manifest.children), AT_ONCE):
            some = manifest.children[at : at + AT_ONCE]
            read = await self._read_ahead(manifest.digest, some)
            for child in some:
                if child.media_type not in ACCEPTED:
                    for blob in await self._blobs(manifest.digest, [child], depth):
                        yield blob
                    continue
                link = Link(Kind.CHILD, child, manifest.digest)
                async for found in self._manifest(link, depth + 1, read.get(child.digest)):
                    yield found

    async def _read_ahead(self, parent: Digest, children: Sequence[Descriptor]) -> dict[Digest, Link]:
        """The platforms of an image cost one round trip, not one each."""
        fresh = {each.digest: each for each in children if each.media_type in ACCEPTED} if len(children) > 1 else {}
        wanted = [Link(Kind.CHILD, each, parent) for each in fresh.values() if each.digest not in self.seen]
        read = await _together([self._read(link) for link in wanted])
        return {link.descriptor.digest: found for link, found in zip(wanted, read, strict=True)}

    async def _blobs(self, parent: Digest, blobs: Sequence[Descriptor], depth: int) -> list[Link]:
        fresh = [link for link in (Link(Kind.BLOB, each, parent) for each in blobs) if self._first(link, depth)]
        if not self.stat_blobs:
            return fresh
        found = await _together([self._blob_problem(link.descriptor) for link in fresh])
        return [replace(link, problem=problem) for link, problem in zip(fresh, found, strict=True)]

    async def _blob_problem(self, expected: Descriptor) -> str:
        try:
            found = await self.source.stat_blob(self.call, self.repository, expected.digest)
        except _ABSENT:
            return "missing"
        return "" if found.size == expected.size else f"it has {found.size} bytes, not {expected.size}"

    async def _evidence(self, subject: Digest, depth: int) -> AsyncIterator[Link]:
        async for descriptor in self._referrers(subject):
            async for link in self._manifest(Link(Kind.REFERRER, descriptor, subject), depth + 1):
                yield link
        for link in await self._tagged(subject):
            async for found in self._manifest(link, depth + 1):
                yield found

    async def _referrers(self, subject: Digest) -> AsyncIterator[Descriptor]:
        source, repository = self.source, self.repository
        async for each in every(lambda after: source.referrers(self.call, repository, subject, after=after)):
            yield each

    async def _tagged(self, subject: Digest) -> Sequence[Link]:
        """What the tags that are named after a digest lead to; most digests have none."""
        base = f"{subject.algorithm}-{subject.hex}"
        names = [(Kind.FALLBACK, subject.fallback_tag)]
        names += [(Kind.COSIGN, base + suffix) for suffix in COSIGN_SUFFIXES if len(base + suffix) <= 128]
        found = await _together([self._resolve(tag) for _, tag in names])
        return [Link(kind, each, subject, tag) for (kind, tag), each in zip(names, found, strict=True) if each]

    async def _resolve(self, tag: str) -> Descriptor | None:
        try:
            return await self.source.resolve(self.call, self.repository, tag)
        except (*_ABSENT, Unsupported):
            return None


async def _together(asked: Sequence[Awaitable[T]]) -> list[T]:
    """All answers in order; raises the first error once all are done."""
    answers = await asyncio.gather(*asked, return_exceptions=True)
    return [_unless_error(each) for each in answers]


def _unless_error(answer: T | BaseException) -> T:
    if isinstance(answer, BaseException):
        raise answer
    return answer
