"""Public names for tests: they lead to a server on loopback, past the name service and nothing else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.upstreams.serving import Reply, Request, Server, refusal

PUBLIC = "93.184.215.14"


class Internet:
    """Public names, on port 80, that lead to one server of the test. ``pages``: answers by host and path;
    ``addresses``: names that lead elsewhere, each time they are asked for to the next; ``connected``: to where."""

    def __init__(self) -> None:
        self.pages: dict[str, Reply | Callable[[Request], Reply]] = {}
        self.addresses: dict[str, list[str]] = {}
        self.connected: list[tuple[str, int]] = []
        self.server = Server(self._answer)

    @property
    def asked(self) -> list[str]:
        return [f"{each.headers['host']}{each.path}" for each in self.server.seen]

    def _answer(self, request: Request) -> Reply:
        found = self.pages.get(f"{request.headers['host']}{request.path}", refusal(404, "UNKNOWN"))
        return found if isinstance(found, Reply) else found(request)

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        found = self.addresses.get(host, [PUBLIC])
        address = found.pop(0) if len(found) > 1 else found[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


@asynccontextmanager
async def connected(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Internet]:
    """For this event loop. Other ports than 80 lead where they always do."""
    made, loop = Internet(), asyncio.get_running_loop()
    connect = loop.sock_connect

    async def sock_connect(connection: socket.socket, address: Any) -> None:
        if address[1] != 80:
            return await connect(connection, address)
        made.connected.append(address)
        if address[0] != PUBLIC:
            raise ConnectionRefusedError("nobody there")
        host, port = made.server.host.split(":")
        return await connect(connection, (host, int(port)))

    with made.server:
        monkeypatch.setattr(loop, "getaddrinfo", made.getaddrinfo)
        monkeypatch.setattr(loop, "sock_connect", sock_connect)
        yield made
