"""The port that every registry satisfies: memory, local node, mirror, virtual, remote client, views.

The first argument of each method is the Call: on whose behalf, under which request id, until when.
Every method may raise Unauthorized, Denied, TooManyRequests, Unavailable, Internal (errors.py); each lists its others.
Source: OCI distribution-spec 1.1.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, runtime_checkable
from uuid import uuid4

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import RangeInvalid, Unavailable
from oci_wire.manifest import Manifest

T = TypeVar("T")
Chunks = AsyncIterator[bytes]
VIA = "towpath-via"  # header: marks of the nodes that a request has come through, as RFC 9110's Via without their names
MOST_VIA = 16


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks (a principal's name, "" for anonymous), under which id, until when (``time.monotonic()`` seconds).

    ``ns``: the registry that is meant when a mirror stands for several (containerd's ``?ns=``). ``notes``: headers that
    a registry wants beside the answer, also beside a refusal: Age, Warning, X-Towpath-Member. ``groups``, ``robot``: of
    whoever asks, for a registry that stands before others and keeps their grants. ``via``: the nodes that this has come
    through, which a request to another registry tells on (VIA)."""

    identity: str = ""
    request_id: str = field(default_factory=lambda: uuid4().hex)
    deadline: float | None = None
    ns: str = ""
    notes: dict[str, str] = field(default_factory=dict, compare=False)
    groups: frozenset[str] = frozenset()
    robot: bool = False
    via: tuple[str, ...] = ()

    def remaining(self) -> float | None:
        """Seconds left, None without a deadline. Raises Unavailable once it has passed."""
        if self.deadline is None:
            return None
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Unavailable("the deadline of this call has passed")
        return left


@dataclass(frozen=True, slots=True)
class ByteRange:
    """``start`` to ``stop`` (exclusive); ``stop`` None means to the end; a negative ``start`` means the last n bytes."""

    start: int = 0
    stop: int | None = None

    def within(self, size: int) -> tuple[int, int]:
        """``(start, stop)`` in a content of this size, the end clamped (RFC 9110 section 14.1.2).

        Raises RangeInvalid when it is reversed or past the end; the whole of an empty content is allowed."""
        start = max(0, size + self.start) if self.start < 0 else self.start
        stop = size if self.stop is None or self.start < 0 else min(self.stop, size)
        whole = start == 0 and self.stop is None and self.start == 0
        if start >= stop and not (whole and size == 0):
            raise RangeInvalid(f"bytes {self.start} to {self.stop} are not within {size} bytes")
        return start, stop


@dataclass(slots=True)
class BlobStream:
    """An opened blob: the bytes ``start`` to ``stop`` (exclusive) of ``descriptor.size``. Close it, or use ``async with``.

    ``path`` is set when the bytes are a plain file on this host, for sendfile."""

    descriptor: Descriptor
    start: int
    stop: int
    chunks: Chunks
    path: Path | None = None

    @property
    def length(self) -> int:
        return self.stop - self.start

    async def read(self) -> bytes:
        """All of it, for small blobs (configs)."""
        async with self:
            return b"".join([chunk async for chunk in self.chunks])

    async def aclose(self) -> None:
        close = getattr(self.chunks, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload session. ``id`` means something to the registry that gave it, and to no one else."""

    id: str
    offset: int = 0  # bytes received so far
    min_chunk: int = 0  # OCI-Chunk-Min-Length


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list; ``next`` is the ``after`` of the following page, None at the end."""

    items: tuple[T, ...]
    next: str | None = None


async def every(page_after: Callable[[str], Awaitable[Page[T]]]) -> AsyncIterator[T]:
    """All items of a list, page by page, read as they are needed. Raises what reading a page raises."""
    after: str | None = ""
    while after is not None:
        page = await page_after(after)
        for item in page.items:
            yield item
        after = page.next


class Reader(Protocol):
    async def resolve(self, call: Call, repository: str, reference: str) -> Descriptor:
        """What a tag or digest names now: media type, digest, size. Raises ManifestUnknown, NameUnknown."""
        ...

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        """The manifest that a tag or digest names. Raises ManifestUnknown, NameUnknown."""
        ...

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        """Size of a blob of this repository. Raises BlobUnknown, NameUnknown."""
        ...

    async def open_blob(self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None) -> BlobStream:
        """The blob's bytes or a part of them. Raises BlobUnknown, NameUnknown, RangeInvalid (416)."""
        ...


class Writer(Protocol):
    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        """Makes a blob of ``source`` (None: of any repository the caller may read) a blob of this one, without
        sending it. False when the registry will not: then send it."""
        ...

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        """A whole blob of known digest and size. Raises DigestInvalid, SizeInvalid, InsufficientStorage."""
        ...

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        """A new upload session. ``algorithm`` is that of the digest to come."""
        ...

    async def upload_status(self, call: Call, repository: str, upload_id: str) -> Upload:
        """How far a session is. Raises BlobUploadUnknown."""
        ...

    async def append(
        self, call: Call, repository: str, upload_id: str, chunks: Chunks, *, start: int | None = None
    ) -> Upload:
        """More bytes; ``start`` is where the sender thinks they belong. Raises BlobUploadUnknown, RangeInvalid (416;
        the session is unchanged)."""
        ...

    async def finish_upload(
        self,
        call: Call,
        repository: str,
        upload_id: str,
        digest: Digest,
        chunks: Chunks | None = None,
        *,
        start: int | None = None,
    ) -> Descriptor:
        """The last bytes and the digest of all of them. Raises BlobUploadUnknown, DigestInvalid, RangeInvalid."""
        ...

    async def cancel_upload(self, call: Call, repository: str, upload_id: str) -> None:
        """Ends a session and drops its bytes. Raises BlobUploadUnknown."""
        ...

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        """Stores the manifest's bytes and points the tags at them. Raises ManifestBlobUnknown, ManifestInvalid,
        TagImmutable, InsufficientStorage."""
        ...


class Lister(Protocol):
    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Page[str]:
        """Names in byte order."""
        ...

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        """Tags in byte order. Raises NameUnknown."""
        ...

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        """Manifests whose subject is this digest; empty when there is none, or no such digest."""
        ...


class Deleter(Protocol):
    async def delete_tag(self, call: Call, repository: str, tag: str) -> None:
        """The digest stays. Raises ManifestUnknown, TagImmutable, Unsupported."""
        ...

    async def delete_manifest(self, call: Call, repository: str, digest: Digest) -> None:
        """Its tags go with it. Raises ManifestUnknown, TagImmutable, Unsupported."""
        ...

    async def delete_blob(self, call: Call, repository: str, digest: Digest) -> None:
        """Raises BlobUnknown, Unsupported."""
        ...


@runtime_checkable
class Registry(Reader, Writer, Lister, Deleter, Protocol):
    """All of it."""


async def once(content: bytes) -> Chunks:
    """These bytes as a stream of one chunk."""
    if content:
        yield content
