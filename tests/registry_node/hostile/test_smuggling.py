"""Nothing that hides in one request is ever answered or executed as another: a real node, and one behind nginx."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.nodes import RunningNode, free_port, log_lines, running
from tests.registry_node.hostile.raw import exchanged, statuses
from tests.registry_node.hostile.smuggling import CASES, REFUSALS, REFUSED, Case
from tests.tools import require

LIMITS = {"head_seconds": 1.0, "idle_seconds": 1.0}
AT_ONCE = 32  # connections


@dataclass
class Sent:
    """What came of all cases: what was said, and the paths that the node's log has."""

    said: dict[str, tuple[bytes, bool]]
    logged: list[str]


async def _send(host: str, cases: tuple[Case, ...]) -> dict[str, tuple[bytes, bool]]:
    free = asyncio.Semaphore(AT_ONCE)

    async def send(case: Case) -> tuple[bytes, bool]:
        async with free:
            return await exchanged(host, case.wire)

    return dict(zip((case.id for case in cases), await asyncio.gather(*map(send, cases)), strict=True))


def _all_sent(node: RunningNode, host: str) -> Sent:
    said = asyncio.run(_send(host, CASES))
    node.stop()  # so that its log is whole
    return Sent(said, [line["path"] for line in log_lines(node) if "path" in line])


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    with running(tmp_path_factory.mktemp("smuggling"), limits=LIMITS) as node:
        yield _all_sent(node, node.host)


def test_every_case_has_its_own_id_and_a_source() -> None:
    assert len({case.id for case in CASES}) == len(CASES) > 100
    assert all(case.source.startswith("RFC ") for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_smuggled_request_is_not_executed(sent: Sent, case: Case) -> None:
    said, ended = sent.said[case.id]
    assert f"/smuggled/{case.id}" not in sent.logged
    found = statuses(said)
    assert len(found) <= 1, said
    assert b"smuggled" not in said
    if case.outcome == REFUSED:
        assert ended
        assert all(status in REFUSALS for status in found), said
    else:
        assert all(status < 500 for status in found), said


def test_the_node_itself_answers_refusals_with_an_error_body(sent: Sent) -> None:
    """All but those whose first byte is no letter: that is TLS on a plain port."""
    silent = {case.id for case in CASES if case.outcome == REFUSED and not statuses(sent.said[case.id][0])}
    assert silent <= {"space-first", "no-method", "empty-line-of-lf"}
    for case in CASES:
        said = sent.said[case.id][0]
        if case.outcome == REFUSED and said:
            assert b'{"errors": [{"code": "' in said
            assert b"connection: close\r\n" in said


def test_the_net_would_catch_one(tmp_path: Path) -> None:
    """A plain pipeline is answered and logged: that is what the tests above would see."""
    first, second = (f"GET /smuggled/{n} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for n in (1, 2))
    with running(tmp_path, limits=LIMITS) as node:
        said, ended = asyncio.run(exchanged(node.host, first + second))
        node.stop()
        logged = [line.get("path") for line in log_lines(node)]
    assert statuses(said) == [404, 404]
    assert ended
    assert {"/smuggled/1", "/smuggled/2"} <= set(logged)


NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  log_format asked '$upstream_status $request_uri';
  access_log {folder}/access.log asked;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_timeout 1s; client_header_timeout 2s; client_body_timeout 2s; client_max_body_size 0;
  upstream node {{ server {node}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_request_buffering off; proxy_buffering off;
    }}
  }}
}}
"""


@contextmanager
def _nginx(folder: Path, node: RunningNode) -> Iterator[str]:
    """In front of a node over kept connections, bodies passed on as they come: where smuggling would pay."""
    port = free_port()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, node=node.host, port=port))
    process = subprocess.Popen([require("nginx"), "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        asyncio.run(_listens(port))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


async def _listens(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                (await asyncio.open_connection("127.0.0.1", port))[1].close()
                return
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


@pytest.mark.clients
def test_nginx_and_the_node_see_the_same_requests(tmp_path: Path) -> None:
    """What nginx forwards as one request the node must not read as two. nginx itself may take two where the node, asked
    directly, refuses (it takes lines that end in LF): both of them then say so."""
    with running(tmp_path / "node", limits=LIMITS) as node, _nginx(tmp_path, node) as host:
        sent = _all_sent(node, host)
    lines = [line.partition(" ") for line in (tmp_path / "access.log").read_text().splitlines()]
    forwarded = [target for status, _, target in lines if status != "-"]
    assert len(forwarded) > 10
    for case in CASES:
        hidden = f"/smuggled/{case.id}"
        assert sent.logged.count(hidden) <= forwarded.count(hidden), case.id
        assert not any(status == 500 for status in statuses(sent.said[case.id][0])), case.id
