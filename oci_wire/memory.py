"""A whole registry in memory: the twin of the real ones, for tests and for trying things.

It keeps the rules that callers can see: reads by digest are per repository, an immutable tag protects its digest,
a manifest needs its blobs, tag changes bump the rev. It has no accounts, and nothing is ever collected."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest, new_hasher
from oci_wire.errors import BlobUnknown, BlobUploadUnknown, DigestInvalid, ManifestUnknown, NameUnknown, RangeInvalid
from oci_wire.manifest import Manifest
from oci_wire.memory_extension import MemoryExtension
from oci_wire.memory_state import Session, State, page, reached
from oci_wire.reference import check_repository, check_tag
from oci_wire.registry import BlobStream, ByteRange, Call, Chunks, Page, Upload, once
from oci_wire.verify import verified


class MemoryRegistry(MemoryExtension):
    """Satisfies ``Registry`` and ``Extension``. ``clock`` gives seconds since the epoch.

    ``immutable_tags``: shell patterns; ``capacity``: bytes of blobs; ``page_size``: the longest page of any list;
    ``min_chunk``: what it announces as OCI-Chunk-Min-Length."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        node: str = "memory",
        scope: str = "memory",
        immutable_tags: Sequence[str] = (),
        capacity: int | None = None,
        page_size: int = 1000,
        min_chunk: int = 0,
        keep_events: int = 100_000,
    ) -> None:
        super().__init__(State(clock, immutable_tags, capacity, keep_events), node, scope, page_size)
        self._min_chunk = min_chunk

    # Reader

    async def resolve(self, call: Call, repository: str, reference: str) -> Descriptor:
        return self._state.find(self._state.repository(call, repository), reference).descriptor

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest:
        here = self._state.repository(call, repository)
        found = self._state.find(here, reference)
        if reference in here.tags:
            here.tags[reference].pulled = self._state.clock()
        return found

    async def stat_blob(self, call: Call, repository: str, digest: Digest) -> Descriptor:
        content = self._state.blob(self._state.repository(call, repository), digest)
        return Descriptor(OCTET_STREAM, digest, len(content))

    async def open_blob(self, call: Call, repository: str, digest: Digest, span: ByteRange | None = None) -> BlobStream:
        content = self._state.blob(self._state.repository(call, repository), digest)
        start, stop = (span or ByteRange()).within(len(content))
        return BlobStream(Descriptor(OCTET_STREAM, digest, len(content)), start, stop, once(content[start:stop]))

    # Writer

    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        call.remaining()
        known = self._state.repositories
        names = known if source is None else (check_repository(source),)
        if not any(name in known and digest in known[name].blobs for name in names):
            return False
        self._state.written(call, repository).blobs.add(digest)
        return True

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        here = self._state.written(call, repository)
        content = b"".join([chunk async for chunk in verified(chunks, descriptor.digest, descriptor.size)])
        self._state.store_blob(here, descriptor.digest, content)
        return Descriptor(OCTET_STREAM, descriptor.digest, len(content))

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        new_hasher(algorithm)  # refused now rather than at the end
        session = uuid4().hex
        self._state.written(call, repository).uploads[session] = Session(algorithm, call.identity)
        return Upload(session, 0, self._min_chunk)

    async def upload_status(self, call: Call, repository: str, upload_id: str) -> Upload:
        return Upload(upload_id, len(self._session(call, repository, upload_id).content), self._min_chunk)

    async def append(
        self, call: Call, repository: str, upload_id: str, chunks: Chunks, *, start: int | None = None
    ) -> Upload:
        session = self._session(call, repository, upload_id)
        _check_start(session, start)
        added = b"".join([chunk async for chunk in chunks])
        _check_start(session, start)  # another request may have been quicker
        session.content += added
        return Upload(upload_id, len(session.content), self._min_chunk)

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
        if chunks is not None or start is not None:
            await self.append(call, repository, upload_id, chunks or once(b""), start=start)
        content = bytes(self._session(call, repository, upload_id).content)
        here = self._state.repository(call, repository)
        del here.uploads[upload_id]
        if Digest.of(content, digest.algorithm) != digest:
            raise DigestInvalid(f"the {len(content)} bytes of this upload are not {digest}")
        self._state.store_blob(here, digest, content)
        return Descriptor(OCTET_STREAM, digest, len(content))

    async def cancel_upload(self, call: Call, repository: str, upload_id: str) -> None:
        self._session(call, repository, upload_id)
        del self._state.repository(call, repository).uploads[upload_id]

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        here = self._state.written(call, repository)
        self._state.check_blobs(here, manifest)
        self._state.check_type(here, manifest)
        for tag in tags:
            self._state.check_tag_change(here, check_tag(tag), manifest.digest)
        if manifest.digest not in here.manifests:
            here.manifests[manifest.digest] = manifest
            here.rev += 1
            self._state.publish(call, "manifest", repository, digest=manifest.digest)
        for tag in tags:
            self._state.set_tag(call, repository, tag, manifest.digest)
        return manifest.descriptor

    # Lister

    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Page[str]:
        call.remaining()
        names = sorted(name for name, each in self._state.repositories.items() if each.manifests or each.blobs)
        return page(names, names, after, limit, self._page_size)

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        names = sorted(self._state.repository(call, repository).tags)
        return page(names, names, after, limit, self._page_size)

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        try:
            here = self._state.repository(call, repository)
        except NameUnknown:
            return Page(())
        found = sorted(
            (each for each in here.manifests.values() if each.subject and each.subject.digest == digest),
            key=lambda each: str(each.digest),
        )
        shown = [each.referrer_descriptor for each in found if artifact_type in ("", each.artifact_type)]
        return page(shown, [str(each.digest) for each in shown], after, None, self._page_size)

    async def reached(self, call: Call, repository: str, digest: Digest, wanted: Callable[[str], bool]) -> bool:
        """Whether a tag that is ``wanted`` reaches these bytes (a node asks it for grants that name tags)."""
        call.remaining()
        here = self._state.repositories.get(repository)
        return here is not None and reached(here, digest, wanted)

    # Deleter

    async def delete_tag(self, call: Call, repository: str, tag: str) -> None:
        here = self._state.repository(call, repository)
        if check_tag(tag) not in here.tags:
            raise ManifestUnknown(f"tag {tag!r} is not here")
        self._state.check_tag_change(here, tag, None)
        self._state.set_tag(call, repository, tag, None)

    async def delete_manifest(self, call: Call, repository: str, digest: Digest) -> None:
        here = self._state.repository(call, repository)
        found = self._state.find(here, str(digest))
        tags = [tag for tag, each in here.tags.items() if each.digest == digest]
        for tag in tags:
            self._state.check_tag_change(here, tag, None)
        self._state.check_free(here, digest)
        for tag in tags:
            self._state.set_tag(call, repository, tag, None)
        del here.manifests[found.digest]
        here.rev += 1
        self._state.publish(call, "manifest-deleted", repository, old=digest)

    async def delete_blob(self, call: Call, repository: str, digest: Digest) -> None:
        here = self._state.repository(call, repository)
        if digest not in here.blobs:
            raise BlobUnknown(f"blob {digest} is not here")
        self._state.check_free(here, digest)
        here.blobs.remove(digest)

    def _session(self, call: Call, repository: str, upload_id: str) -> Session:
        """Another's session looks like none."""
        try:
            session = self._state.repository(call, repository).uploads[upload_id]
        except (KeyError, NameUnknown):
            session = None
        if session is None or session.identity != call.identity:
            raise BlobUploadUnknown("this upload session is not here: it ended, or never was")
        return session


def _check_start(session: Session, start: int | None) -> None:
    if start is not None and start != len(session.content):
        raise RangeInvalid(f"the next byte of this upload is {len(session.content)}, not {start}")
