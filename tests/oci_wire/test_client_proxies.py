"""Registries behind a proxy: through which one, whom it may lead to, and that TLS stays between us and the registry."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from oci_wire.client import RemoteRegistry
from oci_wire.client.addresses import CheckedTransport, Reach
from oci_wire.client.proxies import Choose, always, environment, no_proxy
from oci_wire.digest import Digest
from oci_wire.errors import Forbidden, Unreachable, Unsupported
from oci_wire.registry import Call
from registry_node.settings.mirror import Remote
from tests.certificates import Authority
from tests.oci_wire.test_client_connections import certified, listening, serving

LAYER = os.urandom(3 * 1024 * 1024 + 17)
DIGEST = Digest.of(LAYER)
CALL = Call("tests")
OUTSIDE = "registry.test"  # as its certificate says


class Proxy:
    """Takes CONNECT to any name and leads to ``port`` of this machine, as the name server of the outside would."""

    def __init__(self, port: int) -> None:
        self._to, self.asked, self.port = port, list[str](), 0
        self.authorizations: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.partition(" HTTP")[0])
            self.authorizations += [
                line.partition(": ")[2] for line in head.splitlines() if line.lower().startswith("proxy-auth")
            ]
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@asynccontextmanager
async def outside(authority: Authority, folder: Path, *bodies: bytes) -> AsyncIterator[Proxy]:
    """A registry that only the proxy can find."""
    async with listening(serving(*bodies), certified(authority, folder)) as port:
        proxy = Proxy(port)
        async with listening(proxy.serve) as proxy.port:
            yield proxy


def through(choose: Choose, authority: Authority, url: str = f"https://{OUTSIDE}") -> RemoteRegistry:
    reach = Reach(httpx.URL(url).host)
    http = httpx.AsyncClient(transport=CheckedTransport(reach, authority.trusted(), proxy=choose), timeout=5)
    return RemoteRegistry(url, client=http, owned=True)


@pytest.fixture(autouse=True)
def nobody_knows_the_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    known = asyncio.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self: Any, host: str, port: Any, **more: Any) -> Any:
        if host == OUTSIDE:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        if host == "inside.example":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", port))]
        return await known(self, host, port, **more)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)


async def test_a_registry_that_only_the_proxy_finds(authority: Authority, tmp_path: Path) -> None:
    async with outside(authority, tmp_path, LAYER, LAYER) as proxy:
        async with through(always(f"http://127.0.0.1:{proxy.port}"), authority) as remote:
            for _ in range(2):
                assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER
        assert set(proxy.asked) == {f"CONNECT {OUTSIDE}:443"}
        async with through(no_proxy, authority) as remote:
            with pytest.raises(Unreachable):
                await remote.open_blob(CALL, "a/b", DIGEST)


async def test_the_environment_says_which_and_for_whom(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with outside(authority, tmp_path, LAYER) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://ana:s%40fe@127.0.0.1:{proxy.port}")
        async with through(environment(), authority) as remote:
            assert await (await remote.open_blob(CALL, "a/b", DIGEST)).read() == LAYER
        assert proxy.authorizations == ["Basic " + base64.b64encode(b"ana:s@fe").decode()]
        monkeypatch.setenv("NO_PROXY", "other.example,.test")
        async with through(environment(), authority) as remote:
            with pytest.raises(Unreachable):
                await remote.open_blob(CALL, "a/b", DIGEST)
        assert len(proxy.asked) == 1


async def test_a_proxy_that_wants_tls_for_itself_is_refused_and_not_gone_around(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = 0

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        writer.close()

    async with listening(counting) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"https://ana:s3cret@127.0.0.1:{port}")
        async with through(environment(), authority) as remote:
            with pytest.raises(Unreachable, match=r"https://127\.0\.0\.1 cannot be used") as caught:
                await remote.open_blob(CALL, "a/b", DIGEST)
    assert connected == 0
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("https://proxy.example:3128", "TLS to a proxy itself is not spoken"),
        ("socks5://proxy.example", "an address like http://proxy.example:3128"),
        ("http://ana:s3cret@proxy.example", "credentials never stand in an address"),
    ],
)
def test_proxies_that_settings_may_not_name(said: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Remote(name="far", url="https://registry.example", proxy=said)
    assert Remote(name="far", url="https://registry.example", proxy="http://p:1/").proxy == "http://p:1"


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, "https://a.example", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://a.example", "http://p:1"),
        ({"https_proxy": "p:1"}, "https://a.example", "http://p:1"),
        ({"HTTP_PROXY": "http://p:1"}, "https://a.example", None),
        ({"ALL_PROXY": "http://p:1"}, "https://a.example", "http://p:1"),
        ({"HTTPS_PROXY": "socks5://p:1"}, "https://a.example", None),
        ({"HTTPS_PROXY": "https://p:1"}, "https://a.example", "https://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example"}, "https://a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example:444"}, "https://a.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "https://127.0.0.1", None),
        ({"HTTPS_PROXY": "http://p:1"}, "https://localhost", None),
    ],
)
def test_what_the_environment_means(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str, expected: str | None
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    parsed = httpx.URL(url)
    assert environment()(parsed.scheme, parsed.host, parsed.port or 443) == expected


@pytest.mark.attack("A-upstream-addresses")
@pytest.mark.parametrize("url", ["https://169.254.169.254", "https://10.0.0.1", "https://inside.example"])
async def test_a_proxy_leads_to_no_address_that_is_not_asked_directly(
    authority: Authority, tmp_path: Path, url: str
) -> None:
    """As far as is known here: the registry redirects there."""

    async def redirecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 307 Found\r\nLocation: {url}/x\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    async with listening(redirecting, certified(authority, tmp_path)) as port:
        proxy = Proxy(port)
        async with listening(proxy.serve) as proxy.port:
            async with through(always(f"http://127.0.0.1:{proxy.port}"), authority) as remote:
                with pytest.raises((Forbidden, Unsupported)):
                    await remote.open_blob(CALL, "a/b", DIGEST)
            assert proxy.asked == [f"CONNECT {OUTSIDE}:443"]
