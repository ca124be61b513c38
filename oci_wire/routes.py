"""Every URL of the protocol, parsed and built by one grammar (distribution-spec 1.1, "Endpoints").

| endpoint | path |
|---|---|
| BASE | /v2/ |
| CATALOG | /v2/_catalog |
| TAGS | /v2/{repository}/tags/list |
| MANIFEST | /v2/{repository}/manifests/{tag or digest} |
| BLOB | /v2/{repository}/blobs/{digest} |
| UPLOADS | /v2/{repository}/blobs/uploads/ |
| UPLOAD | /v2/{repository}/blobs/uploads/{session} |
| REFERRERS | /v2/{repository}/referrers/{digest} |

Paths are read as they were sent. A name holds no letter that wants encoding, so an encoded one is never a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl, quote, unquote, urlencode

from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import NameInvalid, RequestInvalid
from oci_wire.reference import check_repository, check_tag

MAX_SESSION = 2048  # characters: the sessions of other registries carry their state


class Endpoint(Enum):
    BASE = "base"
    CATALOG = "catalog"
    TAGS = "tags"
    MANIFEST = "manifest"
    BLOB = "blob"
    UPLOADS = "uploads"
    UPLOAD = "upload"
    REFERRERS = "referrers"


# How a path ends after the repository: the words before its last part, and the endpoint.
_ENDINGS = {
    ("manifests",): Endpoint.MANIFEST,
    ("blobs",): Endpoint.BLOB,
    ("blobs", "uploads"): Endpoint.UPLOAD,
    ("referrers",): Endpoint.REFERRERS,
}
_WORDS = {endpoint: "/".join(words) for words, endpoint in _ENDINGS.items()}


@dataclass(frozen=True, slots=True)
class Route:
    """One URL: which endpoint, of which repository, and the last part (a tag, a digest or a session)."""

    endpoint: Endpoint
    repository: str = ""
    target: str = ""
    query: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next((value for key, value in self.query if key == name), None)

    def get_all(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self.query if key == name)

    @property
    def path(self) -> str:
        match self.endpoint:
            case Endpoint.BASE:
                return "/v2/"
            case Endpoint.CATALOG:
                return "/v2/_catalog"
            case Endpoint.TAGS:
                return f"/v2/{self.repository}/tags/list"
            case Endpoint.UPLOADS:
                return f"/v2/{self.repository}/blobs/uploads/"
            case _:
                return f"/v2/{self.repository}/{_WORDS[self.endpoint]}/{quote(self.target, safe=':')}"

    def __str__(self) -> str:
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")


def parse(target: str) -> Route | None:
    """Reads a request target (path and query, undecoded). None when it is no URL of the protocol.

    Raises NameInvalid, TagInvalid, DigestInvalid or RequestInvalid when it is one, about something that cannot exist."""
    path, _, query = target.partition("?")
    if not path.startswith("/v2"):
        return None
    pairs = parse_query(query)
    if path in ("/v2", "/v2/"):
        return Route(Endpoint.BASE, query=pairs)
    if path == "/v2/_catalog":
        return Route(Endpoint.CATALOG, query=pairs)
    if not path.startswith("/v2/"):
        return None
    return _in_repository(path[len("/v2/") :], pairs)


def parse_query(query: str, limit: int = 200) -> tuple[tuple[str, str], ...]:
    """Names and values in order. Raises RequestInvalid for more than ``limit`` of them."""
    try:
        return tuple(parse_qsl(query, keep_blank_values=True, max_num_fields=limit)) if query else ()
    except ValueError:
        raise RequestInvalid(f"at most {limit} parameters are read") from None


def _in_repository(rest: str, query: tuple[tuple[str, str], ...]) -> Route | None:
    if rest.endswith("/tags/list"):
        return Route(Endpoint.TAGS, check_repository(rest.removesuffix("/tags/list")), query=query)
    for uploads in ("/blobs/uploads/", "/blobs/uploads"):
        if rest.endswith(uploads):
            return Route(Endpoint.UPLOADS, check_repository(rest.removesuffix(uploads)), query=query)
    parts = rest.rsplit("/", 3)
    endpoint, name = _ending(parts)
    if endpoint is None:
        return None
    return Route(endpoint, check_repository(name), _target(endpoint, parts[-1]), query)


def _ending(parts: list[str]) -> tuple[Endpoint | None, str]:
    """The endpoint that the last parts name, and what stands before them. The longest ending wins."""
    for words in (2, 1):
        endpoint = _ENDINGS.get(tuple(parts[-1 - words : -1])) if len(parts) > words + 1 else None
        if endpoint is not None:
            return endpoint, "/".join(parts[: -1 - words])
    return None, ""


def _target(endpoint: Endpoint, text: str) -> str:
    text = unquote(text)  # clients may send the colon of a digest encoded
    if endpoint is Endpoint.UPLOAD:
        if not text or len(text) > MAX_SESSION:
            raise NameInvalid("that is no upload session")
        return text
    if endpoint is Endpoint.MANIFEST and not looks_like_digest(text):
        return check_tag(text)
    return str(Digest.parse(text))


def base() -> Route:
    return Route(Endpoint.BASE)


def catalog(after: str = "", limit: int | None = None) -> Route:
    return Route(Endpoint.CATALOG, query=_paging(after, limit))


def tags(repository: str, after: str = "", limit: int | None = None) -> Route:
    return Route(Endpoint.TAGS, repository, query=_paging(after, limit))


def _paging(after: str, limit: int | None) -> tuple[tuple[str, str], ...]:
    n = (("n", str(limit)),) if limit is not None else ()
    return n + ((("last", after),) if after else ())


def manifest(repository: str, reference: str, *, with_tags: tuple[str, ...] = ()) -> Route:
    """``with_tags``: the ``tag`` parameters of a PUT by digest (distribution-spec, main branch)."""
    return Route(Endpoint.MANIFEST, repository, reference, tuple(("tag", each) for each in with_tags))


def blob(repository: str, digest: Digest) -> Route:
    return Route(Endpoint.BLOB, repository, str(digest))


def uploads(
    repository: str,
    *,
    digest: Digest | None = None,
    mount: Digest | None = None,
    source: str | None = None,
    algorithm: str = "",
) -> Route:
    """Opening a session; with ``digest`` the single-request upload, with ``mount`` the cross-repository mount."""
    given = (
        ("digest", str(digest) if digest else None),
        ("mount", str(mount) if mount else None),
        ("from", source),
        ("digest-algorithm", algorithm or None),
    )
    return Route(Endpoint.UPLOADS, repository, query=tuple((key, value) for key, value in given if value))


def upload(repository: str, session: str) -> Route:
    return Route(Endpoint.UPLOAD, repository, session)


def referrers(repository: str, digest: Digest, artifact_type: str = "") -> Route:
    query = (("artifactType", artifact_type),) if artifact_type else ()
    return Route(Endpoint.REFERRERS, repository, str(digest), query)
