"""A client of a mirror or virtual of ours: it tells whose image is meant, and passes on how old an answer is."""

from __future__ import annotations

import httpx
import pytest

from oci_wire.client import Credentials
from oci_wire.errors import LoginRefused, Unauthorized
from oci_wire.manifest import OCI_MANIFEST
from oci_wire.registry import Call
from tests.contract.content import image
from tests.oci_wire.wire import CALL, HOME, answer, remote

MANIFEST = image()
STALE = {"age": "90", "warning": '110 hub "Response is Stale"'}


def stale(request: httpx.Request) -> httpx.Response:
    if request.url.path.endswith("/tags/list"):
        return answer(200, b'{"tags": ["a"]}', **STALE)
    if request.method in ("POST", "PUT"):
        return answer(202, location=f"{HOME}/v2/apps/api/blobs/uploads/1")
    return answer(200, MANIFEST.content, content_type=OCI_MANIFEST, **STALE)


async def test_reads_tell_whose_image_is_meant_and_how_old_it_is() -> None:
    registry, script = remote(stale, front=True)
    for ask in (
        lambda call: registry.get_manifest(call, "apps/api", "1.0"),
        lambda call: registry.tags(call, "apps/api", limit=5),
    ):
        call = Call("tests", ns="docker.io")
        await ask(call)
        assert call.notes == STALE
    await registry.start_upload(Call("tests", ns="docker.io"), "apps/api")
    assert script.lines == [
        f"GET {HOME}/v2/apps/api/manifests/1.0?ns=docker.io",
        f"GET {HOME}/v2/apps/api/tags/list?n=5&ns=docker.io",
        f"POST {HOME}/v2/apps/api/blobs/uploads/",
    ]


async def test_others_are_told_nothing_and_not_believed() -> None:
    """A foreign registry's Age is that of whatever cache stands before it."""
    registry, script = remote(stale)
    call = Call("tests", ns="docker.io")
    await registry.get_manifest(call, "apps/api", "1.0")
    assert (call.notes, script.lines) == ({}, [f"GET {HOME}/v2/apps/api/manifests/1.0"])


@pytest.mark.parametrize("said", ["x" * 501, "caf\xe9", ""])
async def test_what_is_no_plain_text_is_not_passed_on(said: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        headers = {"content-type": OCI_MANIFEST, "warning": said.encode("latin-1").decode("latin-1"), "age": "1"}
        return httpx.Response(200, headers=httpx.Headers(headers, encoding="latin-1"), content=MANIFEST.content)

    registry, _ = remote(handler, front=True)
    call = Call("tests")
    await registry.get_manifest(call, "apps/api", "1.0")
    assert call.notes == {"age": "1"}


async def test_whether_anybody_answers_there() -> None:
    for status in (200, 401, 404, 500):
        registry, _ = remote(lambda _, status=status: answer(status))  # type: ignore[misc]
        assert await registry.answers()

    def nobody(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    registry, _ = remote(nobody)
    assert not await registry.answers()


@pytest.mark.parametrize(
    ("credentials", "refused"), [(Credentials("ana", "wrong"), LoginRefused), (None, Unauthorized)]
)
async def test_a_login_that_the_token_service_refuses_is_told_from_a_401_of_the_registry(
    credentials: Credentials | None, refused: type[Unauthorized]
) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return answer(401)
        return answer(401, www_authenticate=f'Bearer realm="{HOME}/token",service="s"')

    registry, _ = remote(handler, credentials=credentials)
    with pytest.raises(Unauthorized) as caught:
        await registry.get_manifest(CALL, "apps/api", "1.0")
    assert type(caught.value) is refused
