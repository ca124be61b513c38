"""Uploads over HTTP: sessions, chunks, one request, mounts (distribution-spec 1.1, "Pushing blobs")."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from oci_wire import routes
from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest, new_hasher
from oci_wire.errors import DigestInvalid, RegistryError, SizeInvalid
from oci_wire.reference import check_repository
from oci_wire.registry import Upload
from registry_node import ranges
from registry_node.exchange import Exchange
from registry_node.messages import Response


def _session(exchange: Exchange, upload: Upload, status: int) -> Response:
    headers: dict[str, str | tuple[str, ...]] = {
        "location": exchange.outside.url(routes.upload(exchange.route.repository, upload.id)),
        "range": f"0-{max(upload.offset - 1, 0)}",
        "docker-upload-uuid": upload.id,
    }
    if upload.min_chunk:
        headers["oci-chunk-min-length"] = str(upload.min_chunk)
    return Response(status, headers)


def _created(exchange: Exchange, digest: Digest) -> Response:
    location = exchange.outside.url(routes.blob(exchange.route.repository, digest))
    return Response(201, {"location": location, "docker-content-digest": str(digest)})


async def start(exchange: Exchange) -> Response:
    """Opens a session; with ``mount`` tries that first, with ``digest`` takes the blob in this one request."""
    exchange.caller.require_write(exchange.route.repository)
    if mount := exchange.route.get("mount"):
        digest = Digest.parse(mount)
        if await _mounted(exchange, digest):
            return _created(exchange, digest)
    if whole := exchange.route.get("digest"):
        return await _whole(exchange, Digest.parse(whole))
    algorithm = exchange.route.get("digest-algorithm") or "sha256"
    new_hasher(algorithm)  # refuses what we do not compute before a session exists
    upload = await exchange.registry.start_upload(exchange.call, exchange.route.repository, algorithm=algorithm)
    return _session(exchange, upload, 202)


async def _mounted(exchange: Exchange, digest: Digest) -> bool:
    """False also for a source that the caller may not pull: it looks like one without the blob (CVE-2024-39897)."""
    named, target = exchange.route.get("from") or None, exchange.route.repository
    source = exchange.outside.inside(check_repository(named)) if named else None
    if named and source is None:  # a repository of another node behind the same proxy
        return False
    may = exchange.caller.may_mount(source, target)
    may = may and (source is None or await exchange.may_pull_digest(source, digest))
    return may and await exchange.registry.mount_blob(exchange.call, target, digest, source)


async def _whole(exchange: Exchange, digest: Digest) -> Response:
    call, repository, body = exchange.call, exchange.route.repository, exchange.request.chunks()
    size = exchange.request.content_length
    if size is not None:
        await exchange.registry.put_blob(call, repository, Descriptor(OCTET_STREAM, digest, size), body)
    else:
        upload = await exchange.registry.start_upload(call, repository, algorithm=digest.algorithm)
        try:
            await exchange.registry.finish_upload(call, repository, upload.id, digest, body)
        except BaseException:  # also a client that left: nobody else knows this session
            with contextlib.suppress(RegistryError):
                await exchange.registry.cancel_upload(call, repository, upload.id)
            raise
    return _created(exchange, digest)


async def status(exchange: Exchange) -> Response:
    exchange.caller.require_write(exchange.route.repository)
    upload = await exchange.registry.upload_status(exchange.call, exchange.route.repository, exchange.route.target)
    return _session(exchange, upload, 204)


def _chunk(exchange: Exchange) -> tuple[int | None, AsyncIterator[bytes]]:
    """Where the sender thinks that the chunk belongs, and its bytes. Raises SizeInvalid, RequestInvalid."""
    span = ranges.upload(exchange.request.headers.get("content-range"))
    if span is None:
        return None, exchange.request.chunks()
    assert span.stop is not None
    length = exchange.request.content_length
    if length is not None and length != span.stop - span.start:
        raise SizeInvalid(f"Content-Range names {span.stop - span.start} bytes, Content-Length {length}")
    return span.start, exchange.request.chunks(span.stop - span.start)


async def append(exchange: Exchange) -> Response:
    exchange.caller.require_write(exchange.route.repository)
    at, chunks = _chunk(exchange)
    route = exchange.route
    upload = await exchange.registry.append(exchange.call, route.repository, route.target, chunks, start=at)
    return _session(exchange, upload, 202)


async def finish(exchange: Exchange) -> Response:
    exchange.caller.require_write(exchange.route.repository)
    given = exchange.route.get("digest")
    if not given:
        raise DigestInvalid("the digest parameter is missing: PUT .../blobs/uploads/<session>?digest=sha256:...")
    digest, route = Digest.parse(given), exchange.route
    at, chunks = _chunk(exchange)
    body = chunks if exchange.request.has_body else None
    await exchange.registry.finish_upload(exchange.call, route.repository, route.target, digest, body, start=at)
    return _created(exchange, digest)


async def cancel(exchange: Exchange) -> Response:
    exchange.caller.require_write(exchange.route.repository)
    await exchange.registry.cancel_upload(exchange.call, exchange.route.repository, exchange.route.target)
    return Response(204)
