"""Upload sessions: how long they live and whose they are."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.protocol.conftest import MakeNode
from tests.protocol.target import OCTETS, Target, digest_of, noise, refused, with_query
from tests.protocol.test_upload import offset, pulled

CONTENT = noise(3000)
DIGEST = digest_of(CONTENT)
# A process whose clock is two days ahead: Python runs a module of this name at its start.
_LATER = "import time\n_now = time.time\ntime.time = lambda: _now() + 2 * 86400\n"


def asked_in_every_way(http: httpx.Client, location: str) -> list[httpx.Response]:
    return [
        http.get(location),
        http.patch(location, content=b"x", headers=OCTETS),
        http.put(with_query(location, digest=DIGEST), content=CONTENT, headers=OCTETS),
        http.delete(location),
    ]


def is_unknown(answers: list[httpx.Response]) -> None:
    for answer in answers:
        refused(answer, 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.protocol("upload.cut")
def test_cut(target: Target) -> None:
    repository = target.repository()
    location = target.start(repository)
    head = f"PATCH {httpx.URL(location).raw_path.decode()} HTTP/1.1\r\nHost: {target.host}\r\n"
    head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(CONTENT)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in target.authorization().items())
    host, _, port = target.host.partition(":")
    with socket.create_connection((host, int(port or 80)), timeout=20) as sock:
        sock.sendall(f"{head}\r\n".encode() + CONTENT[:2000])
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(10_000):  # until the server has seen that nobody is there
            pass
    had, until = 0, time.monotonic() + 10
    while had == 0 and time.monotonic() < until:  # it may still be writing
        had = offset(target, location)
    assert had == 2000
    location = target.at(target.http.get(location).headers["location"])
    location = target.at(target.patch(location, CONTENT[had:], had).headers["location"])
    pulled(target, target.finish(location, DIGEST), CONTENT)


@pytest.mark.slow
@pytest.mark.protocol("upload.survives-restart")
def test_survives_restart(make_node: MakeNode) -> None:
    node = make_node()
    with node.client() as http:
        target = Target(node.url, http)
        location = target.at(target.patch(target.start("apps/api"), CONTENT[:2000], 0).headers["location"])
        node.kill()
        node.start()
    with node.client() as http:
        target = Target(node.url, http)
        assert offset(target, location) == 2000
        location = target.at(target.patch(location, CONTENT[2000:], 2000).headers["location"])
        pulled(target, target.finish(location, DIGEST), CONTENT)


@pytest.mark.protocol("upload.bound-to-repository")
def test_bound_to_repository(target: Target) -> None:
    mine, other = target.repository(), target.repository()
    target.image(other, "1.0")
    location = target.at(target.patch(target.start(mine), CONTENT[:100], 0).headers["location"])
    elsewhere = location.replace(f"/v2/{mine}/", f"/v2/{other}/")
    is_unknown(asked_in_every_way(target.http, elsewhere))
    assert target.blob_status(other, DIGEST) == 404
    assert offset(target, location) == 100


@pytest.mark.attack("A-other-upload")
@pytest.mark.protocol("upload.bound-to-identity")
def test_bound_to_identity(target: Target, pusher: httpx.Client) -> None:
    repository = target.repository()
    location = target.at(target.patch(target.start(repository), CONTENT[:100], 0).headers["location"])
    never = location[:-8] + "00000000"
    theirs, none = asked_in_every_way(pusher, location), asked_in_every_way(pusher, never)
    is_unknown(theirs)
    assert [(each.status_code, each.text) for each in theirs] == [(each.status_code, each.text) for each in none]
    assert offset(target, location) == 100
    assert target.blob_status(repository, DIGEST) == 404


@pytest.mark.slow
@pytest.mark.protocol("upload.expires")
def test_expires(make_node: MakeNode, tmp_path: Path) -> None:
    node = make_node(limits={"upload_session_seconds": 3600})
    with node.client() as http:
        target = Target(node.url, http)
        location = target.at(target.patch(target.start("apps/api"), CONTENT[:100], 0).headers["location"])
        node.restart()
        assert offset(target, location) == 100
    node.stop()
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "sitecustomize.py").write_text(_LATER)
    node.start(environment={**os.environ, "PYTHONPATH": str(tmp_path / "later")})
    with node.client() as http:
        is_unknown(asked_in_every_way(http, location))


@pytest.mark.protocol("upload.cancel")
def test_cancel(target: Target) -> None:
    repository = target.repository()
    location = target.at(target.patch(target.start(repository), CONTENT[:100], 0).headers["location"])
    answer = target.http.delete(location)
    assert (answer.status_code, answer.content) == (204, b"")
    is_unknown(asked_in_every_way(target.http, location))
    assert target.blob_status(repository, DIGEST) == 404


@pytest.mark.protocol("upload.unknown")
def test_unknown(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    for session in ("0123456789abcdef0123456789abcdef", "00000000-0000-4000-8000-000000000000"):
        is_unknown(asked_in_every_way(target.http, f"/v2/{repository}/blobs/uploads/{session}"))
    assert target.blob_status(repository, DIGEST) == 404


@pytest.mark.protocol("upload.ended")
def test_ended(target: Target) -> None:
    repository = target.repository()
    location = target.start(repository)
    assert target.finish(location, DIGEST, CONTENT).status_code == 201
    is_unknown(asked_in_every_way(target.http, location))
    assert target.blob_bytes(repository, DIGEST) == CONTENT
