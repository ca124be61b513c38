"""Attacks by sheer number: what an answer, a request or a promise may cost has an upper bound."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from oci_wire.digest import Digest
from oci_wire.manifest import OCI_MANIFEST, Manifest
from registry_node import build
from registry_node.registries.local import LocalRegistry
from registry_node.storage import changes
from registry_node.storage.changes import Author, Transaction
from tests.databases import statements
from tests.nodes import RunningNode
from tests.protocol.target import Target, digest_of, next_link, noise
from tests.registry_node.conftest import DEV, asking, settings
from tests.registry_node.images import descriptor, image

MANY = 10_000
PAGE = 1000


def _referrer(subject: dict[str, Any], number: int) -> Manifest:
    return Manifest.parse(image(subject=subject, annotations={"n": str(number)}), OCI_MANIFEST)


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A node whose apps/api has 10,000 tags on one image, and 10,000 manifests that refer to it."""
    registry = LocalRegistry.open(tmp_path)
    subject = Manifest.parse(image(), OCI_MANIFEST)
    named = descriptor(subject.content, OCI_MANIFEST)

    def fill(unit: Transaction) -> None:
        author = Author("tests")
        changes.add_manifest(unit, "apps/api", subject, author)
        for number in range(MANY):
            changes.set_tag(unit, "apps/api", f"t{number:05}", str(subject.digest), author)
            changes.add_manifest(unit, "apps/api", _referrer(named, number), author)

    await registry._store.write(fill)
    app = build.app_of(settings(tmp_path / "node"), registry, reads=registry.reads, log=False)
    async with asking(app, DEV) as client:
        yield client
    registry.close()


async def _pages(http: httpx.AsyncClient, url: str, key: str, *, bytes_a_page: int) -> list[Any]:
    found: list[Any] = []
    following: str | None = url
    while following is not None:
        with statements() as asked:
            answer = await http.get(following)
        assert answer.status_code == 200
        assert len(asked) <= 6, asked
        assert len(answer.content) <= bytes_a_page
        found += answer.json()[key]
        following = next_link(answer)
    return found


@pytest.mark.slow
@pytest.mark.attack("A-many-referrers")
@pytest.mark.attack("A-many-tags")
async def test_long_lists_come_in_pages(http: httpx.AsyncClient) -> None:
    subject = Digest.of(image())
    refers = await _pages(http, f"/v2/apps/api/referrers/{subject}", "manifests", bytes_a_page=PAGE * 400)
    assert len({each["digest"] for each in refers}) == len(refers) == MANY
    assert (
        await _pages(http, f"/v2/apps/api/referrers/{subject}?artifactType=none", "manifests", bytes_a_page=1000) == []
    )
    wanted = [f"t{number:05}" for number in range(MANY)]
    for query, names in (("?n=1000", 1000), ("", MANY), ("?n=99999999", MANY)):
        assert await _pages(http, f"/v2/apps/api/tags/list{query}", "tags", bytes_a_page=names * 12 + 200) == wanted


def _connected(node: RunningNode) -> socket.socket:
    host, _, port = node.host.partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def _authorization(node: RunningNode) -> str:
    request = httpx.Request("GET", node.url)
    return str(next(httpx.BasicAuth(*node.auth("dev")).auth_flow(request)).headers["authorization"])


@pytest.mark.attack("A-tiny-chunks")
def test_chunks_of_a_byte(node: RunningNode, target: Target) -> None:
    """200,000 chunks of one byte, in writes of many: the blob is right, and the node no larger."""
    repository, content = target.repository(), noise(200_000)
    location = target.start(repository)
    path = httpx.URL(location).raw_path.decode()
    assert node.process is not None
    process = psutil.Process(node.process.pid)
    before = process.memory_info().rss
    head = f"PATCH {path} HTTP/1.1\r\nHost: {node.host}\r\nAuthorization: {_authorization(node)}\r\n"
    head += "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with _connected(node) as sock:
        sock.sendall(head.encode())
        wire = b"".join(b"1;x=%d\r\n%c\r\n" % (at % 7, byte) for at, byte in enumerate(content))
        for at in range(0, len(wire), 5000):
            sock.sendall(wire[at : at + 5000])
        sock.sendall(b"0\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 202 ")
    assert target.finish(location, digest_of(content)).status_code == 201
    assert target.blob_bytes(repository, digest_of(content)) == content
    assert process.memory_info().rss - before < 64 * 1024 * 1024


@pytest.mark.attack("A-expect-flood")
def test_promises_cost_nothing(node: RunningNode, target: Target) -> None:
    """300 clients announce a terabyte each and send nothing: others are served, and nothing is kept."""
    repository = target.repository()
    pushed = target.image(repository, "1.0")
    path = httpx.URL(target.start(repository)).raw_path.decode()
    assert node.process is not None
    process = psutil.Process(node.process.pid)
    before = process.memory_info().rss
    waiting = []
    try:
        for _ in range(300):
            sock = _connected(node)
            waiting.append(sock)
            head = f"PATCH {path} HTTP/1.1\r\nHost: {node.host}\r\nAuthorization: {_authorization(node)}\r\n"
            head += (
                f"Content-Type: application/octet-stream\r\nContent-Length: {10**12}\r\nExpect: 100-continue\r\n\r\n"
            )
            sock.sendall(head.encode())
        assert waiting[0].recv(100).startswith(b"HTTP/1.1 100 ")
        assert target.get(repository, "1.0").content == pushed.content
        content = noise(100_000)
        assert target.blob_bytes(repository, target.blob(repository, content)) == content
        assert process.memory_info().rss - before < 100 * 1024 * 1024
    finally:
        for sock in waiting:
            sock.close()
    assert target.get(repository, "1.0").content == pushed.content
    # One that may not write, or names no session, is refused without being told to go on.
    for refusing, status in ((path.replace(repository, "BAD"), b"400"), (path[:-4] + "0000", b"404")):
        with _connected(node) as sock:
            head = f"PATCH {refusing} HTTP/1.1\r\nHost: {node.host}\r\nAuthorization: {_authorization(node)}\r\n"
            sock.sendall(f"{head}Content-Length: {10**12}\r\nExpect: 100-continue\r\n\r\n".encode())
            assert sock.recv(1000).startswith(b"HTTP/1.1 " + status)


async def test_statements_are_counted(tmp_path: Path) -> None:
    """What the bound above is measured with does see the index being asked."""
    registry = LocalRegistry.open(tmp_path)
    with statements() as asked:
        await registry._store.read(lambda tx: tx.execute("SELECT 1").scalar())
    assert any("SELECT 1" in each for each in asked)
    await asyncio.sleep(0)
    registry.close()
