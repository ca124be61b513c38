"""Clients that are slow, silent or too many: they are ended, others are served meanwhile, and all is freed afterwards."""

from __future__ import annotations

import asyncio
import base64
import resource
import time
from collections.abc import Callable, Iterator

import pytest

from oci_wire.digest import Digest
from tests.nodes import SECRETS, RunningNode, running
from tests.registry_node.hostile.crowd import (
    BIG,
    MIB,
    REPOSITORY,
    Victim,
    all_of,
    dripped,
    said_until_the_end,
    sent_at_once,
)

pytestmark = pytest.mark.slow
_TAKEN = 10  # of the first so many descriptors none is free
LIMITS = {
    **{"head_seconds": 2.0, "idle_seconds": 3.0, "body_seconds": 2.0, "body_bytes": 1000, "answer_seconds": 2.0},
    "upload_threads": 4,
}
BASIC = b"Authorization: Basic " + base64.b64encode(f"dev:{SECRETS['dev']}".encode()) + b"\r\n"
UPLOAD = f"POST /v2/{REPOSITORY}/blobs/uploads/?digest={Digest.of(BIG)} HTTP/1.1\r\nHost: a\r\n".encode() + BASIC
MANIFEST = f"PUT /v2/{REPOSITORY}/manifests/latest HTTP/1.1\r\nHost: a\r\n".encode() + BASIC
DOWNLOAD = f"GET /v2/{REPOSITORY}/blobs/{Digest.of(BIG)} HTTP/1.1\r\nHost: a\r\n".encode() + BASIC + b"\r\n"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running(tmp_path_factory.mktemp("victim"), limits=LIMITS) as node:
        yield node


@pytest.fixture
async def victim(node: RunningNode) -> Victim:
    return await Victim.of(node)


async def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        await asyncio.sleep(0.05)
    return holds()


@pytest.mark.parametrize("start", [b"", b"GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Slow: "], ids=["silent", "half a head"])
async def test_a_thousand_connections_that_say_no_more(victim: Victim, start: bytes) -> None:
    async with victim.serving_others():
        crowd = await all_of(1000, lambda _: victim.connected(start))
        said = await asyncio.gather(*map(said_until_the_end, crowd))
    assert set(said) == {b""}
    await victim.is_as_before()


async def test_heads_a_byte_at_a_time(victim: Victim) -> None:
    async with victim.serving_others():
        crowd = await all_of(100, lambda _: victim.connected())
        dripping = [asyncio.create_task(dripped(sock, b"GET /v2/ HTTP/1.1\r\nX: " + b"a" * 500, 0.1)) for sock in crowd]
        said = await asyncio.gather(*map(said_until_the_end, crowd))
        for each in dripping:
            each.cancel()
    assert set(said) == {b""}
    await victim.is_as_before()


@pytest.mark.parametrize(
    "head",
    [
        UPLOAD + b"Content-Length: %d\r\n\r\n" % len(BIG),
        UPLOAD + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
        MANIFEST + b"Content-Length: 5000\r\n\r\n",
        UPLOAD + b"Expect: 100-continue\r\nContent-Length: 5000\r\n\r\n",
    ],
    ids=["upload", "chunked", "manifest", "continue"],
)
@pytest.mark.parametrize("drips", [True, False], ids=["drips", "nothing"])
async def test_bodies_that_do_not_come(victim: Victim, head: bytes, drips: bool) -> None:
    async with victim.serving_others():
        crowd = await all_of(40, lambda _: victim.connected(head))
        dripping = [asyncio.create_task(dripped(sock, b"a" * 500, 0.2)) for sock in crowd] if drips else []
        said = await asyncio.gather(*map(said_until_the_end, crowd))
        for each in dripping:
            each.cancel()
    for each in said:
        answer = each.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert b'"code": "' in answer
    await victim.is_as_before()


async def test_readers_that_take_nothing(victim: Victim) -> None:
    """A large blob, and answers of the short way in a pipeline."""
    manifest = f"GET /v2/{REPOSITORY}/manifests/latest HTTP/1.1\r\nHost: a\r\n".encode() + BASIC + b"\r\n"
    async with victim.serving_others():
        crowd = await all_of(30, lambda _: victim.connected(DOWNLOAD, receive_buffer=4096))
        crowd += await all_of(20, lambda _: victim.connected(manifest * 1500, receive_buffer=4096))
        assert await _within(30, lambda: victim.process.num_fds() > victim.files + 30)
        assert await _within(30, lambda: victim.process.num_fds() <= victim.files + 16)
    for sock in crowd:
        sock.close()
    await victim.is_as_before(more_memory=48 * MIB)


async def test_a_head_of_a_hundred_megabytes(victim: Victim) -> None:
    """Or of a million fields. Nothing of it is kept, and the client that is still sending gets to see why."""
    starts = ((b"GET /v2/ HTTP/1.1\r\n", b"X: y\r\n" * 10_000), (b"GET /v2/ HTTP/1.1\r\nX: ", b"a" * 65536))
    async with victim.serving_others():
        for start, piece in (*starts, (b"GET /", b"a" * 65536)):
            said = await asyncio.to_thread(sent_at_once, victim.node.host, start, piece, 100 * MIB // len(piece))
            assert said.startswith(b"HTTP/1.1 431 ")
            assert b'"code": "REQUEST_INVALID"' in said
    await victim.is_as_before()


async def test_more_connections_than_files(victim: Victim) -> None:
    """Who cannot be let in waits or is dropped; the node neither ends nor spins, and goes on when it has files again."""
    most = victim.files + 60
    resource.prlimit(victim.process.pid, resource.RLIMIT_NOFILE, (most, most))
    async with victim.client() as http:  # a connection that is there already is still served
        assert (await http.get("/healthz")).status_code == 200
        crowd = await all_of(300, lambda _: victim.connected())
        before = sum(victim.process.cpu_times()[:2])
        await asyncio.sleep(1)
        assert sum(victim.process.cpu_times()[:2]) - before < 0.5
        assert (await http.get("/healthz")).status_code == 200
    for sock in crowd:
        sock.close()
    async with victim.serving_others():
        await asyncio.sleep(0.2)
    await victim.is_as_before()


@pytest.mark.parametrize("upload", [True, False])
async def test_no_file_left_to_open(victim: Victim, upload: bool) -> None:
    """What needs a file is refused for now, that is no error of ours; what needs none is answered."""
    async with victim.client() as http:
        assert (await http.get("/healthz")).status_code == 200
        _, hard = resource.prlimit(victim.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(victim.process.pid, resource.RLIMIT_NOFILE, (_TAKEN, hard))
        if upload:
            target = f"/v2/{REPOSITORY}/blobs/uploads/?digest={Digest.of(b'new')}"
            answer = await http.post(target, content=b"new")
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "UNAVAILABLE")
            assert answer.headers["retry-after"] == "1"
        else:
            assert (await http.get(f"/v2/{REPOSITORY}/manifests/latest")).status_code == 200
        resource.prlimit(victim.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
    async with victim.serving_others():
        await asyncio.sleep(0.1)
    await victim.is_as_before()
