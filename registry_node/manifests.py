"""Manifests over HTTP (distribution-spec 1.1, "Pulling manifests", "Pushing Manifests", "Deleting")."""

from __future__ import annotations

from oci_wire import routes
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import DigestInvalid, ManifestTooLarge, ManifestUnknown, RequestInvalid
from oci_wire.manifest import Manifest
from oci_wire.reference import check_tag
from registry_node.exchange import Exchange
from registry_node.messages import Response

MAX_TAGS = 100  # ``tag`` parameters of one PUT; the spec asks for ten


class TooManyTags(RequestInvalid):
    """414 (distribution-spec, main branch: at least ten must be taken)."""

    status = 414


def _tag_of(reference: str) -> str | None:
    return None if looks_like_digest(reference) else reference


def _headers(found: Descriptor) -> dict[str, str | tuple[str, ...]]:
    digest = str(found.digest)
    return {
        "content-type": found.media_type,
        "content-length": str(found.size),
        "docker-content-digest": digest,
        "etag": f'"{digest}"',
    }


def matches_etag(header: str | None, digest: Digest) -> bool:
    """Whether an If-None-Match header names this digest (RFC 9110 section 13.1.2, weak comparison)."""
    if header is None:
        return False
    named = (each.strip().removeprefix("W/").strip('"') for each in header.split(","))
    return any(each in ("*", str(digest)) for each in named)


async def require_pull(exchange: Exchange, reference: str) -> None:
    """Whether the caller may pull what a tag or digest names. Raises Challenged, NameUnknown, ManifestUnknown."""
    tag = _tag_of(reference)
    if tag is None:
        await exchange.require_pull_digest(Digest.parse(reference), ManifestUnknown)
    else:
        exchange.caller.require_pull(exchange.route.repository, tag)


async def head(exchange: Exchange) -> Response:
    repository, reference = exchange.route.repository, exchange.route.target
    await require_pull(exchange, reference)
    found = await exchange.registry.resolve(exchange.call, repository, reference)
    unchanged = matches_etag(exchange.request.headers.get("if-none-match"), found.digest)
    return Response(304 if unchanged else 200, _without_length(_headers(found)) if unchanged else _headers(found))


async def get(exchange: Exchange) -> Response:
    if "if-none-match" in exchange.request.headers:
        answer = await head(exchange)
        if answer.status == 304:
            return answer
    repository, reference = exchange.route.repository, exchange.route.target
    await require_pull(exchange, reference)
    manifest = await exchange.registry.get_manifest(exchange.call, repository, reference)
    return Response(200, _headers(manifest.descriptor), manifest.content)


def _without_length(headers: dict[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    return {name: value for name, value in headers.items() if name not in ("content-length", "content-type")}


async def put(exchange: Exchange) -> Response:
    repository, reference = exchange.route.repository, exchange.route.target
    tags = _tags(exchange, reference)
    for tag in tags or (None,):
        exchange.caller.require_write(repository, tag)
    content = await exchange.request.body(exchange.node.manifest_bytes, ManifestTooLarge)
    manifest = _read(exchange, reference, content)
    await exchange.registry.put_manifest(exchange.call, repository, manifest, tags=tags)
    headers: dict[str, str | tuple[str, ...]] = {
        "location": exchange.outside.url(routes.manifest(repository, str(manifest.digest))),
        "docker-content-digest": str(manifest.digest),
    }
    if manifest.subject is not None:
        headers["oci-subject"] = str(manifest.subject.digest)
    if tags:
        headers["oci-tag"] = tags
    return Response(201, headers)


def _tags(exchange: Exchange, reference: str) -> tuple[str, ...]:
    """The tags to set: the reference itself and the ``tag`` parameters. Raises TagInvalid, TooManyTags."""
    own = _tag_of(reference)
    given = exchange.route.get_all("tag")
    if len(given) > MAX_TAGS:
        raise TooManyTags(f"at most {MAX_TAGS} tags in one request")
    return tuple(dict.fromkeys((*((own,) if own else ()), *map(check_tag, given))))


def _read(exchange: Exchange, reference: str, content: bytes) -> Manifest:
    wanted = Digest.parse(reference) if looks_like_digest(reference) else None
    algorithm = wanted.algorithm if wanted else "sha256"
    manifest = Manifest.parse(content, exchange.request.headers.get("content-type", ""), algorithm=algorithm)
    if wanted is not None and manifest.digest != wanted:
        raise DigestInvalid(f"the manifest sent has digest {manifest.digest}, not {wanted}")
    return manifest


async def delete(exchange: Exchange) -> Response:
    repository, reference = exchange.route.repository, exchange.route.target
    tag = _tag_of(reference)
    exchange.caller.require_delete(repository, tag)
    if tag is not None:
        await exchange.registry.delete_tag(exchange.call, repository, tag)
    else:
        await exchange.registry.delete_manifest(exchange.call, repository, Digest.parse(reference))
    return Response(202)
