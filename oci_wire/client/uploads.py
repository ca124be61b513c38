"""Blobs and manifests on their way to a remote registry.

A small blob goes in one PUT, a bigger one in PATCHes of ``chunk_size``, each kept until it has arrived, so that a cut
costs one chunk at most. A registry that takes no PATCH gets the whole blob in one PUT.
Sessions are known by the URL that the registry gave last; on another origin it gets no credentials.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx

from oci_wire import routes
from oci_wire.client.manifest_puts import ManifestPuts
from oci_wire.client.transport import Answer, Ask
from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUploadUnknown,
    NameUnknown,
    RangeInvalid,
    RegistryError,
    Unavailable,
    Unsupported,
)
from oci_wire.registry import Call, Chunks, Upload
from oci_wire.streams import pieces
from oci_wire.verify import verified

_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")


class Uploads(ManifestPuts):
    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        name = self._where.there(repository)
        there = self._where.there(source) if source else None
        wanted = self._push(name) | (self._pull(there) if there and there != name else frozenset())
        target = str(routes.uploads(name, mount=digest, source=there))
        try:
            answer = await self._transport.send(call, Ask("POST", target, wanted, expect=(201, 202)))
        except (Unsupported, NameUnknown):
            return False
        if answer.status == 202:  # it opened a session instead
            with suppress(RegistryError):
                await self.cancel_upload(call, repository, self._session(answer, Upload("")).id)
        return answer.status == 201

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        proven = verified(chunks, descriptor.digest, descriptor.size)
        upload = await self.start_upload(call, repository, algorithm=descriptor.digest.algorithm)
        try:
            cut = pieces(proven, max(self._chunk_size, upload.min_chunk))
            first = await anext(cut, b"")
            if len(first) == descriptor.size:
                await self._finish(call, repository, upload, descriptor.digest, first)
            else:
                await self._put_in_pieces(call, repository, upload, descriptor, first=first, rest=cut)
        except Exception:
            with suppress(RegistryError):
                await self.cancel_upload(call, repository, upload.id)
            raise
        return Descriptor(OCTET_STREAM, descriptor.digest, descriptor.size)

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        name = self._where.there(repository)
        target = str(routes.uploads(name, algorithm="" if algorithm == "sha256" else algorithm))
        answer = await self._transport.send(call, Ask("POST", target, self._push(name), expect=(202,)))
        return self._session(answer, Upload(""))

    async def upload_status(self, call: Call, repository: str, upload_id: str) -> Upload:
        answer = await self._transport.send(call, self._in_session("GET", repository, upload_id, expect=(204, 200)))
        return self._session(answer, Upload(upload_id), _received(answer.headers))

    async def append(
        self, call: Call, repository: str, upload_id: str, chunks: Chunks, *, start: int | None = None
    ) -> Upload:
        state = Upload(upload_id, start) if start is not None else await self.upload_status(call, repository, upload_id)
        async for piece in pieces(chunks, self._chunk_size):
            state = await self._append_piece(call, repository, state, piece)
        return state

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
        state = Upload(upload_id)
        if chunks is not None:
            state = await self.append(call, repository, upload_id, chunks, start=start)
        await self._finish(call, repository, state, digest, b"")
        return await self.stat_blob(call, repository, digest)

    async def cancel_upload(self, call: Call, repository: str, upload_id: str) -> None:
        await self._transport.send(call, self._in_session("DELETE", repository, upload_id, expect=(202, 204, 200)))

    async def _put_in_pieces(
        self, call: Call, repository: str, upload: Upload, descriptor: Descriptor, *, first: bytes, rest: Chunks
    ) -> None:
        try:
            state = await self._append_piece(call, repository, upload, first)
        except Unsupported:
            await self._put_at_once(call, repository, upload, descriptor, first=first, rest=rest)
            return
        async for piece in rest:
            state = await self._append_piece(call, repository, state, piece)
        await self._finish(call, repository, state, descriptor.digest, b"")

    async def _append_piece(self, call: Call, repository: str, upload: Upload, piece: bytes) -> Upload:
        """After a cut the registry is asked how much of it has arrived, and gets the rest."""
        state, tried = upload, False

        async def attempt() -> Upload:
            nonlocal state, tried
            if tried:
                state = await self.upload_status(call, repository, state.id)
            tried = True
            sent = state.offset - upload.offset
            if not 0 <= sent <= len(piece):
                raise RangeInvalid(f"the upload is at byte {state.offset}, not within {upload.offset} + {len(piece)}")
            return await self._patch(call, repository, state, piece[sent:]) if sent < len(piece) else state

        return await self._transport.retry(attempt)

    async def _patch(self, call: Call, repository: str, state: Upload, piece: bytes) -> Upload:
        headers = {
            "Content-Type": OCTET_STREAM,
            "Content-Range": f"{state.offset}-{state.offset + len(piece) - 1}",
        }
        ask = self._in_session("PATCH", repository, state.id, headers=headers, content=piece, expect=(202,))
        answer = await self._transport.send_once(call, ask)
        return self._session(answer, state, state.offset + len(piece))

    async def _finish(self, call: Call, repository: str, state: Upload, digest: Digest, content: bytes) -> None:
        """Content is all of the blob, or nothing when it was sent before. An answer that was lost may have been a
        success: then the session is gone and the blob is there."""
        tried = False

        async def attempt() -> None:
            nonlocal tried
            again, tried = tried, True
            try:
                await self._transport.send_once(call, self._closing(repository, state, digest, content))
            except BlobUploadUnknown:
                if not again:
                    raise
                await self.stat_blob(call, repository, digest)

        await self._transport.retry(attempt)

    async def _put_at_once(
        self, call: Call, repository: str, upload: Upload, descriptor: Descriptor, *, first: bytes, rest: Chunks
    ) -> None:
        async def whole() -> AsyncIterator[bytes]:
            yield first
            async for piece in rest:
                yield piece

        ask = self._closing(repository, upload, descriptor.digest, whole(), descriptor.size)
        await self._transport.send_once(call, ask)

    def _closing(
        self, repository: str, state: Upload, digest: Digest, content: bytes | Chunks, size: int | None = None
    ) -> Ask:
        url = httpx.URL(state.id).copy_add_param("digest", str(digest))
        headers = {"Content-Type": OCTET_STREAM} | ({} if size is None else {"Content-Length": str(size)})
        return self._in_session("PUT", repository, str(url), headers=headers, content=content, expect=(201, 204))

    def _in_session(
        self,
        method: str,
        repository: str,
        upload_id: str,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | Chunks = b"",
        expect: tuple[int, ...] = (),
    ) -> Ask:
        name = self._where.there(repository)
        try:
            url = httpx.URL(upload_id)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise BlobUploadUnknown("an upload session of this registry is a URL that it gave")
        return Ask(method, url, self._push(name), headers or {}, content, expect, BlobUploadUnknown)

    def _session(self, answer: Answer, before: Upload, offset: int = 0) -> Upload:
        location = answer.headers.get("location")
        if not location and not before.id:
            raise Unavailable(f"{self._transport.home} opened an upload without saying where (Location)")
        url = str(self._transport.follow(answer.url, location)) if location else before.id
        least = answer.headers.get("oci-chunk-min-length", "")
        return Upload(url, offset, int(least) if least.isdigit() else before.min_chunk)


def _received(headers: httpx.Headers) -> int:
    """Bytes from ``Range: 0-<last>``; "0-0" is what registries say of an empty session."""
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    return int(found[1]) + 1 if found and found[1] != "0" else 0
