"""Answers that come a byte at a time end by our clock, not by theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from oci_wire.client import Credentials, RemoteRegistry, transport
from oci_wire.errors import RegistryError, Unreachable
from oci_wire.registry import Call


class Drip(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "ERROR_SECONDS", 0.05)
    monkeypatch.setattr(transport, "TOKEN_SECONDS", 0.05)


async def test_an_error_that_never_ends_is_its_status() -> None:
    mock = httpx.MockTransport(lambda request: httpx.Response(429, stream=Drip()))
    async with httpx.AsyncClient(transport=mock) as http:
        with pytest.raises(RegistryError) as caught:
            await RemoteRegistry("https://there.test", client=http).resolve(Call(), "a", "1")
    assert caught.value.transient


async def test_a_token_that_never_ends_is_not_waited_for() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/token":
            return httpx.Response(200, stream=Drip())
        return httpx.Response(401, headers={"www-authenticate": 'Bearer realm="https://there.test/token"'})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        registry = RemoteRegistry("https://there.test", client=http, credentials=Credentials("me", "secret"))
        with pytest.raises(Unreachable):
            await registry.resolve(Call(), "a", "1")
