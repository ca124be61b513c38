"""A real node process with a certificate: its start, renewal under load, large blobs byte for byte."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.certificates import Authority, fingerprint, of_file
from tests.nodes import NodeDied, RunningNode, log_lines, running

pytestmark = pytest.mark.slow
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> dict[str, str]:
    return authority.issue(tmp_path / "pair")


@pytest.fixture
def node(authority: Authority, pair: dict[str, str], tmp_path: Path) -> Iterator[RunningNode]:
    with running(tmp_path / "box", tls=pair, trust=authority.trusted()) as started:
        yield started


def until(true: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def shown(node: RunningNode) -> bytes:
    host, _, port = node.host.partition(":")
    return fingerprint(host, int(port))


def events(node: RunningNode) -> list[str]:
    return [each["event"] for each in log_lines(node) if "event" in each]


def expiry(node: RunningNode) -> float:
    with node.client(None) as client:
        lines = client.get("/metrics").text.splitlines()
    (line,) = [each for each in lines if each.startswith("registry_tls_certificate_expiry_seconds ")]
    return float(line.split()[1])


def push(client: httpx.Client, repository: str, content: bytes) -> str:
    digest = f"sha256:{sha256(content).hexdigest()}"
    client.post(f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=content).raise_for_status()
    return digest


def test_ready_and_expiry(node: RunningNode) -> None:
    assert [each["scheme"] for each in log_lines(node) if each.get("event") == "ready"] == ["https"]
    assert 89 * 86400 < expiry(node) < 90 * 86400


def test_a_key_that_others_can_read_stops_the_start(authority: Authority, pair: dict[str, str], tmp_path: Path) -> None:
    Path(pair["key"]).chmod(0o644)
    node = RunningNode(tmp_path / "box", tls=pair, trust=authority.trusted())
    try:
        with pytest.raises(NodeDied, match=r"tls: .*tls\.key is open to others \(mode 0644\); chmod 600"):
            node.start()
    finally:
        node.kill()
    assert "Traceback" not in node.log.read_text()


def test_renewal_under_load_fails_no_request(node: RunningNode, authority: Authority, pair: dict[str, str]) -> None:
    """Clients with kept connections and with a new one for each request; three certificates one after the other."""
    with node.client() as client:
        digest = push(client, "a", bytes(300_000))
    done, ended, failed = [0, 0], threading.Event(), list[Exception]()

    def one_more() -> bool:
        before = list(done)
        until(lambda: all(now > then for now, then in zip(done, before, strict=True)) or failed)
        return not failed

    def pull(kept: bool) -> None:
        try:
            while not ended.is_set():
                with node.client() as client:
                    for _ in range(20 if kept else 1):
                        assert len(client.get(f"/v2/a/blobs/{digest}").raise_for_status().content) == 300_000
                        done[kept] += 1
        except (httpx.HTTPError, AssertionError) as error:
            failed.append(error)

    pullers = [threading.Thread(target=pull, args=(kept,)) for kept in (True, False)]
    for each in pullers:
        each.start()
    try:
        for _ in range(3):
            authority.issue(Path(pair["key"]).parent)
            until(lambda: shown(node) == of_file(pair))
            assert one_more()
    finally:
        ended.set()
        for each in pullers:
            each.join()
    assert failed == []
    assert events(node).count("certificate taken") >= 3


def test_hang_up_takes_it_at_once_and_breaks_nothing(
    node: RunningNode, authority: Authority, pair: dict[str, str]
) -> None:
    assert node.process is not None
    with node.client() as kept:
        kept.get("/v2/").raise_for_status()
        authority.issue(Path(pair["key"]).parent, ends=timedelta(days=300))
        node.process.send_signal(signal.SIGHUP)
        until(lambda: expiry(node) > 299 * 86400)
        assert shown(node) == of_file(pair)
        kept.get("/v2/").raise_for_status()


def test_all_processes_take_the_new_one(authority: Authority, pair: dict[str, str], tmp_path: Path) -> None:
    with running(tmp_path / "several", tls=pair, trust=authority.trusted(), processes=2) as node:
        assert node.process is not None
        before = of_file(pair)
        assert shown(node) == before
        authority.issue(Path(pair["key"]).parent)
        node.process.send_signal(signal.SIGHUP)
        until(lambda: events(node).count("certificate taken") >= 2)
        assert {shown(node) for _ in range(12)} == {of_file(pair)}


def test_a_broken_pair_changes_nothing(node: RunningNode, pair: dict[str, str]) -> None:
    before = of_file(pair)
    Path(pair["certificate"]).write_text("broken")
    until(lambda: "certificate refused" in events(node))
    assert shown(node) == before
    with node.client() as client:
        client.get("/v2/").raise_for_status()


def test_a_node_whose_certificate_has_expired_says_so(authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue(tmp_path / "old", begins=timedelta(days=-9), ends=timedelta(hours=-1))
    node = RunningNode(tmp_path / "box", tls=pair, trust=authority.trusted())
    node.trust = False
    try:
        node.start()
        assert -3700 < expiry(node) < -3500
        (line,) = [each for each in log_lines(node) if each.get("event") == "certificate ends"]
        assert line["level"] == "error"
        with pytest.raises(httpx.ConnectError, match="expired"):
            httpx.get(f"{node.url}/v2/", verify=authority.trusted(), trust_env=False)
    finally:
        node.kill()


def test_256_mib_up_and_down(node: RunningNode) -> None:
    """Nothing repeats in it: a piece that is lost, doubled or moved shows."""
    pieces = [os.urandom(MIB) for _ in range(256)]
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    whole = digest.hexdigest()
    with node.client(timeout=60) as client:
        for length in (str(256 * MIB), None):  # announced, and in chunks
            start = client.post("/v2/a/blobs/uploads/").headers["location"]
            headers = {"content-length": length} if length else {}
            done = client.put(start, params={"digest": f"sha256:{whole}"}, content=iter(pieces), headers=headers)
            assert done.status_code == 201, done.text
            received, size = sha256(), 0
            with client.stream("GET", f"/v2/a/blobs/sha256:{whole}") as answer:
                for chunk in answer.iter_raw():
                    received.update(chunk)
                    size += len(chunk)
            assert (size, received.hexdigest()) == (256 * MIB, whole)
            first, last = 77 * MIB + 3, 80 * MIB + 16385
            part = client.get(f"/v2/a/blobs/sha256:{whole}", headers={"range": f"bytes={first}-{last}"}).content
            assert part == b"".join(pieces[77:81])[3 : 3 * MIB + 16386]
            client.delete(f"/v2/a/blobs/sha256:{whole}")


def received(client: httpx.Client, location: str, wait: float = 0.0) -> int:
    """Bytes of an upload session."""
    time.sleep(wait)
    return int(client.get(location).headers["range"].removeprefix("0-")) + 1


def test_a_client_that_leaves_an_upload_can_go_on(node: RunningNode) -> None:
    content = os.urandom(8 * MIB)

    def half() -> Iterator[bytes]:
        yield content[: 5 * MIB]
        raise ConnectionAbortedError

    with node.client(timeout=60) as client:
        location = client.post("/v2/a/blobs/uploads/").headers["location"]
        with node.client(timeout=60) as leaving, pytest.raises(ConnectionAbortedError):
            leaving.patch(location, content=half(), headers={"content-length": str(8 * MIB)})
        until(lambda: received(client, location) == received(client, location, wait=0.2) > 1)
        offset = received(client, location)
        assert 1 < offset <= 5 * MIB
        done = client.put(
            location,
            params={"digest": f"sha256:{sha256(content).hexdigest()}"},
            content=content[offset:],
            headers={"content-range": f"{offset}-{len(content) - 1}"},
        )
        assert done.status_code == 201, done.text
        assert client.get(done.headers["location"]).content == content


def test_a_node_ends_while_handshakes_are_open(node: RunningNode) -> None:
    host, _, port = node.host.partition(":")
    with socket.create_connection((host, int(port))) as silent:
        silent.send(b"\x16\x03\x01")
        assert node.stop() == 0
