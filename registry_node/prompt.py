"""The short way of a read: a manifest, or a small blob, answered at once, on the event loop, without a coroutine.

Credential from memory, grants, what the index says now (so a tag is never stale), rendered bytes by digest
(immutable). Whatever is not plain here - wrong credentials, a missing grant, an unknown name, a condition - is None: the
long way answers, so there is one place where refusals are made. A contract test sends the same requests both ways.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from oci_wire.descriptor import OCTET_STREAM
from oci_wire.errors import RegistryError
from registry_node.access import Access
from registry_node.known_heads import Asker, Header, KnownHeads, Target
from registry_node.records import Records

INLINE = 256 * 1024  # bytes of the largest blob that is read here, on the event loop
_RENDERED_BYTES = 64 * 1024 * 1024


class Reads(Protocol):
    """What a registry can tell without waiting (registry_node.storage.reads). Digests as text. Raises RegistryError."""

    def named(self, repository: str, reference: str) -> tuple[str, str] | None:
        """Media type and digest of the manifest that a tag or a digest names now."""

    def manifest_bytes(self, digest: str) -> bytes | None: ...

    def blob_bytes(self, repository: str, digest: str, most: int) -> bytes | None:
        """A whole blob of this repository; None: there is none, or it has more than ``most`` bytes."""


class Rendered(NamedTuple):
    """A whole answer but its request id. ``lines``: the headers as they are sent."""

    lines: bytes
    body: bytes

    @property
    def headers(self) -> list[Header]:
        pairs = (line.partition(b": ") for line in self.lines.splitlines())
        return [(name, value) for name, _, value in pairs]


class Prompt:
    """Answers what it can. Not safe for several threads: it belongs to one event loop."""

    def __init__(self, reads: Reads | None, access: Access, records: Records) -> None:
        self._reads, self._limiter, self._records = reads, access.limiter, records
        self.known = KnownHeads(access, records)
        self._manifests: OrderedDict[tuple[str, ...], Rendered] = OrderedDict()
        self._bytes = 0

    def answer(self, method: str, path: bytes, headers: Iterable[Header], remote: str) -> tuple[Rendered, str] | None:
        """For a GET or HEAD. ``path`` as it was sent. With its request id, recorded as sent."""
        target, asker = self.known.target(method, path), self.known.asker(headers)
        if target is None or asker is None:
            return None
        return self.answer_to(target, asker, remote)

    def answer_to(self, target: Target, asker: Asker, remote: str) -> tuple[Rendered, str] | None:
        """The same once it is clear who asks for what."""
        began = time.monotonic()
        if not target.is_open_to(asker):
            return None
        try:
            found = self.found(target, asker)
        except RegistryError:
            return None
        if found is None or not self._limiter.admits(remote, asker.name):
            return None
        sent = 0 if target.head else len(found.body)
        return found, self._records.add_prompt(target.tally, asker.logged + target.logged, remote, sent, began)

    def found(self, target: Target, asker: Asker) -> Rendered | None:
        """The answer, for one who may pull it; None: not at once. Raises RegistryError."""
        assert self._reads is not None
        return self.read(self._reads, target)

    def read(self, reads: Reads, target: Target) -> Rendered | None:
        """The same out of these."""
        if target.blob:
            return self._blob(reads, target.repository, target.reference)
        named = reads.named(target.repository, target.reference)
        return None if named is None else self._manifests.get(named) or self._render(reads, named)

    def _render(self, reads: Reads, named: tuple[str, str]) -> Rendered | None:
        media_type, digest = named
        content = reads.manifest_bytes(digest)
        return None if content is None else self.keep(named, rendered(media_type, digest, content))

    def keep(self, key: tuple[str, ...], answer: Rendered) -> Rendered:
        """Remembers an answer that never changes."""
        self._manifests[key] = answer
        self._bytes += len(answer.body)
        while self._bytes > _RENDERED_BYTES:
            self._bytes -= len(self._manifests.popitem(last=False)[1].body)
        return answer

    def _blob(self, reads: Reads, repository: str, digest: str) -> Rendered | None:
        content = reads.blob_bytes(repository, digest, INLINE)
        if content is None:
            return None
        return rendered(OCTET_STREAM, digest, content, b"accept-ranges: bytes\r\n")


def rendered(media_type: str, digest: str, content: bytes, more: bytes = b"") -> Rendered:
    named = digest.encode()
    lines = (
        b'content-type: %b\r\ncontent-length: %d\r\ndocker-content-digest: %b\r\netag: "%b"\r\n%b'
        b"docker-distribution-api-version: registry/2.0\r\n"
    ) % (media_type.encode("latin-1"), len(content), named, named, more)
    return Rendered(lines, content)
