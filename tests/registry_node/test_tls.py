"""TLS connections over real sockets: handshakes, what does not belong here, and the same front behind them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_wire.digest import Digest
from registry_node import build
from registry_node.app import App
from registry_node.front import front_of
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Limits
from registry_node.tls_certificate import Certificates
from registry_node.tls_connection import tls_front_of
from tests.certificates import Authority
from tests.registry_node.conftest import DEV, settings
from tests.registry_node.images import push_image
from tests.registry_node.test_front import echo, fronted, not_recorded, nothing_at_once, request, served


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def certificates(authority: Authority, tmp_path: Path) -> Certificates:
    pair = authority.issue(tmp_path / "node")
    return Certificates(Path(pair["certificate"]), Path(pair["key"]))


@pytest.fixture
async def port(app: App, certificates: Certificates) -> AsyncIterator[int]:
    async with served(app, tls_front_of(fronted(app, Limits()), certificates, 10.0)) as port:
        yield port


def echoing(certificates: Certificates) -> Callable[..., Any]:
    return tls_front_of(front_of(nothing_at_once, Limits(), not_recorded), certificates, 10.0)


async def connected(port: int, trusted: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, ssl=trusted, server_hostname="registry.test")


async def said(port: int, trusted: ssl.SSLContext, *pieces: bytes) -> bytes:
    reader, writer = await connected(port, trusted)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_and_http_1_1(port: int, authority: Authority, version: ssl.TLSVersion) -> None:
    trusted = authority.trusted()
    trusted.minimum_version = trusted.maximum_version = version
    trusted.set_alpn_protocols(["h2", "http/1.1"])
    _, writer = await connected(port, trusted)
    spoken: ssl.SSLObject = writer.get_extra_info("ssl_object")
    assert spoken.selected_alpn_protocol() == "http/1.1"
    assert "GCM" in spoken.cipher()[0] or "CHACHA20" in spoken.cipher()[0]  # type: ignore[index]
    writer.close()


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"])
async def test_without_forward_secrecy_or_authenticated_ciphers_there_is_none(
    port: int, authority: Authority, ciphers: str
) -> None:
    trusted = authority.trusted()
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    trusted.set_ciphers(ciphers)
    with pytest.raises(ssl.SSLError, match="ALERT_HANDSHAKE_FAILURE"):
        await connected(port, trusted)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_older_versions_are_refused(port: int, authority: Authority) -> None:
    trusted = authority.trusted()
    trusted.set_ciphers("ALL:@SECLEVEL=0")
    trusted.minimum_version = ssl.TLSVersion.TLSv1
    trusted.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        await connected(port, trusted)


async def plain(port: int, content: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return answer


async def test_plain_http_is_told_to_come_back_with_tls(port: int, certificates: Certificates) -> None:
    answer = await plain(port, request(b"GET /v2/ HTTP/1.1"))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"this port speaks TLS: ask with https://" in answer
    assert await plain(port, b"\x00\x01\x02") == b""
    while certificates.handshakes_failed < 2:
        await asyncio.sleep(0.01)


async def test_a_broken_handshake_gets_its_alert(port: int, certificates: Certificates) -> None:
    answer = await plain(port, bytes.fromhex("1603010005") + b"\x01\x00\x00\x01\xff")
    assert answer[:1] == b"\x15"  # a TLS alert
    while certificates.handshakes_failed < 1:
        await asyncio.sleep(0.01)


async def test_slow_handshakes_end_and_hold_nobody(app: App, certificates: Certificates, authority: Authority) -> None:
    async with served(app, tls_front_of(fronted(app, Limits()), certificates, 0.5)) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in silent[10:]:
            writer.write(bytes.fromhex("160301"))
        answer = await said(port, authority.trusted(), request(b"GET /healthz HTTP/1.1", b"Connection: close"))
        assert answer.endswith(b"ok\n")
        async with asyncio.timeout(10):
            for reader, writer in silent:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()


async def test_a_hello_in_single_bytes(port: int, authority: Authority) -> None:
    """And the client's end of a handshake and its first request in one piece."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = authority.trusted().wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            for byte in outgoing.read():
                writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            incoming.write(await reader.read(65536))
    client.write(request(b"GET /healthz HTTP/1.1", b"Connection: close"))
    writer.write(outgoing.read())
    async with asyncio.timeout(10):
        incoming.write(await reader.read())
    assert client.read().startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_pipeline_head_and_keep_alive(port: int, authority: Authority) -> None:
    last = request(b"HEAD /healthz HTTP/1.1", b"Connection: close")
    first = request(b"GET /healthz HTTP/1.1") + request(b"POST /nowhere HTTP/1.1", b"Content-Length: 0")
    answer = await said(port, authority.trusted(), first + last[:9], last[9:])
    assert [each[:3] for each in answer.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_bodies_in_and_out(certificates: Certificates, authority: Authority, version: ssl.TLSVersion) -> None:
    """Larger than every buffer on the way, in both framings, several on one connection."""
    content = bytes(range(256)) * 40_000
    trusted = authority.trusted()
    trusted.maximum_version = version

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100_000):
            yield content[start : start + 100_000]

    async with (
        served(echo, echoing(certificates)) as port,
        httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trusted, trust_env=False) as http,
    ):
        for _ in range(2):
            assert (await http.post("/", content=content)).content == content
            assert (await http.post("/", content=pieces())).content == content


async def test_a_broken_body_is_told_and_the_rest_of_it_drowned(port: int, authority: Authority) -> None:
    """The client still sends when the answer comes: it sees the answer, and no reset."""
    reader, writer = await connected(port, authority.trusted())
    writer.write(request(b"POST /auth/token HTTP/1.1", b"Transfer-Encoding: chunked"))
    async with asyncio.timeout(10):
        for _ in range(20):
            writer.write(b"zz\r\n" + bytes(100_000))
            await asyncio.sleep(0.01)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"}")
    writer.close()


async def test_a_half_answer_is_no_whole_one(certificates: Certificates, authority: Authority) -> None:
    async with served(echo, echoing(certificates)) as port:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            async with httpx.AsyncClient(verify=authority.trusted(), trust_env=False) as http:
                await http.post(f"https://127.0.0.1:{port}/half", content=b"abc")


async def test_a_client_that_leaves_in_the_middle(certificates: Certificates, authority: Authority) -> None:
    """With a goodbye and without: the app learns of it, in a body and while it answers."""
    left = asyncio.Queue[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["method"] == "GET":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": bytes(8_000_000), "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        await left.put(scope["method"])

    async with served(app, echoing(certificates)) as port:
        for head in (request(b"POST / HTTP/1.1", b"Content-Length: 100"), request(b"GET / HTTP/1.1")):
            for goodbye in (True, False):
                reader, writer = await connected(port, authority.trusted())
                writer.write(head)
                if head.startswith(b"GET"):
                    await reader.readexactly(100_000)
                else:
                    await asyncio.sleep(0.05)
                (writer.close if goodbye else writer.transport.abort)()
                async with asyncio.timeout(10):
                    assert head.startswith((await left.get()).encode())


async def test_new_connections_see_the_new_certificate_and_old_ones_live_on(
    port: int, certificates: Certificates, authority: Authority, tmp_path: Path
) -> None:
    async def shown() -> bytes:
        _, writer = await connected(port, authority.trusted())
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    reader, writer = await connected(port, authority.trusted())
    before = await shown()
    authority.issue(tmp_path / "node")
    certificates.look()
    assert await shown() != before
    writer.write(request(b"GET /healthz HTTP/1.1", b"Connection: close"))
    async with asyncio.timeout(10):
        assert (await reader.read()).endswith(b"ok\n")
    writer.close()


async def test_a_push_and_a_pull_with_ranges(tmp_path: Path, certificates: Certificates, authority: Authority) -> None:
    given, layer = settings(tmp_path), bytes(range(250)) * 12_000
    with closing(LocalRegistry.open(given.data)) as registry:
        app = build.app_of(given, registry, reads=registry.reads, log=False)
        front = tls_front_of(fronted(app, Limits()), certificates, 10.0)
        async with (
            served(app, front) as port,
            httpx.AsyncClient(
                base_url=f"https://127.0.0.1:{port}", auth=DEV, verify=authority.trusted(), trust_env=False
            ) as http,
        ):
            manifest = await push_image(http, "apps/api", "1.0", layer)
            blob = f"/v2/apps/api/blobs/{Digest.of(layer)}"
            for _ in range(2):
                assert (await http.get("/v2/apps/api/manifests/1.0")).content == manifest
                assert (await http.get(blob)).content == layer
                part = await http.get(blob, headers={"range": "bytes=1000001-2999998"})
                assert (part.status_code, part.content) == (206, layer[1000001:2999999])
                head = await http.head(blob)
                assert (head.content, head.headers["content-length"]) == (b"", str(len(layer)))
        async with served(app, front) as port:
            asked = httpx.AsyncClient(verify=authority.trusted(), trust_env=False)
            challenge = (await asked.get(f"https://localhost:{port}/v2/")).headers["www-authenticate"]
            await asked.aclose()
            assert f'realm="https://localhost:{port}/auth/token"' in challenge
