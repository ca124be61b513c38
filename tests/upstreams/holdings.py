"""What a registry of the tests holds, and its truthful answers: the read side of the distribution specification."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST
from tests.upstreams.serving import Reply, Request, refusal

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_ROUTE = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|tags|referrers)/(?P<reference>[^/]+)")


def digest_of(content: bytes) -> str:
    return f"sha256:{sha256(content).hexdigest()}"


def described(content: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


@dataclass(frozen=True, slots=True)
class Image:
    """One that was put there: ``blobs`` are its config, then its layers, by digest."""

    repository: str
    digest: str
    content: bytes
    blobs: dict[str, bytes]


@dataclass(slots=True)
class Repository:
    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """The parts of a path below /v2/."""

    repository: str
    kind: str
    reference: str

    @classmethod
    def of(cls, path: str) -> Route | None:
        found = _ROUTE.fullmatch(path)
        return cls(**found.groupdict()) if found else None


class Holdings:
    """``repositories`` may be changed while a server answers from it."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = defaultdict(Repository)

    def image(self, repository: str, *layers: bytes, tags: tuple[str, ...] = (), **fields: Any) -> Image:
        """Puts an image there; ``fields`` of its manifest."""
        config = json.dumps({"os": "linux", "architecture": "amd64", "of": repository}).encode()
        body = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described(config, CONFIG),
            "layers": [described(each, LAYER) for each in layers],
            **fields,
        }
        blobs = {digest_of(each): each for each in (config, *layers)}
        self.repositories[repository].blobs.update(blobs)
        content = json.dumps(body, indent=1).encode()
        return Image(repository, self.manifest(repository, content, OCI_MANIFEST, tags), content, blobs)

    def manifest(self, repository: str, content: bytes, media_type: str, tags: tuple[str, ...] = ()) -> str:
        digest, held = digest_of(content), self.repositories[repository]
        held.manifests[digest] = (media_type, content)
        held.tags.update(dict.fromkeys(tags, digest))
        return digest

    def answer(self, request: Request) -> Reply:
        """What an honest registry says."""
        if request.path == "/v2/":
            return Reply(200, {"docker-distribution-api-version": "registry/2.0"}, b"{}")
        if request.path == "/v2/_catalog":
            return _listed(request, {}, "repositories", sorted(self.repositories))
        if request.method not in ("GET", "HEAD"):
            return refusal(405, "UNSUPPORTED")
        route = Route.of(request.path)
        if route is None or route.repository not in self.repositories:
            return refusal(404, "NAME_UNKNOWN")
        held = self.repositories[route.repository]
        if route.kind == "manifests":
            return _manifest(request, held, route.reference)
        if route.kind == "blobs":
            found = held.blobs.get(route.reference)
            return refusal(404, "BLOB_UNKNOWN") if found is None else blob(request, found, route.reference)
        if route.kind == "tags":
            return _listed(request, {"name": route.repository}, "tags", sorted(held.tags))
        return _referrers(held, route.reference)


def _manifest(request: Request, held: Repository, reference: str) -> Reply:
    digest = held.tags.get(reference, reference)
    if digest not in held.manifests:
        return refusal(404, "MANIFEST_UNKNOWN")
    media_type, content = held.manifests[digest]
    headers = {"content-type": media_type, "docker-content-digest": digest, "etag": f'"{digest}"'}
    if request.headers.get("if-none-match", "").strip('"') == digest:
        return Reply(304, headers)
    return Reply(200, headers, content).with_headers(content_length=str(len(content)))


def blob(request: Request, content: bytes, digest: str) -> Reply:
    """A blob or the asked part of it (RFC 9110 section 14: one range)."""
    headers = {"content-type": "application/octet-stream", "docker-content-digest": digest, "accept-ranges": "bytes"}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if found is None:
        return Reply(200, headers, content).with_headers(content_length=str(len(content)))
    start, stop = int(found[1]), min(int(found[2] or len(content)) + 1, len(content))
    if start >= stop:
        return Reply(416, {**headers, "content-range": f"bytes */{len(content)}"})
    part = content[start:stop]
    headers["content-range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Reply(206, headers, part).with_headers(content_length=str(len(part)))


def _listed(request: Request, fields: dict[str, str], key: str, names: list[str]) -> Reply:
    last = request.query.get("last", "")
    left = [each for each in names if each > last]
    page = left[: int(request.query.get("n", "1000"))]
    headers = {"content-type": "application/json"}
    if page and len(page) < len(left):
        headers["link"] = f'<{request.path}?n={len(page)}&last={page[-1]}>; rel="next"'
    return Reply(200, headers, json.dumps({**fields, key: page}).encode())


def _referrers(held: Repository, digest: str) -> Reply:
    found = []
    for own, (media_type, content) in held.manifests.items():
        body = json.loads(content)
        if body.get("subject", {}).get("digest") == digest:
            named = {"mediaType": media_type, "digest": own, "size": len(content)}
            found.append({**named, "artifactType": body.get("artifactType") or body["config"]["mediaType"]})
    listed = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}).encode()
    return Reply(200, {"content-type": OCI_INDEX}, listed)
