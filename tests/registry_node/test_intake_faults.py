"""Large uploads to a real node that is killed, drained, or out of space: what came is kept, and the rest goes through."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from oci_wire.digest import Digest
from tests.nodes import SECRETS, RunningNode, running

pytestmark = pytest.mark.slow
MIB = 1024 * 1024
CONTENT = os.urandom(6 * MIB + 3)
DIGEST = Digest.of(CONTENT)


def session(client: httpx.Client) -> str:
    return str(client.post("/v2/a/blobs/uploads/").raise_for_status().headers["location"])


def offset(client: httpx.Client, location: str) -> int:
    return int(client.get(location).raise_for_status().headers["range"].partition("-")[2]) + 1


@contextmanager
def sending(node: RunningNode, location: str, content: bytes, *, announced: int) -> Iterator[socket.socket]:
    """A PATCH under way, of which so much was sent."""
    host, _, port = node.host.partition(":")
    basic = base64.b64encode(f"dev:{SECRETS['dev']}".encode()).decode()
    fields = (f"Host: {node.host}", f"Authorization: Basic {basic}", f"Content-Length: {announced}")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join([f"PATCH {location} HTTP/1.1", *fields, "", ""]).encode() + content)
        yield connection


def _all(connection: socket.socket) -> bytes:
    """What the node says until the connection ends, in whatever way."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(4096):
            said += piece
    return said


def until_offset(client: httpx.Client, location: str, wanted: int) -> None:
    for _ in range(1000):
        if offset(client, location) >= wanted:
            return
        time.sleep(0.02)
    raise AssertionError(f"only {offset(client, location)} bytes of {wanted} came")


def finish(client: httpx.Client, location: str, begun: int) -> None:
    headers = {"content-range": f"{begun}-{len(CONTENT) - 1}"}
    client.patch(location, content=CONTENT[begun:], headers=headers).raise_for_status()
    assert client.put(f"{location}?digest={DIGEST}").status_code == 201
    assert client.get(f"/v2/a/blobs/{DIGEST}").content == CONTENT


def test_killed_in_mid_body(tmp_path: Path) -> None:
    with running(tmp_path) as node, node.client() as client:
        location = session(client)
        with sending(node, location, CONTENT[: 3 * MIB], announced=len(CONTENT)):
            until_offset(client, location, 3 * MIB)
            node.kill()
        node.start()
        begun = offset(client, location)
        assert begun == 3 * MIB
        finish(client, location, begun)


def test_an_upload_under_way_ends_well_while_the_node_drains(tmp_path: Path) -> None:
    with running(tmp_path, limits={"drain_seconds": 20}) as node, node.client() as client:
        location = session(client)
        with sending(node, location, CONTENT[: 3 * MIB], announced=len(CONTENT)) as connection:
            until_offset(client, location, 3 * MIB)
            assert node.process is not None
            node.process.terminate()
            connection.sendall(CONTENT[3 * MIB :])
            assert connection.recv(4096).startswith(b"HTTP/1.1 202 ")
        assert node.process.wait(30) == 0
        node.start()
        assert offset(client, location) == len(CONTENT)
        assert client.put(f"{location}?digest={DIGEST}").status_code == 201


def test_an_upload_that_outlasts_the_drain_is_cut_and_goes_on_later(tmp_path: Path) -> None:
    with running(tmp_path, limits={"drain_seconds": 0.2}) as node, node.client() as client:
        location = session(client)
        with sending(node, location, CONTENT[: 3 * MIB], announced=len(CONTENT)) as connection:
            until_offset(client, location, 3 * MIB)
            assert node.stop() == 0
            assert _all(connection) == b""  # cut, not answered
        node.start()
        finish(client, location, offset(client, location))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system can be mounted by root alone")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """What fits stays, as much as the session says; once there is room the same session goes on."""
    data = tmp_path / "box" / "data"
    with small_disk(data, 32 * MIB), running(tmp_path / "box") as node, node.client() as client:
        location = session(client)
        free = os.statvfs(data).f_bavail * os.statvfs(data).f_frsize
        filler = data / "filler"
        filler.write_bytes(bytes(free - 3 * MIB))
        answer = client.patch(location, content=CONTENT)
        assert answer.status_code == 507
        assert "space" in answer.json()["errors"][0]["message"]
        assert client.get("/readyz").status_code == 200
        filler.unlink()
        begun = offset(client, location)
        assert 0 < begun <= 3 * MIB
        finish(client, location, begun)
