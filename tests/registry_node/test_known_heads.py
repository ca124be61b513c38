"""A head that was read before is answered as one that is read: over sockets, for as long as what it proves holds."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError
from registry_node import build, known_heads
from registry_node.app import App
from registry_node.forwarded import Origin
from registry_node.front import front_of
from registry_node.heads import HeadReader
from registry_node.recent import Recent
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Limits
from tests.registry_node.conftest import DEV, GRANTS, READER, USERS, asking, settings
from tests.registry_node.images import push_image
from tests.registry_node.test_access import token_for
from tests.registry_node.test_front import nothing_at_once, said, served

TAG = b"GET /v2/apps/api/manifests/1.0 HTTP/1.1"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """With the short way, and an image in apps/api and in public/api."""
    given = settings(tmp_path)
    with closing(LocalRegistry.open(given.data)) as registry:
        app = build.app_of(given, registry, reads=registry.reads, log=False)
        async with asking(app, DEV) as http:
            for name in ("apps/api", "public/api"):
                await push_image(http, name, "1.0", b"layer")
        yield app


def basic(who: tuple[str, str]) -> bytes:
    return b"Authorization: Basic " + base64.b64encode(":".join(who).encode())


def head(line: bytes, *more: bytes) -> bytes:
    return b"\r\n".join([line, b"Host: box.test", *more, b"", b""])


def known(app: App, content: bytes) -> bytes | None:
    """The answer of the short way when the head is known."""
    return app.at_once(content, None, lambda _: Origin("192.0.2.1", "http"), b"")


def read(app: App, content: bytes) -> bytes | None:
    """The same when it has to be read first."""
    return app.at_once(content, HeadReader(65536).read(content), lambda _: Origin("192.0.2.1", "http"), b"")


def alike(answers: bytes) -> list[tuple[list[bytes], bytes]]:
    """Status line and headers, in any order, and body of each answer; without what is of this one alone."""
    parts = [each.partition(b"\r\n\r\n") for each in re.split(rb"(?=HTTP/1\.1 [0-9])", answers)[1:]]
    return [(sorted(re.sub(rb"(x-request-id|date): [^\r]*", b"", top).split(b"\r\n")), body) for top, _, body in parts]


async def test_the_same_answers_over_sockets_known_or_not_short_or_not(app: App) -> None:
    """Every request twice on a connection, so that the second one is of known bytes."""
    bearer = (await token_for(app, READER, "repository:apps/api:pull"))["authorization"].encode()
    digest, layer = None, str(Digest.of(b"layer")).encode()
    async with asking(app, DEV) as http:
        digest = (await http.head("/v2/apps/api/manifests/1.0")).headers["docker-content-digest"].encode()
    paths = [
        *(
            b"/v2/" + name + b"/manifests/" + each
            for name in (b"apps/api", b"none")
            for each in (b"1.0", b"2.0", digest)
        ),
        *(b"/v2/" + name + b"/blobs/" + layer for name in (b"apps/api", b"public/api", b"secret/api")),
        b"/v2/apps/api/blobs/" + layer.replace(b":", b"%3A"),
        b"/v2/apps/api/tags/list",
        b"/v2/apps//manifests/1.0",
    ]
    lines = [method + b" " + path + b" HTTP/1.1" for path in paths for method in (b"GET", b"HEAD")]
    headers = [[], [basic(DEV)], [basic(READER)], [b"authorization: " + bearer], [basic(DEV), b"If-None-Match: *"]]
    short, long = front_of(app.at_once, Limits(), app.refused), front_of(nothing_at_once, Limits(), app.refused)
    async with served(app, short) as first, served(app, long) as second:
        for more in headers:
            for line in lines:
                wire = head(line, *more) + head(line, *more) + head(line, *more, b"Connection: close")
                answers = [alike(await said(port, wire)) for port in (first, second)]
                assert answers[0] == answers[1]
                assert len(answers[0]) == 3


async def test_known_header_lines_answer_for_every_target(app: App) -> None:
    assert known(app, head(TAG, basic(DEV))) is None
    await token_for(app, DEV)  # the password is known from here on
    first = read(app, head(TAG, basic(DEV)))
    assert first is not None
    other = head(b"HEAD /v2/public/api/manifests/1.0 HTTP/1.1", basic(DEV))
    answer = known(app, other)
    assert answer is not None
    assert answer.endswith(b"\r\n\r\n")
    assert known(app, head(TAG, basic(READER))) is None


async def test_a_local_node_takes_no_notice_of_the_registry_that_is_meant(app: App) -> None:
    await token_for(app, DEV)
    plain = read(app, head(TAG, basic(DEV)))
    meant = read(app, head(TAG.replace(b" HTTP", b"?ns=docker.io HTTP"), basic(DEV)))
    assert plain is not None and meant is not None and alike(plain) == alike(meant)


@pytest.mark.parametrize(
    "line",
    [
        b"GET  /v2/apps/api/manifests/1.0 HTTP/1.1",
        b"GET /v2/apps/api/manifests/1.0  HTTP/1.1",
        b"GET\t/v2/apps/api/manifests/1.0 HTTP/1.1",
        b"GET /v2/apps/api/manifests/1.0 HTTP/1.0",
        b"GET /v2/apps/api/manifests/1.0 HTTP/1.2",
        b"GET /v2/apps/api/manifests/1.0\n HTTP/1.1",
        b"GET /v2/apps/api/manifests/1.0 HTTP/1.1 ",
        b"get /v2/apps/api/manifests/1.0 HTTP/1.1",
        b"PUT /v2/apps/api/manifests/1.0 HTTP/1.1",
        b"GET /v2/apps/api/manifests/1.0?n=1 HTTP/1.1",
        b"GET /v2/apps/api/manifests/1.0#a HTTP/1.1",
        b"GET http://box.test/v2/apps/api/manifests/1.0 HTTP/1.1",
        b"GET /v2/apps/../api/manifests/1.0 HTTP/1.1",
    ],
)
async def test_another_request_line_is_not_taken_for_a_known_one(app: App, line: bytes) -> None:
    assert read(app, head(TAG)) is None  # anonymous, and not public
    public = TAG.replace(b"apps", b"public")
    assert read(app, head(public))
    assert known(app, head(public))
    assert known(app, head(line.replace(b"apps/", b"public/"))) is None


@pytest.mark.parametrize(
    "more",
    [
        b"Connection: close",
        b"Content-Length: 0",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Range: bytes=0-1",
        b"X-Request-Id: mine",
        b"Host: box.test",
        b"Authorization: Basic x",
    ],
)
async def test_what_may_change_the_answer_is_not_learnt(app: App, more: bytes) -> None:
    content = head(TAG.replace(b"apps", b"public"), more)
    try:
        answer = read(app, content)
    except RegistryError:
        answer = None
    assert answer is None
    assert known(app, content) is None


async def test_two_requests_are_not_one(app: App) -> None:
    content = head(TAG.replace(b"apps", b"public"))
    assert read(app, content)
    assert known(app, content + content) is None
    async with served(app, front_of(app.at_once, Limits(), app.refused)) as port:
        answer = await said(port, content + content + content[:9], content[9:-4] + b"\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3


async def test_it_ends_with_the_credential(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    bearer = b"Authorization: " + (await token_for(app, DEV, "repository:apps/api:pull"))["authorization"].encode()
    async with asking(app, None) as http:
        name, value = bearer.decode().split(": ")
        assert (await http.get("/v2/", headers={name: value})).status_code == 200
    assert read(app, head(TAG, bearer))
    assert known(app, head(TAG, bearer))
    later = known_heads.time.time() + 301
    monkeypatch.setattr(known_heads.time, "time", lambda: later)
    assert known(app, head(TAG, bearer)) is None


@pytest.mark.parametrize("gone", ["user", "grant"])
async def test_it_ends_when_the_settings_change(app: App, tmp_path: Path, gone: str) -> None:
    content = head(TAG, basic(READER))
    async with asking(app, READER) as http:
        assert (await http.get("/v2/apps/api/manifests/1.0")).status_code == 200
    assert read(app, content)
    assert known(app, content)
    users = {name: user for name, user in USERS.items() if (name, gone) != ("reader", "user")}
    grants = [each for each in GRANTS if (each["to"], gone) != ("reader", "grant")]
    app.access.replace(settings(tmp_path, users=users, grants=grants if gone == "grant" else []))
    assert known(app, content) is None
    assert read(app, content) is None


async def test_a_moved_tag_shows_at_once(app: App) -> None:
    content = head(TAG.replace(b"apps", b"public"))
    first = read(app, content)
    async with asking(app, DEV) as http:
        second = await push_image(http, "public/api", "1.0", b"another layer")
        answer = known(app, content)
        assert first is not None and answer is not None
        assert answer.endswith(second) and not first.endswith(second)
        await http.delete(f"/v2/public/api/manifests/{Digest.of(second)}")
    assert known(app, content) is None


async def test_beyond_a_rate_limit_the_long_way_refuses(tmp_path: Path) -> None:
    given = settings(tmp_path, rate_limits={"address": {"per_second": 1, "burst": 20}})
    with closing(LocalRegistry.open(given.data)) as registry:
        app = build.app_of(given, registry, reads=registry.reads, log=False)
        async with asking(app, DEV) as http:
            await push_image(http, "public/api", "1.0", b"layer")
        content = head(TAG.replace(b"apps", b"public"))
        assert read(app, content)
        answers = [known(app, content) for _ in range(30)]
    assert [each is not None for each in answers] == [True] * 19 + [False] * 11


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=300))
def test_recent_keeps_the_last_ones_and_no_more(steps: list[tuple[int, bool]]) -> None:
    recent: Recent[int, int] = Recent(8)
    used: list[int] = []
    for key, put in steps:
        if put:
            recent.put(key, key * 2)
        found = recent.get(key)
        assert found in (None, key * 2)
        if found is not None:
            used = [*(each for each in used if each != key), key]
        assert len(recent) <= 16
    for key in used[-8:]:
        assert recent.get(key) == key * 2


async def test_memory_is_bounded(app: App) -> None:
    assert app.prompt is not None
    heads = app.prompt.known
    heads._askers, heads._targets = Recent(4), Recent(4)
    for number in range(50):
        line = b"GET /v2/public/api%d/manifests/1.0 HTTP/1.1" % number
        await asyncio.sleep(0)
        read(app, head(line, b"User-Agent: %d" % number))
    assert 4 <= len(heads._askers) <= 8
    assert 4 <= len(heads._targets) <= 8
