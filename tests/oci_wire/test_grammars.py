"""parse(build(x)) == x, and no text at all raises anything but the protocol's own errors: so none makes a 500."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_wire import errors, routes
from oci_wire.auth import Challenge, TokenScope, parse_challenges, parse_scopes
from oci_wire.client.attempts import retry_after
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest, is_digest_shaped
from oci_wire.errors import (
    DigestInvalid,
    ManifestInvalid,
    NameInvalid,
    RegistryError,
    RequestInvalid,
    TagInvalid,
)
from oci_wire.manifest import ACCEPTED, Manifest
from oci_wire.reference import Reference, check_repository, check_tag
from oci_wire.routes import Endpoint, Route
from tests.oci_wire import strategies as make

# The specification's own expressions (distribution-spec 1.1, "Pulling manifests").
SPEC_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
SPEC_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@given(make.digests)
def test_digest(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest
    assert is_digest_shaped(str(digest))
    assert SPEC_TAG.fullmatch(digest.fallback_tag)


@given(make.repositories)
def test_repository(name: str) -> None:
    assert check_repository(name) == name


@given(st.text("ab0._-/", max_size=12))
def test_repository_as_the_specification_has_it(name: str) -> None:
    try:
        fits = bool(check_repository(name))
    except NameInvalid:
        fits = False
    assert fits == bool(SPEC_NAME.fullmatch(name))


@given(make.tags)
def test_tag(tag: str) -> None:
    assert check_tag(tag) == tag


@given(make.references())
def test_reference(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(make.descriptors)
def test_descriptor(descriptor: Descriptor) -> None:
    assert Descriptor.from_json(json.loads(json.dumps(descriptor.to_json()))) == descriptor


@given(st.lists(make.challenges, max_size=3))
def test_challenges(challenges: list[Challenge]) -> None:
    assert list(parse_challenges(", ".join(str(each) for each in challenges))) == challenges


@given(make.scopes)
def test_scope(scope: TokenScope) -> None:
    assert TokenScope.parse(str(scope)) == scope
    assert parse_scopes([f"{scope} {scope}"]) == (scope, scope)


_QUERIES = st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=8)), max_size=3).map(tuple)


@st.composite
def _routes(draw: st.DrawFn) -> Route:
    endpoint = draw(st.sampled_from(Endpoint))
    if endpoint in (Endpoint.BASE, Endpoint.CATALOG):
        return Route(endpoint, query=draw(_QUERIES))
    targets: dict[Endpoint, st.SearchStrategy[str]] = {
        Endpoint.MANIFEST: st.one_of(make.tags, make.digests.map(str)),
        Endpoint.UPLOAD: st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100),
    }
    if endpoint in (Endpoint.TAGS, Endpoint.UPLOADS):
        return Route(endpoint, draw(make.repositories), query=draw(_QUERIES))
    target = draw(targets.get(endpoint, make.digests.map(str)))
    return Route(endpoint, draw(make.repositories), target, draw(_QUERIES))


@given(_routes())
def test_route(route: Route) -> None:
    assert routes.parse(str(route)) == route


@pytest.mark.parametrize("word", ["tags", "list", "manifests", "blobs", "uploads", "referrers", "v2", "_catalog"[1:]])
def test_a_repository_may_be_called_like_a_word_of_the_protocol(word: str) -> None:
    for name in (word, f"{word}/{word}", f"a/{word}", f"{word}/a", f"a/{word}/b"):
        for route in (
            routes.tags(name),
            routes.manifest(name, "v1"),
            routes.manifest(name, word),
            routes.blob(name, Digest.of(b"")),
            routes.uploads(name),
            routes.upload(name, "session"),
            routes.referrers(name, Digest.of(b"")),
        ):
            assert routes.parse(str(route)) == route, str(route)


Parser = Any
_NEVER_RAISE: list[Parser] = [parse_challenges, TokenScope.parse, lambda text: parse_scopes([text]), retry_after]
_RAISE: list[tuple[Parser, tuple[type[RegistryError], ...]]] = [
    (Digest.parse, (DigestInvalid,)),
    (check_repository, (NameInvalid,)),
    (check_tag, (TagInvalid,)),
    (Reference.parse, (NameInvalid, TagInvalid, DigestInvalid)),
    (routes.parse, (NameInvalid, TagInvalid, DigestInvalid, RequestInvalid)),
    (lambda text: routes.parse(f"/v2/{text}"), (NameInvalid, TagInvalid, DigestInvalid, RequestInvalid)),
    (lambda text: Manifest.parse(text.encode("utf-8", "surrogatepass")), (ManifestInvalid,)),
    (lambda text: Manifest.parse(b"{}", text), (ManifestInvalid,)),
]


@given(make.crumbs)
@pytest.mark.parametrize("parser", _NEVER_RAISE, ids=range(len(_NEVER_RAISE)))
def test_any_text_is_read(parser: Parser, text: str) -> None:
    parser(text)


@given(make.crumbs)
@pytest.mark.parametrize(("parser", "allowed"), _RAISE, ids=range(len(_RAISE)))
def test_any_text_is_read_or_refused(parser: Parser, allowed: tuple[type[RegistryError], ...], text: str) -> None:
    try:
        parser(text)
    except allowed as error:
        assert 400 <= error.status < 500
        json.loads(errors.to_json(error))


_MANIFEST_KEYS = ["mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType"]
_DESCRIPTOR_KEYS = ["mediaType", "digest", "size", "annotations", "artifactType", "platform", "urls"]
_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
_JSON = st.recursive(
    st.one_of(_SCALARS, make.descriptors.map(Descriptor.to_json)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*_MANIFEST_KEYS, *_DESCRIPTOR_KEYS, "x"]), inner, max_size=6),
    ),
    max_leaves=12,
)
_BODIES = st.one_of(st.binary(max_size=60), _JSON.map(lambda value: json.dumps({"errors": value}).encode()))


@given(_JSON)
def test_any_json_is_a_descriptor_or_refused(value: Any) -> None:
    try:
        Descriptor.from_json(value)
    except ManifestInvalid as error:
        json.loads(errors.to_json(error))


@given(make.descriptors, st.sampled_from(_DESCRIPTOR_KEYS), _JSON)
def test_a_descriptor_with_one_odd_field_is_read_or_refused(descriptor: Descriptor, key: str, value: Any) -> None:
    try:
        Descriptor.from_json(descriptor.to_json() | {key: value})
    except ManifestInvalid as error:
        json.loads(errors.to_json(error))


@given(st.dictionaries(st.sampled_from(_MANIFEST_KEYS), _JSON), st.sampled_from(["", *ACCEPTED]))
def test_any_json_is_a_manifest_or_refused(fields: dict[str, Any], media_type: str) -> None:
    content = json.dumps({"schemaVersion": 2, **fields}).encode()
    try:
        read = Manifest.parse(content, media_type)
    except ManifestInvalid as error:
        json.loads(errors.to_json(error))
    else:
        assert (read.content, read.digest) == (content, Digest.of(content))


@given(st.integers(100, 599), _BODIES)
def test_any_answer_is_an_error(status: int, body: bytes) -> None:
    found = errors.from_response(status, body, default=errors.BlobUnknown)
    json.loads(errors.to_json(found))


_KINDS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, RegistryError)]


@pytest.mark.parametrize("kind", [each for each in _KINDS if each is not RegistryError])
def test_every_error_survives_the_wire(kind: type[RegistryError]) -> None:
    """What the server renders the client reads as the same class, or as its parent where both look alike."""
    sent = kind("what happened", detail={"which": 1})
    found = errors.from_response(kind.status, errors.to_json(sent))
    assert isinstance(sent, type(found))
    assert (found.code, found.status, found.message, found.detail) == (
        kind.code,
        kind.status,
        sent.message,
        sent.detail,
    )


def test_too_many_parameters_are_refused() -> None:
    assert len(routes.parse("/v2/?" + "a=1&" * 99).query) == 99  # type: ignore[union-attr]  # it is a route
    with pytest.raises(RequestInvalid):
        routes.parse("/v2/?" + "a=1&" * 300)


def test_a_fallback_tag_has_64_digits_of_any_digest() -> None:
    digest = Digest.of(b"", "sha512")
    assert digest.fallback_tag == f"sha512-{digest.hex[:64]}"


@pytest.mark.attack("A-hybrid-manifest")
@pytest.mark.parametrize(
    "content",
    [
        b'{"schemaVersion":2,"manifests":[],"manifests":[]}',
        b'{"schemaVersion":2,"manifests":[],"annotations":{"a":"1","a":"2"}}',
        b'{"schemaVersion":2,"manifests":[],"artifactType":"\\ud800"}',
        b'{"schemaVersion":2,"manifests":false}',
        b'{"schemaVersion":2,"manifests":[],"layers":[]}',
        b'{"schemaVersion":1}',
        b'{"schemaVersion":2,"manifests":[],"artifactType":"\xff"}',
        '{"schemaVersion":2,"manifests":[]}'.encode("utf-16"),
        b"[" * 100_000,
        b"[]",
        b"",
    ],
    ids=range(11),
)
def test_what_reads_in_two_ways_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        Manifest.parse(content)
