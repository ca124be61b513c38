"""A registry around another one that changes nothing: what every view starts from.

Each method is written out, so that a new method of the port is missing here until somebody has thought about it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.extension import (
    ClosureReport,
    Event,
    Explanation,
    Extension,
    Features,
    Hold,
    HoldReceipt,
    Lease,
    LeaseRenewal,
    LeaseRequest,
    TagReceipt,
    TagStates,
    TagTransaction,
)
from oci_wire.manifest import Manifest
from oci_wire.registry import BlobStream, ByteRange, Call, Chunks, Page, Registry, Upload


class Whole(Registry, Extension, Protocol):
    """Both ports, and what grants for some tags need: what a node is made of."""

    async def reached(self, call: Call, repository: str, digest: Digest, wanted: Callable[[str], bool]) -> bool:
        """Whether a tag that is ``wanted`` reaches these bytes: as its manifest, as a manifest of its index, as config
        or layer of one of these, or as what refers to one. False for what is not here."""
        ...


class Through:
    """Satisfies both ports by asking ``inner``."""

    def __init__(self, inner: Whole) -> None:
        self.inner = inner

    async def resolve(self, call: Call, repository: str, reference: str) -> Descriptor:
        return await self.inner.resolve(call, repository, reference)

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        return await self.inner.get_manifest(call, repository, reference)

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        return await self.inner.stat_blob(call, repository, digest)

    async def open_blob(self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None) -> BlobStream:
        return await self.inner.open_blob(call, repository, digest, span)

    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        return await self.inner.mount_blob(call, repository, digest, source)

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        return await self.inner.put_blob(call, repository, descriptor, chunks)

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        return await self.inner.start_upload(call, repository, algorithm=algorithm)

    async def upload_status(self, call: Call, repository: str, upload_id: str) -> Upload:
        return await self.inner.upload_status(call, repository, upload_id)

    async def append(
        self, call: Call, repository: str, upload_id: str, chunks: Chunks, *, start: int | None = None
    ) -> Upload:
        return await self.inner.append(call, repository, upload_id, chunks, start=start)

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
        return await self.inner.finish_upload(call, repository, upload_id, digest, chunks, start=start)

    async def cancel_upload(self, call: Call, repository: str, upload_id: str) -> None:
        await self.inner.cancel_upload(call, repository, upload_id)

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        return await self.inner.put_manifest(call, repository, manifest, tags=tags)

    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Page[str]:
        return await self.inner.repositories(call, after=after, limit=limit)

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        return await self.inner.tags(call, repository, after=after, limit=limit)

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        return await self.inner.referrers(call, repository, digest, artifact_type=artifact_type, after=after)

    async def delete_tag(self, call: Call, repository: str, tag: str) -> None:
        await self.inner.delete_tag(call, repository, tag)

    async def delete_manifest(self, call: Call, repository: str, digest: Digest) -> None:
        await self.inner.delete_manifest(call, repository, digest)

    async def delete_blob(self, call: Call, repository: str, digest: Digest) -> None:
        await self.inner.delete_blob(call, repository, digest)

    async def reached(self, call: Call, repository: str, digest: Digest, wanted: Callable[[str], bool]) -> bool:
        return await self.inner.reached(call, repository, digest, wanted)

    async def features(self, call: Call) -> Features | None:
        return await self.inner.features(call)

    async def take_lease(self, call: Call, repository: str, request: LeaseRequest) -> Lease:
        return await self.inner.take_lease(call, repository, request)

    async def renew_lease(self, call: Call, repository: str, lease_id: str, renewal: LeaseRenewal) -> Lease:
        return await self.inner.renew_lease(call, repository, lease_id, renewal)

    async def release_lease(self, call: Call, repository: str, lease_id: str, token: int) -> None:
        await self.inner.release_lease(call, repository, lease_id, token)

    async def put_hold(self, call: Call, repository: str, owner: str, hold: Hold) -> HoldReceipt:
        return await self.inner.put_hold(call, repository, owner, hold)

    async def drop_hold(self, call: Call, repository: str, owner: str) -> None:
        await self.inner.drop_hold(call, repository, owner)

    async def commit_tags(self, call: Call, repository: str, txid: str, transaction: TagTransaction) -> TagReceipt:
        return await self.inner.commit_tags(call, repository, txid, transaction)

    async def read_transaction(self, call: Call, repository: str, txid: str) -> TagReceipt | None:
        return await self.inner.read_transaction(call, repository, txid)

    async def abort_transaction(self, call: Call, repository: str, txid: str) -> None:
        await self.inner.abort_transaction(call, repository, txid)

    async def tag_states(
        self, call: Call, repository: str, *, after: str = "", limit: int = 1000, known_rev: int | None = None
    ) -> TagStates | None:
        return await self.inner.tag_states(call, repository, after=after, limit=limit, known_rev=known_rev)

    async def closure(self, call: Call, repository: str, digest: Digest, *, rehash: bool = False) -> ClosureReport:
        return await self.inner.closure(call, repository, digest, rehash=rehash)

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        return await self.inner.why(call, repository, reference)

    def events(self, call: Call, *, after: int = 0, wait: float = 0.0) -> AsyncIterator[Event]:
        return self.inner.events(call, after=after, wait=wait)
