"""The registry that is tested, as its clients see it: a URL, perhaps an account. Nothing here knows how it is built."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import httpx

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))  # what every client says that pulls images
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
OCTETS = {"content-type": "application/octet-stream"}
# distribution-spec 1.1, "Error Codes"; TAG_INVALID is in the API that it comes from.
CODES = frozenset((
    *("BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"),
    *("MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "TAG_INVALID"),
    *("UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS"),
))  # fmt: skip


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def noise(size: int = 64) -> bytes:
    """Bytes that no registry has seen."""
    return secrets.token_bytes(size)


def descriptor(content: bytes, media_type: str, **fields: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **fields}


def refused(answer: httpx.Response, status: int | tuple[int, ...], *codes: str) -> str:
    """Asserts a refusal: the status, the error body, one of the codes (none given: any of the specification's)."""
    assert answer.status_code in ((status,) if isinstance(status, int) else status), (answer.status_code, answer.text)
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    errors = answer.json()["errors"]
    assert isinstance(errors, list) and errors
    for each in errors:
        assert isinstance(each["message"], str) and isinstance(each["code"], str)
    code = str(errors[0]["code"])
    assert code in (codes or CODES), errors
    return code


def challenge_of(answer: httpx.Response) -> dict[str, str]:
    """The parameters of a Bearer challenge."""
    assert answer.status_code == 401
    scheme, _, rest = answer.headers["www-authenticate"].partition(" ")
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


class SignIn(httpx.Auth):
    """Basic, until the registry asks for a token: then tokens, one for each challenge."""

    requires_response_body = True

    def __init__(self, name: str, secret: str) -> None:
        self._basic = httpx.BasicAuth(name, secret)

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        answer = yield next(self._basic.auth_flow(request))  # type: ignore[misc]
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status_code != 401 or not challenge.lower().startswith("bearer"):
            return
        given = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        asked = {name: given[name] for name in ("service", "scope") if name in given}
        wanted = httpx.Request("GET", given["realm"], params=asked)
        token = (yield next(self._basic.auth_flow(wanted))).json()  # type: ignore[misc]
        request.headers["authorization"] = f"Bearer {token.get('token') or token['access_token']}"
        yield request


@dataclass(frozen=True, slots=True)
class Pushed:
    """A manifest that was pushed."""

    content: bytes
    media_type: str = OCI_MANIFEST

    @property
    def digest(self) -> str:
        return digest_of(self.content)

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.content))

    def descriptor(self, **fields: Any) -> dict[str, Any]:
        return descriptor(self.content, self.media_type, **fields)


def image(*layers: bytes, config: bytes | dict[str, Any] = b"{}", **fields: Any) -> bytes:
    """The bytes of an image manifest, spaced as no serializer would."""
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config if isinstance(config, dict) else descriptor(config, CONFIG),
        "layers": [descriptor(each, LAYER) for each in layers],
        **fields,
    }
    return json.dumps({name: value for name, value in body.items() if value is not None}, indent=3).encode()


def index(*children: Pushed, **fields: Any) -> bytes:
    manifests = [each.descriptor() for each in children]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests, **fields}).encode()


@dataclass(slots=True)
class Target:
    """``http`` is signed in as somebody who may pull, push and delete everywhere. ``ours``: we started it ourselves."""

    url: str
    http: httpx.Client
    ours: bool = False

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    def repository(self, prefix: str = "protocol") -> str:
        """A name that nobody has used."""
        return f"{prefix}/{secrets.token_hex(6)}"

    def at(self, location: str) -> str:
        """A Location, absolute or not, as a URL."""
        return urllib.parse.urljoin(f"{self.url}/", location)

    def raw(self, method: str, path: str, http: httpx.Client | None = None) -> httpx.Response:
        """A path that no client library has tidied: dots, empty parts and encoded letters go out as they are."""
        connection = HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path, headers={"accept": ACCEPT, **self.authorization(http)})
            answer = connection.getresponse()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
        finally:
            connection.close()

    def authorization(self, http: httpx.Client | None = None) -> dict[str, str]:
        """The header that says who asks, for requests by hand; empty where nobody has to say."""
        client = http or self.http
        request = client.build_request("GET", "/")
        signed = next(client.auth.auth_flow(request)) if client.auth else request
        return {name: value for name, value in signed.headers.items() if name == "authorization"}

    # Pushing, by the ways that every registry has; each asserts that it worked.

    def start(self, repository: str, **query: str) -> str:
        answer = self.http.post(f"/v2/{repository}/blobs/uploads/", params=query, headers={"content-length": "0"})
        assert answer.status_code == 202, answer.text
        return self.at(answer.headers["location"])

    def finish(self, location: str, digest: str, content: bytes = b"", **headers: str) -> httpx.Response:
        given = {**OCTETS, **headers} if content else headers
        return self.http.put(with_query(location, digest=digest), content=content, headers=given)

    def patch(self, location: str, content: bytes, start: int | None = None, **headers: str) -> httpx.Response:
        span = {"content-range": f"{start}-{start + len(content) - 1}"} if start is not None else {}
        return self.http.patch(location, content=content, headers={**OCTETS, **span, **headers})

    def blob(self, repository: str, content: bytes) -> str:
        digest = digest_of(content)
        answer = self.finish(self.start(repository), digest, content)
        assert answer.status_code == 201, answer.text
        return digest

    def put(self, repository: str, reference: str, content: bytes, media_type: str = OCI_MANIFEST) -> httpx.Response:
        url = f"/v2/{repository}/manifests/{reference}"
        return self.http.put(url, content=content, headers={"content-type": media_type} if media_type else {})

    def pushed(self, repository: str, reference: str, content: bytes, media_type: str = OCI_MANIFEST) -> Pushed:
        answer = self.put(repository, reference or digest_of(content), content, media_type)
        assert answer.status_code == 201, answer.text
        return Pushed(content, media_type)

    def image(self, repository: str, tag: str = "", layers: tuple[bytes, ...] = (), **fields: Any) -> Pushed:
        """An image, its blobs first. Another one each time, unless the caller says its layers."""
        layers = layers or (noise(),)
        for content in (b"{}", *layers):
            self.blob(repository, content)
        return self.pushed(repository, tag, image(*layers, **fields))

    # Reading

    def get(self, repository: str, reference: str, **headers: str) -> httpx.Response:
        return self.http.get(f"/v2/{repository}/manifests/{reference}", headers=headers)

    def status(self, repository: str, reference: str) -> int:
        """Of GET and HEAD, which must be the same."""
        url = f"/v2/{repository}/{'manifests' if '/' not in reference else reference.partition('/')[0]}/"
        url += reference.rpartition("/")[2]
        got, head = self.http.get(url), self.http.head(url)
        assert got.status_code == head.status_code, (got.status_code, head.status_code)
        assert head.content == b""
        return got.status_code

    def blob_status(self, repository: str, digest: str) -> int:
        return self.status(repository, f"blobs/{digest}")

    def blob_bytes(self, repository: str, digest: str) -> bytes:
        answer = self.http.get(f"/v2/{repository}/blobs/{digest}", follow_redirects=True)
        assert answer.status_code == 200, answer.text
        return answer.content

    def tags(self, repository: str, **query: str | int) -> list[str]:
        answer = self.http.get(f"/v2/{repository}/tags/list", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["tags"] or [])

    def referrers(self, repository: str, digest: str, **query: str) -> list[dict[str, Any]]:
        answer = self.http.get(f"/v2/{repository}/referrers/{digest}", params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].partition(";")[0] == OCI_INDEX
        body = answer.json()
        assert body["schemaVersion"] == 2 and body["mediaType"] == OCI_INDEX
        return list(body["manifests"])


def with_query(location: str, **more: str) -> str:
    """Keeps what a Location holds (it may hold the session's state)."""
    return f"{location}{'&' if '?' in location else '?'}{urllib.parse.urlencode(more)}"


def next_link(answer: httpx.Response) -> str | None:
    """The URL of the next page (RFC 8288), None at the end."""
    found = re.fullmatch(r'<([^>]+)>;\s*rel="?next"?', answer.headers.get("link", ""))
    assert found or "link" not in answer.headers, answer.headers["link"]
    return urllib.parse.urljoin(str(answer.request.url), found[1]) if found else None
