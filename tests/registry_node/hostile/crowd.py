"""Many connections that behave badly, and a client that behaves well and must be served all the while."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import psutil

from oci_wire.digest import Digest
from tests.nodes import RunningNode, log_lines
from tests.registry_node.images import push_blob, push_image

REPOSITORY = "apps/api"
BIG = bytes(range(256)) * (64 * 1024)  # 16 MiB
MIB = 1024 * 1024
_PATIENCE = 30.0  # seconds for one answer to the good client, on a machine that is busy with other tests
_HEALED = 45.0  # seconds until all is freed


@dataclass
class Victim:
    """A running node with an image, what it holds when nobody does harm, and how it served the good client since."""

    node: RunningNode
    process: psutil.Process
    files: int = 0
    memory: int = 0
    most_memory: int = 0
    served: int = 0
    refused: list[str] = field(default_factory=list)

    @classmethod
    async def of(cls, node: RunningNode) -> Victim:
        assert node.process is not None
        victim = cls(node, psutil.Process(node.process.pid))
        async with victim.client() as http:
            await push_image(http, REPOSITORY, "latest", b"layer")
            await push_blob(http, REPOSITORY, BIG)
            for _ in range(20):  # caches and threads
                await victim._ask(http)
        victim.files, victim.memory = victim.process.num_fds(), victim.process.memory_info().rss
        return victim

    def client(self) -> httpx.AsyncClient:
        auth, wait = self.node.auth("dev"), httpx.Timeout(_PATIENCE)
        return httpx.AsyncClient(base_url=self.node.url, auth=auth, trust_env=False, timeout=wait)

    async def _ask(self, http: httpx.AsyncClient) -> None:
        for path in (f"/v2/{REPOSITORY}/manifests/latest", f"/v2/{REPOSITORY}/tags/list", "/healthz"):
            answer = await http.get(path)
            if answer.status_code != 200:
                self.refused.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            self.served += 1

    @asynccontextmanager
    async def serving_others(self) -> AsyncIterator[None]:
        """Asks all the while, each time over a new connection. Afterwards: all were answered."""
        self.served, stop = 0, asyncio.Event()

        async def others() -> None:
            while not stop.is_set():
                try:
                    async with self.client() as http:
                        await self._ask(http)
                except httpx.HTTPError as error:
                    self.refused.append(repr(error))
                self.most_memory = max(self.most_memory, self.process.memory_info().rss)
                await asyncio.sleep(0.05)

        asking = asyncio.create_task(others())
        try:
            yield
        finally:
            stop.set()
            await asking
        assert self.refused == []
        assert self.served >= 3

    async def is_as_before(self, more_memory: int = 24 * MIB) -> None:
        """Connections, files and tasks are freed, nothing broke, memory stayed within bounds."""
        until = time.monotonic() + _HEALED
        while self.process.num_fds() > self.files + 16 and time.monotonic() < until:
            await asyncio.sleep(0.1)
        assert self.process.num_fds() <= self.files + 16  # worker threads have connections to the index
        async with self.client() as http:
            metrics = (await http.get("/metrics")).text
            blob = await http.get(f"/v2/{REPOSITORY}/blobs/{Digest.of(BIG)}")
        assert "registry_http_in_flight_requests 1.0" in metrics, [
            line for line in metrics.splitlines() if "flight" in line
        ]
        assert blob.content == BIG
        assert max(self.most_memory, self.process.memory_info().rss) < self.memory + more_memory
        assert [line["trace"] for line in log_lines(self.node) if line.get("level") == "error"] == []

    async def connected(self, wire: bytes = b"", *, receive_buffer: int = 0) -> socket.socket:
        """A connection that has said this much."""
        name, _, port = self.node.host.rpartition(":")
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, (name, int(port)))
        if wire:
            await asyncio.get_running_loop().sock_sendall(sock, wire)
        return sock


async def all_of(count: int, make: Callable[[int], Awaitable[socket.socket]]) -> list[socket.socket]:
    """``count`` connections, some at a time: the queue of new ones is not endless."""
    free = asyncio.Semaphore(64)

    async def one(number: int) -> socket.socket:
        async with free:
            return await make(number)

    return list(await asyncio.gather(*map(one, range(count))))


async def said_until_the_end(sock: socket.socket, seconds: float = 30.0) -> bytes:
    """What the node says until it ends the connection. Raises TimeoutError."""
    said, loop = bytearray(), asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionError):
            while content := await loop.sock_recv(sock, 65536):
                said += content
    sock.close()
    return bytes(said)


def sent_at_once(host: str, start: bytes, piece: bytes, count: int) -> bytes:
    """What the node says to a client that sends first and listens later. Blocks."""
    name, _, port = host.rpartition(":")
    said = bytearray()
    with socket.create_connection((name, int(port)), timeout=60) as sock:
        with contextlib.suppress(ConnectionError):
            for each in (start, *([piece] * count)):
                sock.sendall(each)
        with contextlib.suppress(ConnectionError):
            while content := sock.recv(65536):
                said += content
    return bytes(said)


async def dripped(sock: socket.socket, content: bytes, seconds: float) -> None:
    """A byte each time so many seconds are over, until the node has enough of it."""
    with contextlib.suppress(ConnectionError, OSError):
        for byte in content:
            await asyncio.get_running_loop().sock_sendall(sock, bytes([byte]))
            await asyncio.sleep(seconds)
