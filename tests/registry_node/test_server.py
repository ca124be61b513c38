"""A real node process: start, drain, refusals to start, broken connections, what survives."""

from __future__ import annotations

import base64
import signal
import socket
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from oci_wire.digest import Digest
from tests.nodes import SECRETS, NodeDied, RunningNode, log_lines, many, running

CONTENT = bytes(range(256)) * 4096  # 1 MiB
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running(tmp_path_factory.mktemp("node") / "box") as started:
        yield started


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    with many(tmp_path) as factory:
        yield factory


def connected(node: RunningNode) -> socket.socket:
    host, _, port = node.host.partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def answer_of(connection: socket.socket) -> bytes:
    """All that comes until the node closes."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def head(node: RunningNode, line: str, *headers: str) -> bytes:

    basic = base64.b64encode(":".join(node.auth("dev")).encode()).decode()
    lines = (line, f"Host: {node.host}", f"Authorization: Basic {basic}", *headers, "", "")
    return "\r\n".join(lines).encode()


def test_every_answer_names_the_version(node: RunningNode) -> None:
    """Refusals, the short way of reads, and what no app sees."""
    name = f"server: towpath/{version('towpath')}\r\n".encode()
    for line in ("GET /v2/ HTTP/1.1", "GET /v2/a/manifests/b HTTP/1.1", "GET /readyz HTTP/1.1", "no request at all"):
        with connected(node) as connection:
            connection.sendall(head(node, line, "Connection: close"))
            received = answer_of(connection)
        assert received.lower().count(name) == 1, (line, received)


def test_a_ready_line_and_a_clean_end(make: Callable[..., RunningNode]) -> None:
    node = make("one")
    assert httpx.get(f"{node.url}/healthz", trust_env=False).status_code == 200
    (ready,) = [each for each in log_lines(node) if each.get("event") == "ready"]
    assert f"{ready['host']}:{ready['port']}" == node.host
    assert node.stop() == 0
    assert log_lines(node)[-1]["event"] == "stopped"


def test_a_port_in_use_says_so(make: Callable[..., RunningNode], tmp_path: Path) -> None:
    first = make("first")
    host, _, port = first.host.partition(":")
    second = RunningNode(tmp_path / "second", listen={"host": host, "port": int(port)})
    with second.log.open("ab"), pytest.raises(NodeDied, match=f"cannot listen on {first.host}: the port is in use"):
        second.start(wait=False)
        assert second.process is not None
        second.process.wait(30)
        raise NodeDied(second.log.read_text())
    assert second.process.returncode == 1
    assert "Traceback" not in second.log.read_text()


def started_badly(folder: Path, data: Path) -> str:
    """The message of a node that cannot start over this data folder."""
    node = RunningNode(folder, data=str(data))
    node.start(wait=False)
    assert node.process is not None
    try:
        assert node.process.wait(30) == 1
    finally:
        node.kill()
    said = node.log.read_text()
    assert "Traceback" not in said
    return said


def test_a_data_folder_has_one_owner(make: Callable[..., RunningNode], tmp_path: Path) -> None:
    first = make("first")
    said = started_badly(tmp_path / "second", first.data)
    assert str(first.data) in said
    assert "towpath serve: node box:" in said


def test_a_damaged_index_stops_the_start(make: Callable[..., RunningNode], tmp_path: Path) -> None:
    first = make("first")
    first.stop()
    (index,) = [each for each in first.data.rglob("*") if each.suffix in (".db", ".sqlite", ".sqlite3")]
    index.write_bytes(b"this is no database at all" * 1000)
    assert "damaged" in started_badly(tmp_path / "again", first.data)


@pytest.mark.attack("A-key-files")
def test_a_key_that_others_can_read_stops_the_start(make: Callable[..., RunningNode], tmp_path: Path) -> None:
    first = make("first")
    first.stop()
    (key,) = first.data.rglob("token.pem")
    assert key.stat().st_mode & 0o777 == 0o600
    key.chmod(0o644)
    assert "make it 600" in started_badly(tmp_path / "again", first.data)


@pytest.mark.attack("A-fails-closed")
def test_a_rule_that_is_no_expression_stops_the_start(tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "box", rules={"tag_name": "("})
    node.start(wait=False)
    assert node.process is not None
    assert node.process.wait(30) == 1
    assert "rules.tag_name: '(' is not a regular expression" in node.log.read_text()


def test_a_drain_finishes_what_is_under_way(make: Callable[..., RunningNode]) -> None:
    node = make("one")
    digest = Digest.of(CONTENT)
    length = f"Content-Length: {len(CONTENT)}"
    with connected(node) as connection:
        line = f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1"
        connection.sendall(head(node, line, length) + CONTENT[: 2**19])
        _until(lambda: _in_flight(node) == 2)  # the upload, and the question itself
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        _until(lambda: httpx.get(f"{node.url}/readyz", trust_env=False).status_code == 503)
        connection.sendall(CONTENT[2**19 :])
        answer = answer_of(connection)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"connection: close" in answer.lower()
    assert node.process.wait(30) == 0


def test_a_drain_ends_after_its_term(make: Callable[..., RunningNode]) -> None:
    node = make("one", limits={"drain_seconds": 0.2})
    with connected(node) as connection:
        connection.sendall(head(node, "PATCH /v2/a/blobs/uploads/x HTTP/1.1", "Content-Length: 100"))
        connection.sendall(head(node, "POST /v2/a/blobs/uploads/?digest=sha256:" + "0" * 64 + " HTTP/1.1"))
        assert node.stop() == 0


def _in_flight(node: RunningNode) -> float:
    text = httpx.get(f"{node.url}/metrics", trust_env=False).text
    (line,) = [each for each in text.splitlines() if each.startswith("registry_http_in_flight_requests ")]
    return float(line.split()[1])


def _until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def test_an_upload_goes_on_after_a_cut_and_after_a_kill(make: Callable[..., RunningNode]) -> None:
    node = make("one")
    with node.client() as client:
        location = client.post("/v2/a/blobs/uploads/").headers["location"]
        client.patch(location, content=CONTENT[: 2**18], headers={"content-range": f"0-{2**18 - 1}"})
    with connected(node) as connection:  # hangs up in the middle of a chunk
        connection.sendall(head(node, f"PATCH {location} HTTP/1.1", "Content-Length: 500000") + CONTENT[2**18 : 2**19])
    with node.client() as client:
        _until(lambda: client.get(location).headers["range"] != f"0-{2**18 - 1}")
    node.kill()
    node.start()
    with node.client() as client:
        offset = int(client.get(location).headers["range"].removeprefix("0-")) + 1
        assert 2**18 <= offset <= 2**19
        done = client.put(
            location,
            params={"digest": str(Digest.of(CONTENT))},
            content=CONTENT[offset:],
            headers={"content-range": f"{offset}-{len(CONTENT) - 1}"},
        )
        assert done.status_code == 201, done.text
        assert client.get(done.headers["location"]).content == CONTENT


def test_what_was_pushed_and_the_tokens_survive_a_kill(make: Callable[..., RunningNode]) -> None:
    node = make("one")
    with node.client() as client:
        digest = str(Digest.of(b"x"))
        client.post("/v2/a/blobs/uploads/", params={"digest": digest}, content=b"x").raise_for_status()
        token = client.get("/auth/token", params={"scope": "repository:a:pull"}).json()["token"]
    node.kill()
    node.start()
    with node.client(None) as client:
        answer = client.get(f"/v2/a/blobs/{digest}", headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.content) == (200, b"x")


def test_a_tls_client_on_the_plain_port_is_let_go_at_once(node: RunningNode) -> None:
    """skopeo and podman try TLS first: a node that waits for more costs them ten seconds a command. crane, cosign and
    ko try TLS again, a third of a second later, when nothing was said."""
    with connected(node) as connection:
        connection.sendall(bytes.fromhex("160301008a010000860303") + bytes(64))
        connection.settimeout(5)
        assert answer_of(connection).startswith(b"HTTP/1.1 400 ")  # a socket.timeout here would be the wait


def test_a_client_that_waits_for_100_continue(node: RunningNode) -> None:
    digest = Digest.of(CONTENT)
    waiting = (f"Content-Length: {len(CONTENT)}", "Expect: 100-continue")
    with connected(node) as connection:
        connection.sendall(head(node, f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1", *waiting))
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(CONTENT)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201 ")
    with connected(node) as connection:  # refused before a byte of the body is sent
        connection.sendall(head(node, "PUT /v2/a/manifests/x HTTP/1.1", f"Content-Length: {2**30}", waiting[1]))
        assert answer_of(connection).startswith(b"HTTP/1.1 413 ")


@pytest.mark.attack("A-giant-manifest")
def test_a_giant_manifest_is_answered_while_it_is_still_coming(node: RunningNode) -> None:
    with connected(node) as connection:
        connection.sendall(head(node, "PUT /v2/a/manifests/x HTTP/1.1", "Transfer-Encoding: chunked"))
        for _ in range(80):  # 5 MiB of a gigabyte
            connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.attack("A-duplicate-headers")
@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Content-Length: 3", "Content-Length: 4"),
        ("Content-Length: -1",),
        ("Content-Length: +3",),
        ("Host: evil.test",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ],
)
def test_requests_that_two_servers_may_read_differently(node: RunningNode, headers: tuple[str, ...]) -> None:
    """Request smuggling: contradictory or repeated framing is refused."""
    with connected(node) as connection:
        connection.sendall(head(node, "POST /v2/a/blobs/uploads/ HTTP/1.1", *headers) + b"0\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_download_ends_when_its_client_leaves(make: Callable[..., RunningNode]) -> None:
    node = make("one")
    content = bytes(64 * 2**20)
    digest = Digest.of(content)
    with node.client(timeout=60) as client:
        client.post("/v2/a/blobs/uploads/", params={"digest": str(digest)}, content=content).raise_for_status()
    with connected(node) as connection:
        connection.sendall(head(node, f"GET /v2/a/blobs/{digest} HTTP/1.1"))
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    _until(lambda: _in_flight(node) == 1)
    node.stop()
    (line,) = [each for each in log_lines(node) if each.get("path", "").endswith(str(digest))]
    assert line["sent"] < len(content)


def test_requests_in_a_pipeline_are_answered_in_order(node: RunningNode) -> None:
    with connected(node) as connection:
        paths = ["/healthz", "/v2/", "/nowhere", "/healthz"]
        last = head(node, "GET /readyz HTTP/1.1", "Connection: close")
        connection.sendall(b"".join(head(node, f"GET {path} HTTP/1.1") for path in paths) + last)
        answer = answer_of(connection)
    statuses = [int(each.split()[0]) for each in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 200, 404, 200, 200]


@pytest.mark.attack("A-canary-secrets")
def test_no_secret_reaches_the_log(make: Callable[..., RunningNode]) -> None:
    node = make("one")
    canary = "canary-7f3a"
    with node.client() as client:
        token = client.get("/auth/token").json()["token"]
        client.get("/v2/", auth=("dev", canary))
        client.get("/v2/", headers={"authorization": f"Bearer {canary}"})
        client.get(f"/auth/token?password={canary}")
        client.post("/auth/token", data={"grant_type": "password", "username": "dev", "password": canary})
        client.get("/v2/a/tags/list", headers={"authorization": f"Bearer {token}", "cookie": canary})
        client.put("/_towpath/v1/r/a/_/holds/x", content=canary, auth=node.auth("towpath-engine"))
    node.stop()
    logged = node.log.read_text()
    assert len(log_lines(node)) >= 8
    for secret in (canary, token, *SECRETS.values()):
        assert secret not in logged


def test_a_request_line_in_the_log(make: Callable[..., RunningNode]) -> None:
    node = make("one")
    with node.client() as client:
        given = client.get("/v2/a/tags/list?n=1", headers={"x-request-id": "ci-42"}).headers["x-request-id"]
    node.stop()
    (line,) = [each for each in log_lines(node) if each.get("request_id") == given]
    assert given == "ci-42"
    assert (line["who"], line["method"], line["path"], line["status"]) == ("dev", "GET", "/v2/a/tags/list", 404)


@pytest.mark.attack("A-default-password")
def test_no_grants_beyond_loopback_is_refused(tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "box", listen={"host": "192.0.2.1", "port": 1}, grants=[])
    node.start(wait=False)
    assert node.process is not None
    assert node.process.wait(30) != 0
    assert "beyond loopback is refused" in node.log.read_text()
