"""Blobs over HTTP: reading, ranges, deletion (distribution-spec 1.1, "Pulling blobs")."""

from __future__ import annotations

import asyncio
import os

from oci_wire.descriptor import OCTET_STREAM
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, RangeInvalid, to_json
from oci_wire.registry import BlobStream
from registry_node import ranges
from registry_node.exchange import Exchange
from registry_node.manifests import matches_etag
from registry_node.messages import Response

_INLINE = 256 * 1024  # bytes


def _headers(digest: Digest, length: int) -> dict[str, str | tuple[str, ...]]:
    return {
        "content-type": OCTET_STREAM,
        "content-length": str(length),
        "docker-content-digest": str(digest),
        "etag": f'"{digest}"',
        "accept-ranges": "bytes",
    }


async def head(exchange: Exchange) -> Response:
    repository, digest = exchange.route.repository, Digest.parse(exchange.route.target)
    await exchange.require_pull_digest(digest, BlobUnknown)
    found = await exchange.registry.stat_blob(exchange.call, repository, digest)
    if matches_etag(exchange.request.headers.get("if-none-match"), digest):
        return _unchanged(digest)
    return Response(200, _headers(digest, found.size))


def _unchanged(digest: Digest) -> Response:
    return Response(304, {"docker-content-digest": str(digest), "etag": f'"{digest}"'})


async def get(exchange: Exchange) -> Response:
    repository, digest = exchange.route.repository, Digest.parse(exchange.route.target)
    await exchange.require_pull_digest(digest, BlobUnknown)
    headers = exchange.request.headers
    if matches_etag(headers.get("if-none-match"), digest):
        await exchange.registry.stat_blob(exchange.call, repository, digest)  # it must still be there
        return _unchanged(digest)
    try:
        fresh = "if-range" not in headers or matches_etag(headers["if-range"], digest)
        span = ranges.download(headers.get("range")) if fresh else None
        stream = await exchange.registry.open_blob(exchange.call, repository, digest, span)
    except RangeInvalid as error:
        return await _past_the_end(exchange, digest, error)
    return await _answer(digest, stream, partial=span is not None)


async def _answer(digest: Digest, stream: BlobStream, *, partial: bool) -> Response:
    headers = _headers(digest, stream.length)
    if partial:
        headers["content-range"] = f"bytes {stream.start}-{stream.stop - 1}/{stream.descriptor.size}"
    content = await asyncio.to_thread(_small, stream) if stream.path and stream.length <= _INLINE else None
    return Response(206 if partial else 200, headers, stream if content is None else content)


def _small(stream: BlobStream) -> bytes | None:
    """A small file in one read, so that head and body leave together; None: stream it."""
    assert stream.path is not None
    try:
        with stream.path.open("rb", buffering=0) as file:
            content = os.pread(file.fileno(), stream.length, stream.start)
    except OSError:
        return None  # the stream says what is wrong, in the port's words
    return content if len(content) == stream.length else None


async def _past_the_end(exchange: Exchange, digest: Digest, error: RangeInvalid) -> Response:
    found = await exchange.registry.stat_blob(exchange.call, exchange.route.repository, digest)
    headers: dict[str, str | tuple[str, ...]] = {
        "content-type": "application/json",
        "content-range": f"bytes */{found.size}",
    }
    return Response(416, headers, to_json(error))


async def delete(exchange: Exchange) -> Response:
    repository = exchange.route.repository
    exchange.caller.require_delete(repository)
    await exchange.registry.delete_blob(exchange.call, repository, Digest.parse(exchange.route.target))
    return Response(202)
