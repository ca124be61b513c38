"""Manifests, lists and errors of a remote registry: what is believed, and what each answer means."""

from __future__ import annotations

import json
import ssl
import time
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from oci_wire.client import RemoteRegistry
from oci_wire.client.attempts import MAX_RETRY_AFTER, retry_after
from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUnknown,
    Denied,
    DigestInvalid,
    Gone,
    InsufficientStorage,
    Internal,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
    Unsupported,
    Untrusted,
)
from oci_wire.manifest import MAX_BYTES, OCI_MANIFEST
from oci_wire.registry import Call, Page
from tests.contract.content import image, index
from tests.oci_wire.wire import CALL, HOME, answer, in_turn, remote

MANIFEST = image()
BLOB = Digest.of(b"x")
GOOD: dict[str, Any] = {"content_type": OCI_MANIFEST, "docker_content_digest": str(MANIFEST.digest)}


async def test_a_head_is_enough() -> None:
    registry, script = remote(lambda request: answer(200, content_length=MANIFEST.size, **GOOD))
    assert await registry.resolve(CALL, "apps/api", "v1") == MANIFEST.descriptor
    assert script.lines == [f"HEAD {HOME}/v2/apps/api/manifests/v1"]
    assert OCI_MANIFEST in script.asked[0].headers["accept"]


async def test_what_is_known_is_confirmed_in_fewer_words() -> None:
    registry, script = remote(lambda request: answer(304, docker_content_digest=str(MANIFEST.digest)))
    assert await registry.resolve(CALL, "apps/api", "v1", known=MANIFEST.descriptor) == MANIFEST.descriptor
    assert script.asked[0].headers["if-none-match"] == f'"{MANIFEST.digest}"'
    registry, script = remote(lambda request: answer(304))
    assert await registry.resolve(CALL, "apps/api", "v1", known=MANIFEST.descriptor) == MANIFEST.descriptor


@pytest.mark.parametrize("unchanged", [True, False])
async def test_a_registry_that_knows_no_conditions_or_contradicts_itself_is_asked_as_ever(unchanged: bool) -> None:
    other = image(b"another")

    def handler(request: httpx.Request) -> httpx.Response:
        if unchanged and "if-none-match" in request.headers:
            return answer(304, docker_content_digest=str(MANIFEST.digest))
        return answer(200, content_length=MANIFEST.size, **GOOD)

    registry, script = remote(handler)
    assert await registry.resolve(CALL, "apps/api", "v1", known=other.descriptor) == MANIFEST.descriptor
    assert [each.method for each in script.asked] == ["HEAD"] * (2 if unchanged else 1)


async def test_nobody_asked_for_a_304() -> None:
    registry, _ = remote(lambda request: answer(304, docker_content_digest=str(MANIFEST.digest)))
    with pytest.raises(RegistryError):
        await registry.resolve(CALL, "apps/api", "v1")


@pytest.mark.parametrize("lacking", ["docker_content_digest", "content_type", "content_length"])
async def test_a_head_that_lacks_something_is_not(lacking: str) -> None:
    headers: dict[str, Any] = {**GOOD, "content_length": MANIFEST.size, lacking: None}

    def handler(request: httpx.Request) -> httpx.Response:
        return answer(200, **headers) if request.method == "HEAD" else answer(200, MANIFEST.content, **GOOD)

    registry, script = remote(handler)
    assert await registry.resolve(CALL, "apps/api", "v1") == MANIFEST.descriptor
    assert [each.method for each in script.asked] == ["HEAD", "GET"]


async def test_other_bytes_than_the_digest_are_refused() -> None:
    registry, _ = remote(lambda request: answer(200, MANIFEST.content, content_type=OCI_MANIFEST))
    with pytest.raises(DigestInvalid):
        await registry.get_manifest(CALL, "apps/api", str(BLOB))


async def test_other_bytes_than_the_header_are_refused() -> None:
    registry, _ = remote(lambda request: answer(200, MANIFEST.content + b" ", **GOOD))
    with pytest.raises(DigestInvalid):
        await registry.get_manifest(CALL, "apps/api", "v1")


async def test_a_sha512_manifest_keeps_its_digest() -> None:
    digest = Digest.of(MANIFEST.content, "sha512")
    registry, _ = remote(lambda request: answer(200, MANIFEST.content, content_type=OCI_MANIFEST))
    assert (await registry.get_manifest(CALL, "apps/api", str(digest))).digest == digest


@pytest.mark.parametrize("told", [None, MAX_BYTES + 1])
async def test_a_huge_manifest_is_not_read_to_its_end(told: int | None) -> None:
    chunks = [b" " * (1024 * 1024)] * 50
    body = answer(200, *chunks, content_type=OCI_MANIFEST, content_length=told)
    registry, _ = remote(in_turn([body]))
    with pytest.raises((ManifestInvalid, Unsupported)):
        await registry.get_manifest(CALL, "apps/api", "v1")
    assert body.is_closed


@pytest.mark.parametrize("kind", ["text/html", "application/vnd.docker.distribution.manifest.v1+prettyjws"])
async def test_what_is_no_manifest_is_invalid(kind: str) -> None:
    registry, _ = remote(lambda request: answer(200, b"<html>", content_type=kind))
    with pytest.raises(ManifestInvalid):
        await registry.get_manifest(CALL, "apps/api", "v1")


async def test_a_short_body_is_not_taken() -> None:
    registry, _ = remote(lambda request: answer(200, MANIFEST.content[:-1], **GOOD, content_length=MANIFEST.size))
    with pytest.raises(Unavailable):
        await registry.get_manifest(CALL, "apps/api", "v1")


@pytest.mark.parametrize(
    ("status", "body", "error", "transient"),
    [
        (401, b"", Unauthorized, False),
        (403, b"", Denied, False),
        (403, b'{"errors":[{"code":"DENIED","message":"no"}]}', Denied, False),
        (404, b"", ManifestUnknown, False),
        (404, b"<html>", ManifestUnknown, False),
        (404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', NameUnknown, False),
        (405, b"", Unsupported, False),
        (408, b"", Unavailable, True),
        (410, b"", Gone, False),
        (418, b"", RegistryError, False),
        (429, b"", TooManyRequests, True),
        (429, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}', TooManyRequests, True),
        (500, b"", Internal, True),
        (500, b'{"errors":[{"code":"UNKNOWN"}]}', Internal, True),
        (502, b"<html>", Unavailable, True),
        (503, b"", Unavailable, True),
        (504, b"", Unavailable, True),
        (507, b"", InsufficientStorage, False),
        (599, b"", Internal, True),
        (204, b"", RegistryError, False),
    ],
)
async def test_what_an_answer_means(status: int, body: bytes, error: type[RegistryError], transient: bool) -> None:
    registry, _ = remote(lambda request: answer(status, body))
    with pytest.raises(error) as caught:
        await registry.get_manifest(CALL, "apps/api", "v1")
    assert type(caught.value) is error
    assert caught.value.transient == transient
    assert f"/v2/apps/api/manifests/v1: {status}" in caught.value.__notes__[0]


async def test_a_long_error_is_cut_off() -> None:
    body = answer(500, *[b"x" * 65536] * 100)
    registry, _ = remote(in_turn([body]))
    with pytest.raises(Internal):
        await registry.get_manifest(CALL, "apps/api", "v1")
    assert body.is_closed


async def test_retry_after_reaches_whoever_retries() -> None:
    seen: list[float | None] = []

    async def watching(attempt: Any) -> Any:
        try:
            return await attempt()
        except RegistryError as error:
            seen.append(error.retry_after)
            return await attempt()

    answers = [answer(429, retry_after=7), answer(200, content_length=1)]
    registry, _ = remote(in_turn(answers), retry=watching)
    assert (await registry.stat_blob(CALL, "apps/api", BLOB)).size == 1
    assert seen == [7.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("999999999999", MAX_RETRY_AFTER),
        (formatdate(1_000_060, usegmt=True), 60.0),
        (formatdate(999_000, usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("", None),
        (None, None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, now=1_000_000) == seconds


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("gibberish"),
        httpx.PoolTimeout("busy"),
    ],
)
async def test_no_answer_is_unreachable(fault: Exception) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise fault

    registry, _ = remote(handler)
    with pytest.raises(Unreachable, match=r"registry\.example") as caught:
        await registry.stat_blob(CALL, "apps/api", BLOB)
    assert caught.value.transient


async def test_a_wrong_certificate_is_not_tried_again() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        try:
            raise ssl.SSLCertVerificationError("self-signed certificate")
        except ssl.SSLCertVerificationError as error:
            raise httpx.ConnectError("no TLS") from error

    registry, _ = remote(handler)
    with pytest.raises(Untrusted) as caught:
        await registry.stat_blob(CALL, "apps/api", BLOB)
    assert not caught.value.transient


async def test_a_deadline_ends_a_request_under_way() -> None:
    class Never(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            import asyncio

            await asyncio.Event().wait()
            raise AssertionError

    registry = RemoteRegistry(HOME, client=httpx.AsyncClient(transport=Never()))
    with pytest.raises(Unreachable, match="deadline"):
        await registry.stat_blob(Call("tests", deadline=time.monotonic() + 0.05), "apps/api", BLOB)


# Lists


async def _all(registry: RemoteRegistry) -> list[str]:
    found: list[str] = []
    page: Page[str] = Page((), "")
    while page.next is not None:
        page = await registry.tags(CALL, "apps/api", after=page.next)
        found += page.items
    return found


def _tags(*names: str, link: str | None = None) -> httpx.Response:
    headers: dict[str, Any] = {"link": link} if link else {}
    return answer(200, json.dumps({"name": "apps/api", "tags": names}).encode(), **headers)


async def test_pages_that_go_on_after_the_last_name() -> None:
    answers = [_tags("a", "b", link='</v2/apps/api/tags/list?n=2&last=b>; rel="next"'), _tags("c")]
    registry, script = remote(in_turn(answers))
    page = await registry.tags(CALL, "apps/api", limit=2)
    assert page == Page(("a", "b"), "b")
    assert await registry.tags(CALL, "apps/api", after="b", limit=2) == Page(("c",))
    assert script.asked[1].url.params.multi_items() == [("n", "2"), ("last", "b")]


async def test_pages_that_go_on_in_their_own_way() -> None:
    answers = [
        _tags("a", "b", link=f"<{HOME}/v2/apps/api/tags/list?next_page=gAAA%3D%3D>; rel=next"),
        _tags("c", link='<?next_page=last>; title="x"; rel="next"'),
        _tags("d"),
    ]
    registry, script = remote(in_turn(answers))
    assert await _all(registry) == ["a", "b", "c", "d"]
    assert script.lines[1:] == [
        f"GET {HOME}/v2/apps/api/tags/list?next_page=gAAA%3D%3D",
        f"GET {HOME}/v2/apps/api/tags/list?next_page=last",
    ]


async def test_other_links_are_no_next_page() -> None:
    registry, _ = remote(in_turn([_tags("a", link="</v2/x>; rel=prev, </v2/y>; rel=help")]))
    assert await _all(registry) == ["a"]


async def test_no_tags_may_be_null() -> None:
    registry, _ = remote(lambda request: answer(200, b'{"name":"apps/api","tags":null}'))
    assert (await registry.tags(CALL, "apps/api")).items == ()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"<html>", b'{"tags":"a"}', b'{"tags":[1]}', b'{"tags":{}}', b"[" * 99999]
)
async def test_what_is_no_list_is_an_error(body: bytes) -> None:
    registry, _ = remote(lambda request: answer(200, body))
    with pytest.raises(Internal):
        await registry.tags(CALL, "apps/api")


async def test_referrers_are_filtered_here_too() -> None:
    descriptors = [
        image(config=bytes([each]), artifactType=f"application/{each}").referrer_descriptor for each in (1, 2)
    ]
    registry, script = remote(lambda request: answer(200, index(*descriptors).content))
    found = await registry.referrers(CALL, "apps/api", BLOB, artifact_type="application/2")
    assert found.items == (descriptors[1],)
    assert script.asked[0].url.params["artifactType"] == "application/2"


async def test_referrers_in_pages() -> None:
    descriptors = [image(config=bytes([each])).referrer_descriptor for each in (1, 2)]
    answers = [
        answer(200, index(descriptors[0]).content, link=f"</v2/apps/api/referrers/{BLOB}?page=2>; rel=next"),
        answer(200, index(descriptors[1]).content),
    ]
    registry, _ = remote(in_turn(answers))
    first = await registry.referrers(CALL, "apps/api", BLOB)
    assert first.next is not None
    second = await registry.referrers(CALL, "apps/api", BLOB, after=first.next)
    assert [*first.items, *second.items] == descriptors


async def test_a_namespace_and_a_base_path() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("_catalog"):
            return answer(200, b'{"repositories":["mirror/apps/api","mirrored/x","other"]}')
        return _tags("a", link="</hub/v2/mirror/apps/api/tags/list?last=a>; rel=next")

    registry, script = remote(handler, f"{HOME}/hub/", namespace="mirror")
    assert (await registry.tags(CALL, "apps/api")).next == "a"
    assert (await registry.repositories(CALL)).items == ("apps/api",)
    assert [each.url.path for each in script.asked] == ["/hub/v2/mirror/apps/api/tags/list", "/hub/v2/_catalog"]


async def test_a_namespace_far_down_the_catalog() -> None:
    answers = [
        answer(200, b'{"repositories":["a","b"]}', link="</v2/_catalog?n=2&last=b>; rel=next"),
        answer(200, b'{"repositories":["mirror/apps/api","z"]}'),
    ]
    registry, script = remote(in_turn(answers), namespace="mirror")
    first = await registry.repositories(CALL, limit=2)
    assert (first.items, first.next is None) == ((), False)
    assert await registry.repositories(CALL, after=first.next or "", limit=2) == Page(("apps/api",))
    assert script.lines[1] == f"GET {HOME}/v2/_catalog?n=2&last=b"


async def test_a_catalog_without_pages() -> None:
    names = json.dumps({"repositories": ["mirror/b", "mirror/c", "mirror/a", "x"]}).encode()
    registry, _ = remote(lambda request: answer(200, names), namespace="mirror")
    assert await registry.repositories(CALL, limit=2) == Page(("a", "b"), "b")
    assert await registry.repositories(CALL, after="b", limit=2) == Page(("c",))
    assert await registry.repositories(CALL, limit=0) == Page(())


async def test_a_link_out_of_the_base_path_is_not_followed() -> None:
    registry, _ = remote(lambda request: _tags("a", link="</v2/_catalog>; rel=next"), f"{HOME}/hub")
    with pytest.raises(Unsupported):
        await registry.tags(CALL, "apps/api")


# The extension, at registries that have none


@pytest.mark.parametrize("status", [404, 405, 400])
async def test_a_registry_without_the_extension(status: int) -> None:
    registry, _ = remote(lambda request: answer(status))
    assert await registry.features(CALL) is None


async def test_a_registry_that_answers_anything_with_a_page() -> None:
    registry, _ = remote(lambda request: answer(200, b"<html>"))
    assert await registry.features(CALL) is None


async def test_a_registry_that_keeps_unknown_paths_behind_its_login() -> None:
    registry, _ = remote(lambda request: answer(200 if request.url.path == "/v2/" else 401, b"{}"))
    assert await registry.features(CALL) is None


@pytest.mark.parametrize(("status", "error"), [(401, Unauthorized), (503, Unavailable), (429, TooManyRequests)])
async def test_trouble_is_not_taken_for_a_missing_extension(status: int, error: type[Exception]) -> None:
    registry, _ = remote(lambda request: answer(status))
    with pytest.raises(error):
        await registry.features(CALL)


async def test_events_that_are_cut_are_an_error() -> None:
    event = b'{"position":1,"kind":"tag","repository":"a","rev":1}'
    registry, _ = remote(lambda request: answer(200, event + b"\n" + event[:20], event[20:] + b"\n", event[:9]))
    seen = []
    with pytest.raises(Internal):
        async for each in registry.events(CALL):
            seen.append(each.position)
    assert seen == [1, 1]


async def test_a_second_delete_that_finds_nothing_has_succeeded() -> None:
    async def twice(attempt: Any) -> Any:
        try:
            return await attempt()
        except Unreachable:
            return await attempt()

    def cut_once(request: httpx.Request) -> httpx.Response:
        if len(script.asked) == 1:
            raise httpx.ReadError("the answer is lost")
        return answer(404)

    registry, script = remote(cut_once, retry=twice)
    await registry.delete_blob(CALL, "apps/api", BLOB)
    with pytest.raises(BlobUnknown):
        await registry.delete_blob(CALL, "apps/api", BLOB)
