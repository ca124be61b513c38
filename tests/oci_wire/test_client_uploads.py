"""Sending: few requests when all is well, few bytes again when it is not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest

from oci_wire.digest import Digest
from oci_wire.errors import (
    BlobUploadUnknown,
    DigestInvalid,
    RangeInvalid,
    RegistryError,
    Unavailable,
    Unreachable,
)
from oci_wire.manifest import OCI_INDEX, Manifest
from tests.contract.content import described, image, stream
from tests.oci_wire.wire import CALL, HOME, answer, remote

T = TypeVar("T")
CONTENT = bytes(range(100)) * 5
BLOB = Digest.of(CONTENT)


async def thrice(attempt: Callable[[], Awaitable[T]]) -> T:
    """A retry without waits."""
    for _ in range(2):
        try:
            return await attempt()
        except RegistryError as error:
            if not error.transient:
                raise
    return await attempt()


class Uploads:
    """One upload session at a time, as a registry has it. ``faults``: (method, times) -> what happens instead."""

    def __init__(self, *, min_chunk: int = 0, patch: bool = True) -> None:
        self.received = bytearray()
        self.stored: bytes | None = None
        self.open = False
        self.min_chunk, self.patch = min_chunk, patch
        self.fault: Callable[[httpx.Request], httpx.Response | None] = lambda request: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        return self.fault(request) or getattr(self, f"_{request.method.lower()}")(request)

    def _post(self, request: httpx.Request) -> httpx.Response:
        self.open, self.received = True, bytearray()
        least: dict[str, Any] = {"oci_chunk_min_length": self.min_chunk} if self.min_chunk else {}
        return answer(202, location="/upload/0", **least)

    def _patch(self, request: httpx.Request) -> httpx.Response:
        if not self.patch:
            return answer(405)
        start, _, end = request.headers["content-range"].partition("-")
        if int(start) != len(self.received):
            return answer(416)
        assert int(end) - int(start) + 1 == len(request.content)
        self.received += request.content
        return self._state(202)

    def _state(self, status: int) -> httpx.Response:
        last = max(len(self.received) - 1, 0)
        return answer(status, location=f"/upload/{len(self.received)}", range=f"0-{last}")

    def _get(self, request: httpx.Request) -> httpx.Response:
        return self._state(204) if self.open else answer(404)

    def _head(self, request: httpx.Request) -> httpx.Response:
        return answer(200, content_length=len(self.stored)) if self.stored is not None else answer(404)

    def _put(self, request: httpx.Request) -> httpx.Response:
        if not self.open:
            return answer(404)
        self.received += request.content
        if str(Digest.of(bytes(self.received))) != request.url.params["digest"]:
            return answer(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self.stored, self.open = bytes(self.received), False
        return answer(201)

    def _delete(self, request: httpx.Request) -> httpx.Response:
        self.open = False
        return answer(204)


async def test_a_small_blob_takes_two_requests() -> None:
    uploads = Uploads()
    registry, script = remote(uploads)
    await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT[:7], CONTENT[7:]))
    assert uploads.stored == CONTENT
    assert script.lines == [
        f"POST {HOME}/v2/apps/api/blobs/uploads/",
        f"PUT {HOME}/upload/0?digest={str(BLOB).replace(':', '%3A')}",
    ]
    assert script.asked[1].headers["content-length"] == str(len(CONTENT))


async def test_a_big_blob_goes_in_chunks() -> None:
    uploads = Uploads()
    registry, script = remote(uploads, chunk_size=200)
    await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))
    assert uploads.stored == CONTENT
    assert [each.headers.get("content-range") for each in script.asked] == [None, "0-199", "200-399", "400-499", None]
    assert [each.url.path for each in script.asked][1:] == ["/upload/0", "/upload/200", "/upload/400", "/upload/500"]


async def test_chunks_are_as_long_as_the_registry_wants_them() -> None:
    uploads = Uploads(min_chunk=300)
    registry, script = remote(uploads, chunk_size=50)
    await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))
    assert uploads.stored == CONTENT
    assert [each.headers.get("content-range") for each in script.asked] == [None, "0-299", "300-499", None]


async def test_a_registry_without_chunks_gets_all_at_once() -> None:
    uploads = Uploads(patch=False)
    registry, script = remote(uploads, chunk_size=200)
    await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))
    assert uploads.stored == CONTENT
    assert [each.method for each in script.asked] == ["POST", "PATCH", "PUT"]
    assert script.asked[2].headers["content-length"] == str(len(CONTENT))
    assert "transfer-encoding" not in script.asked[2].headers


class Once:
    """Does something instead of an answer, to the first request of a method that fits."""

    def __init__(self, method: str, act: Callable[[httpx.Request], httpx.Response], skip: int = 0) -> None:
        self.method, self.act, self.skip = method, act, skip

    def __call__(self, request: httpx.Request) -> httpx.Response | None:
        if request.method != self.method:
            return None
        self.skip -= 1
        return self.act(request) if self.skip == -1 else None


def _cut(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadError("the line is dead")


async def test_a_chunk_that_was_cut_is_finished_not_repeated() -> None:
    uploads = Uploads()

    def take_half(request: httpx.Request) -> httpx.Response:
        uploads.received += request.content[:120]
        return _cut(request)

    uploads.fault = Once("PATCH", take_half, skip=1)
    registry, script = remote(uploads, chunk_size=200, retry=thrice)
    await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))
    assert uploads.stored == CONTENT
    ranges = [each.headers.get("content-range") for each in script.asked if each.method == "PATCH"]
    assert ranges == ["0-199", "200-399", "320-399", "400-499"]


async def test_a_chunk_whose_answer_was_lost_is_not_sent_again() -> None:
    uploads = Uploads()

    def take_all(request: httpx.Request) -> httpx.Response:
        uploads.received += request.content
        return _cut(request)

    uploads.fault = Once("PATCH", take_all)
    registry, script = remote(uploads, chunk_size=200, retry=thrice)
    await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))
    assert uploads.stored == CONTENT
    assert [each.method for each in script.asked] == ["POST", "PATCH", "GET", "PATCH", "PATCH", "PUT"]


@pytest.mark.parametrize("chunk_size", [200, 1000])
async def test_a_finish_whose_answer_was_lost_has_succeeded(chunk_size: int) -> None:
    uploads = Uploads()

    def take_and_cut(request: httpx.Request) -> httpx.Response:
        uploads._put(request)
        return _cut(request)

    uploads.fault = Once("PUT", take_and_cut)
    registry, script = remote(uploads, chunk_size=chunk_size, retry=thrice)
    await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))
    assert uploads.stored == CONTENT
    assert [each.method for each in script.asked][-3:] == ["PUT", "PUT", "HEAD"]


async def test_without_a_retry_a_cut_is_an_error_and_the_session_is_cancelled() -> None:
    uploads = Uploads()
    uploads.fault = Once("PATCH", _cut, skip=1)
    registry, script = remote(uploads, chunk_size=200)
    with pytest.raises(Unreachable):
        await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))
    assert uploads.stored is None
    assert script.asked[-1].method == "DELETE"
    assert not uploads.open


async def test_a_session_that_ended_meanwhile_is_an_error() -> None:
    uploads = Uploads()

    def forget(request: httpx.Request) -> httpx.Response:
        uploads.open = False
        return _cut(request)

    uploads.fault = Once("PATCH", forget)
    registry, _ = remote(uploads, chunk_size=200, retry=thrice)
    with pytest.raises(BlobUploadUnknown):
        await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))


async def test_a_session_that_is_further_than_we_are_is_an_error() -> None:
    uploads = Uploads()

    def another_sender(request: httpx.Request) -> httpx.Response:
        uploads.received += bytes(450)
        return _cut(request)

    uploads.fault = Once("PATCH", another_sender)
    registry, _ = remote(uploads, chunk_size=200, retry=thrice)
    with pytest.raises(RangeInvalid):
        await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))
    assert uploads.stored is None


async def test_wrong_bytes_are_never_sent_whole() -> None:
    uploads = Uploads()
    registry, script = remote(uploads, chunk_size=200)
    with pytest.raises(DigestInvalid):
        await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT[:450], bytes(50)))
    assert not uploads.open
    assert sum(len(each.content) for each in script.asked) < len(CONTENT)


async def test_no_location_is_an_error() -> None:
    registry, _ = remote(lambda request: answer(202))
    with pytest.raises(Unavailable, match="Location"):
        await registry.put_blob(CALL, "apps/api", described(CONTENT), stream(CONTENT))


@pytest.mark.parametrize("session", ["", "17", "/v2/apps/api/blobs/uploads/17", "http://", "file:///etc/passwd"])
async def test_a_session_of_another_registry_is_unknown(session: str) -> None:
    registry, script = remote(lambda request: answer(204))
    with pytest.raises(BlobUploadUnknown):
        await registry.upload_status(CALL, "apps/api", session)
    assert script.asked == []


@pytest.mark.parametrize(("status", "mounted"), [(201, True), (202, False), (404, False), (405, False)])
async def test_mounts(status: int, mounted: bool) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return answer(status, location="/upload/0") if request.method == "POST" else answer(204)

    registry, script = remote(handler)
    assert await registry.mount_blob(CALL, "apps/api", BLOB, "base") is mounted
    assert script.asked[0].url.params.multi_items() == [("mount", str(BLOB)), ("from", "base")]
    cancelled = [each.url.path for each in script.asked if each.method == "DELETE"]
    assert cancelled == (["/upload/0"] if status == 202 else [])


async def test_tags_that_the_registry_confirms_take_one_request() -> None:
    manifest = image()
    registry, script = remote(lambda request: answer(201, oci_tag="a, b"))
    await registry.put_manifest(CALL, "apps/api", manifest, tags=["a", "b"])
    assert len(script.asked) == 1
    assert script.asked[0].url.path == f"/v2/apps/api/manifests/{manifest.digest}"
    assert script.asked[0].url.params.multi_items() == [("tag", "a"), ("tag", "b")]
    assert script.asked[0].content == manifest.content


async def test_tags_that_it_does_not_confirm_are_put_one_by_one() -> None:
    registry, script = remote(lambda request: answer(201, oci_tag="a"))
    await registry.put_manifest(CALL, "apps/api", image(), tags=["a", "b", "c"])
    assert [each.url.path.rpartition("/")[2] for each in script.asked][1:] == ["b", "c"]


async def test_a_registry_that_stores_something_else_is_caught() -> None:
    registry, _ = remote(lambda request: answer(201, docker_content_digest=str(BLOB)))
    with pytest.raises(DigestInvalid):
        await registry.put_manifest(CALL, "apps/api", image(), tags=["a"])


class WithoutReferrers:
    """Manifests by tag and digest, and nothing of referrers: distribution 2."""

    def __init__(self) -> None:
        self.manifests: dict[str, bytes] = {}
        self.before_put: Callable[[], None] = lambda: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        kind, _, reference = request.url.path.removeprefix("/v2/apps/api/").partition("/")
        if kind != "manifests":
            return answer(404, b"404 page not found")
        if request.method == "PUT":
            self.before_put()
            self.manifests[reference] = self.manifests[str(Digest.of(request.content))] = request.content
            return answer(201)
        if request.method == "DELETE":
            del self.manifests[reference]
            return answer(202)
        found = self.manifests.get(reference)
        return answer(404) if found is None else answer(200, found, content_type="")

    def listed(self, subject: Manifest) -> list[Digest]:
        return [each.digest for each in Manifest.parse(self.manifests[subject.digest.fallback_tag]).children]


async def test_the_fallback_index_is_kept_where_there_is_no_referrers_api() -> None:
    server, subject = WithoutReferrers(), image()
    registry, _ = remote(server)
    first, second = (
        image(config=config, subject=subject.descriptor.to_json(), artifactType="application/x")
        for config in (b"1", b"2")
    )
    await registry.put_manifest(CALL, "apps/api", first)
    await registry.put_manifest(CALL, "apps/api", second)
    await registry.put_manifest(CALL, "apps/api", second)
    assert server.listed(subject) == [first.digest, second.digest]
    found = await registry.referrers(CALL, "apps/api", subject.digest)
    assert [each.artifact_type for each in found.items] == ["application/x", "application/x"]
    await registry.delete_manifest(CALL, "apps/api", first.digest)
    assert server.listed(subject) == [second.digest]


async def test_a_writer_in_between_is_not_undone() -> None:
    server, subject = WithoutReferrers(), image()
    registry, _ = remote(server)
    mine, theirs = (image(config=config, subject=subject.descriptor.to_json()) for config in (b"1", b"2"))
    written = theirs.referrer_descriptor.to_json() | {"data": "e30="}
    index = Manifest.parse(
        b'{"schemaVersion":2,"mediaType":"%b","manifests":[%b]}'
        % (OCI_INDEX.encode(), str(written).replace("'", '"').encode())
    )

    def other_writer() -> None:
        server.manifests[subject.digest.fallback_tag] = index.content

    server.manifests[subject.digest.fallback_tag] = index.content
    await registry.put_manifest(CALL, "apps/api", mine)
    assert server.listed(subject) == [theirs.digest, mine.digest]
    assert b'"data": "e30="' in server.manifests[subject.digest.fallback_tag]
    other_writer()  # it had read the index before we wrote
    await registry.put_manifest(CALL, "apps/api", mine)
    assert server.listed(subject) == [theirs.digest, mine.digest]


async def test_with_a_referrers_api_there_is_no_fallback_index() -> None:
    registry, script = remote(lambda request: answer(201, oci_subject=str(BLOB)))
    await registry.put_manifest(CALL, "apps/api", image(subject=described(CONTENT).to_json()))
    assert len(script.asked) == 1
