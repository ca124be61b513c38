"""Large bodies on worker threads: the same framing as on the event loop, and what every kind of sender leaves."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from oci_wire.digest import Digest
from oci_wire.errors import RequestInvalid
from registry_node import build, bulk
from registry_node.app import App
from registry_node.framing import Body, Chunked, Counted
from registry_node.intake import Intake
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Limits
from tests.registry_node.conftest import DEV, settings
from tests.registry_node.test_front import fronted, served

MIB = 1024 * 1024
CONTENT = os.urandom(3 * MIB + 17)
DIGEST = Digest.of(CONTENT)


# One body, any pieces


class Pieces:
    """A lent connection that gives these pieces, then b"" (gone) or nothing more."""

    def __init__(self, pieces: list[bytes], *, gone: bool = False) -> None:
        self._pieces, self._gone = [piece for piece in pieces if piece], gone

    def fileno(self) -> int:
        raise NotImplementedError

    def recv_into(self, view: memoryview, seconds: float) -> int:
        if not self._pieces:
            if self._gone:
                return 0
            raise TimeoutError
        piece = self._pieces.pop(0)
        if len(piece) > len(view):
            self._pieces.insert(0, piece[len(view) :])
        view[: len(piece)] = piece[: len(view)]
        return min(len(piece), len(view))

    def send_file(self, file: int, offset: int, count: int, seconds: float) -> int:
        raise NotImplementedError

    def close(self) -> None:
        pass


def taken(body: Body, pieces: list[bytes], *, parsed: bytes = b"", rest: bytes = b"") -> tuple[Intake, bytes]:
    """The intake after all pieces came, and what its sink got."""
    got = bytearray()
    lent = Pieces(pieces)
    intake = Intake(lent, body, parsed, rest, got.extend)
    intake.run()  # also when nothing more comes: what came before is handed over
    while lent._pieces and not intake.complete:
        intake.run()
    return intake, bytes(got)


wires = st.one_of(
    st.binary(max_size=200),
    st.lists(st.binary(min_size=1, max_size=70), max_size=8).map(
        lambda chunks: (
            b"".join(b"%X ;x=y\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nT: 1\r\n\r\nGET / HTTP"
        )
    ),
    st.lists(
        st.sampled_from([b"0\r\n", b"3\r\nabc\r\n", b"\r\n", b"x: y\r\n", b"5;a\r\n12345\r\n", b"zz\r\n", b"3\nabc"])
    ).map(b"".join),
)


@examples(deadline=None)  # the machine may be busy
@given(wires, st.lists(st.integers(1, 40), max_size=30), st.integers(0, 20))
def test_a_thread_and_the_loop_read_a_chunked_body_alike(wire: bytes, cuts: list[int], at_first: int) -> None:
    """Whatever the split: the same body, the same bytes behind it, or the same refusal."""
    pieces, left = [], wire[at_first:]
    for cut in cuts:
        pieces.append(left[:cut])
        left = left[cut:]
    loop_body, buffer, expected = Chunked(), bytearray(), b""
    try:
        for piece in [wire]:
            buffer += piece
            expected += loop_body.take(buffer)
    except RequestInvalid as refused:
        with pytest.raises(RequestInvalid) as found:
            _in_two_steps(wire[:at_first], [*pieces, left])
        assert str(found.value) == str(refused)
        return
    intake, got = _in_two_steps(wire[:at_first], [*pieces, left])
    assert got == expected
    assert intake.complete == loop_body.complete
    behind = intake.rest + b"".join(intake.lent._pieces)  # type: ignore[attr-defined] # a Pieces
    assert behind == bytes(buffer)


def _in_two_steps(first: bytes, pieces: list[bytes]) -> tuple[Intake, bytes]:
    """As the front does: the loop reads the beginning, a thread what is left."""
    body, buffer = Chunked(), bytearray(first)
    parsed = body.take(buffer)
    return taken(body, pieces, parsed=parsed, rest=bytes(buffer))


@examples(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200), st.lists(st.integers(1, 60), max_size=8))
def test_a_counted_body_ends_where_it_says(wire: bytes, length: int, cuts: list[int]) -> None:
    pieces, left = [], wire
    for cut in cuts:
        pieces.append(left[:cut])
        left = left[cut:]
    intake, got = taken(Counted(length), [*pieces, left])
    assert got == wire[:length]
    assert intake.complete == (len(wire) >= length)


def test_a_body_larger_than_the_buffer() -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (CONTENT[:100], CONTENT[100:])) + b"0\r\n\r\n"
    intake, got = taken(Chunked(), [chunks[at : at + 65_537] for at in range(0, len(chunks), 65_537)])
    assert got == CONTENT
    assert intake.complete
    assert intake.received == len(CONTENT)


def test_what_came_before_the_client_left_reaches_the_sink() -> None:
    got = bytearray()
    intake = Intake(Pieces([b"abc"], gone=True), Counted(10), b"", b"", got.extend)
    intake.run()
    assert intake.gone
    assert bytes(got) == b"abc"


# Over a real socket

LIMITS = Limits(upload_threads=2, body_seconds=0.4, body_bytes=1000)
Serve = Callable[..., contextlib.AbstractAsyncContextManager["Node"]]


class Node:
    """A node in this loop, asked over sockets."""

    def __init__(self, app: App, registry: LocalRegistry, port: int) -> None:
        self.app, self.registry, self.port = app, registry, port
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", auth=DEV, trust_env=False, timeout=20)

    async def session(self) -> str:
        answer = await self.http.post("/v2/a/blobs/uploads/")
        assert answer.status_code == 202
        return str(answer.headers["location"])

    async def offset(self, session: str) -> int:
        answer = await self.http.get(session)
        assert answer.status_code == 204, answer.text
        return int(answer.headers["range"].partition("-")[2]) + 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def head(self, line: str, *headers: str) -> bytes:
        basic = httpx.BasicAuth(*DEV)._auth_header
        fields = [f"Host: 127.0.0.1:{self.port}", f"Authorization: {basic}", *headers]
        return "\r\n".join([line, *fields, "", ""]).encode()

    async def blob(self) -> bytes:
        return (await self.http.get(f"/v2/a/blobs/{DIGEST}")).raise_for_status().content


@pytest.fixture
def node(tmp_path: Path) -> Serve:
    @asynccontextmanager
    async def serve(limits: Limits = LIMITS, **changes: object) -> AsyncIterator[Node]:
        declared = settings(tmp_path / "data", **changes)
        with contextlib.closing(LocalRegistry.open(declared.data, declared.rules, limits=limits)) as registry:
            app = build.app_of(declared, registry, log=False)
            async with served(app, fronted(app, limits)) as port:
                found = Node(app, registry, port)
                async with found.http:
                    yield found

    return serve


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Intake]:
    """The bodies that a thread took, as often as it did."""
    seen: list[Intake] = []
    inner = Intake.run

    def run(self: Intake) -> float:
        seen.append(self)
        return inner(self)

    monkeypatch.setattr(Intake, "run", run)
    return seen


async def status_of(reader: asyncio.StreamReader) -> int:
    """The status of the next answer; its body is read."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if length:
        await reader.readexactly(int(length[0].partition(b":")[2]))
    return int(head.split(b" ", 2)[1])


def chunked(content: bytes, size: int = 50_000) -> bytes:
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_pipeline_around_a_large_body(node: Serve, runs: list[Intake], framing: str) -> None:
    async with node() as box:
        session = await box.session()
        length, wire = f"Content-Length: {len(CONTENT)}", CONTENT
        if framing == "chunked":
            length, wire = "Transfer-Encoding: chunked", chunked(CONTENT)
        put = box.head(f"PUT {session}?digest={DIGEST} HTTP/1.1", length)
        reader, writer = await box.connect()
        probe = box.head("GET /healthz HTTP/1.1")
        writer.write(probe + put + wire + probe + probe)
        assert [await status_of(reader) for _ in range(4)] == [200, 201, 200, 200]
        writer.close()
        assert await box.blob() == CONTENT
        assert runs


async def test_small_bodies_stay_on_the_loop(node: Serve, runs: list[Intake]) -> None:
    async with node() as box:
        await box.http.patch(await box.session(), content=CONTENT[:200_000])

        async def pieces() -> AsyncIterator[bytes]:
            yield CONTENT[:200_000]

        answer = await box.http.patch(await box.session(), content=pieces())
        assert answer.status_code == 202
        assert not runs


async def test_a_whole_blob_in_one_request(node: Serve, runs: list[Intake]) -> None:
    async with node() as box:
        url = f"/v2/a/blobs/uploads/?digest={DIGEST}"
        assert (await box.http.post(url, content=CONTENT)).status_code == 201
        assert await box.blob() == CONTENT
        wrong = await box.http.post(url.replace(str(DIGEST), f"sha256:{'0' * 64}"), content=CONTENT)
        assert wrong.json()["errors"][0]["code"] == "DIGEST_INVALID"
        assert runs
        assert not list((box.registry.folder / "temp").iterdir())


async def test_a_sender_that_waits_for_continue(node: Serve, runs: list[Intake]) -> None:
    async with node() as box:
        head = box.head(f"PATCH {await box.session()} HTTP/1.1", f"Content-Length: {MIB}", "Expect: 100-continue")
        reader, writer = await box.connect()
        writer.write(head)
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(CONTENT[:MIB])
        assert await status_of(reader) == 202
        assert runs
        writer.close()


async def test_a_client_that_leaves_keeps_what_came(node: Serve, runs: list[Intake]) -> None:
    async with node() as box:
        session = await box.session()
        _, writer = await box.connect()
        writer.write(box.head(f"PATCH {session} HTTP/1.1", f"Content-Length: {len(CONTENT)}") + CONTENT[: 2 * MIB])
        await writer.drain()
        writer.close()
        while box.app.in_flight or not runs:
            await asyncio.sleep(0.01)
        assert await box.offset(session) == 2 * MIB
        rest = await box.http.patch(
            session, content=CONTENT[2 * MIB :], headers={"content-range": f"{2 * MIB}-{len(CONTENT) - 1}"}
        )
        assert rest.status_code == 202
        assert (await box.http.put(f"{session}?digest={DIGEST}")).status_code == 201
        assert await box.blob() == CONTENT


@pytest.mark.parametrize("trickle", [False, True])
async def test_a_sender_that_is_too_slow(node: Serve, runs: list[Intake], trickle: bool) -> None:
    async with node() as box:
        session = await box.session()
        reader, writer = await box.connect()
        writer.write(box.head(f"PATCH {session} HTTP/1.1", f"Content-Length: {len(CONTENT)}") + CONTENT[:MIB])
        answer = asyncio.create_task(status_of(reader))
        sent = MIB
        while trickle and not answer.done() and sent < MIB + 500:
            writer.write(CONTENT[sent : sent + 1])
            sent += 1
            await asyncio.sleep(0.01)
        assert await answer == 408
        writer.close()
        assert MIB <= await box.offset(session) <= sent
        assert runs


async def test_a_small_body_that_never_ends_is_given_up(node: Serve) -> None:
    async with node() as box:
        session = await box.session()
        reader, writer = await box.connect()
        writer.write(box.head(f"PATCH {session} HTTP/1.1", "Content-Length: 5000") + CONTENT[:100])
        assert await status_of(reader) == 408
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()
        assert await box.offset(session) == 100


async def test_slow_senders_hold_no_thread(node: Serve, runs: list[Intake]) -> None:
    """More of them than there are threads, and another upload goes through."""
    async with node(Limits(upload_threads=1, body_seconds=60)) as box:
        slow = []
        for _ in range(4):
            _, writer = await box.connect()
            writer.write(box.head(f"PATCH {await box.session()} HTTP/1.1", f"Content-Length: {MIB}") + CONTENT[:1000])
            slow.append(writer)
        while len({id(each) for each in runs}) < 4:
            await asyncio.sleep(0.01)
        assert (await box.http.patch(await box.session(), content=CONTENT)).status_code == 202
        for writer in slow:
            writer.close()


async def test_a_newer_request_ends_the_older_one(node: Serve, runs: list[Intake]) -> None:
    async with node(Limits(body_seconds=60)) as box:
        session = await box.session()
        reader, writer = await box.connect()
        writer.write(box.head(f"PATCH {session} HTTP/1.1", f"Content-Length: {len(CONTENT)}") + CONTENT[:MIB])
        while await box.offset(session) < MIB:
            await asyncio.sleep(0.01)
        headers = {"content-range": f"{MIB}-{len(CONTENT) - 1}"}
        assert (await box.http.patch(session, content=CONTENT[MIB:], headers=headers)).status_code == 202
        assert await status_of(reader) == 416
        writer.close()
        assert (await box.http.put(f"{session}?digest={DIGEST}")).status_code == 201
        assert await box.blob() == CONTENT
        assert len({id(each) for each in runs}) == 2


async def test_a_cancelled_session_ends_its_writer(node: Serve, runs: list[Intake]) -> None:
    async with node(Limits(body_seconds=60)) as box:
        session = await box.session()
        reader, writer = await box.connect()
        writer.write(box.head(f"PATCH {session} HTTP/1.1", f"Content-Length: {len(CONTENT)}") + CONTENT[:MIB])
        while await box.offset(session) < MIB:
            await asyncio.sleep(0.01)
        assert (await box.http.delete(session)).status_code == 204
        assert await status_of(reader) == 416
        writer.close()
        assert (await box.http.get(session)).status_code == 404
        assert not list((box.registry.folder / "uploads").iterdir())
        assert runs


async def test_the_quota_counts_while_bytes_come(node: Serve, runs: list[Intake]) -> None:
    async with node(rules={"quota_bytes": 2 * MIB}) as box:
        session = await box.session()
        answer = await box.http.patch(session, content=CONTENT)
        assert answer.status_code == 507
        assert await box.offset(session) <= 2 * MIB
        assert runs


@pytest.mark.parametrize("stop", [MIB - 1, len(CONTENT)])
async def test_a_chunked_body_that_contradicts_its_range(node: Serve, runs: list[Intake], stop: int) -> None:
    async with node() as box:
        session = await box.session()
        content = CONTENT if stop < len(CONTENT) else CONTENT[:MIB]
        head = box.head(f"PATCH {session} HTTP/1.1", "Transfer-Encoding: chunked", f"Content-Range: 0-{stop - 1}")
        reader, writer = await box.connect()
        writer.write(head + chunked(content))
        assert await status_of(reader) == 400
        writer.close()
        assert runs


async def test_a_chunked_body_that_breaks(node: Serve, runs: list[Intake]) -> None:
    async with node() as box:
        head = box.head(f"PATCH {await box.session()} HTTP/1.1", "Transfer-Encoding: chunked")
        reader, writer = await box.connect()
        writer.write(head + chunked(CONTENT[:MIB])[:-5] + b"nonsense\r\n" + box.head("GET /healthz HTTP/1.1"))
        assert await status_of(reader) == 400
        assert await asyncio.wait_for(reader.read(), 20) == b""  # what follows is no request
        writer.close()
        assert runs


@pytest.mark.parametrize(("number", "status"), [(errno.EMFILE, 503), (errno.EBADF, None)])
async def test_a_connection_that_cannot_be_lent(
    node: Serve, monkeypatch: pytest.MonkeyPatch, number: int, status: int | None
) -> None:
    """No descriptor is free, or the transport has closed meanwhile: what the loop has read is kept."""

    def of(transport: asyncio.BaseTransport) -> bulk.Bulk:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(bulk, "of", of)
    async with node() as box:
        session = await box.session()
        reader, writer = await box.connect()
        writer.write(box.head(f"PATCH {session} HTTP/1.1", f"Content-Length: {MIB}") + CONTENT[:10_000])
        if status is None:
            assert await asyncio.wait_for(reader.read(), 20) == b""
        else:
            assert await status_of(reader) == status
        writer.close()
        assert 0 < await box.offset(session) <= 10_000
