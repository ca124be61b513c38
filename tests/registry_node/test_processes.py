"""Several worker processes behind one port: they share everything, and the death of one is nobody else's trouble."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from oci_wire.digest import Digest
from oci_wire.manifest import OCI_MANIFEST
from tests.nodes import RunningNode, log_lines, running
from tests.registry_node.images import image

pytestmark = pytest.mark.slow


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    with running(tmp_path / "box", processes=3) as started:
        all_ready(started)
        yield started


def until(what: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def events(node: RunningNode, name: str) -> Sequence[dict[str, object]]:
    return [each for each in log_lines(node) if each.get("event") == name]


def all_ready(node: RunningNode, times: int = 1) -> None:
    until(lambda: len(events(node, "ready")) == times)


def workers(node: RunningNode) -> list[psutil.Process]:
    assert node.process is not None
    return sorted(psutil.Process(node.process.pid).children(), key=lambda each: each.pid)


@contextmanager
def only(node: RunningNode, number: int) -> Iterator[httpx.Client]:
    """A client whose requests this worker answers: the others sleep."""
    asleep = [each for at, each in enumerate(workers(node)) if at != number]
    for each in asleep:
        each.suspend()
    try:
        with node.client() as client:
            yield client
    finally:
        for each in asleep:
            each.resume()


def push_blob(client: httpx.Client, content: bytes) -> str:
    digest = str(Digest.of(content))
    given = client.post("/v2/a/blobs/uploads/", params={"digest": digest}, content=content)
    assert given.status_code == 201, given.text
    return digest


def tag(client: httpx.Client, name: str, content: bytes) -> str:
    given = client.put(f"/v2/a/manifests/{name}", content=content, headers={"content-type": OCI_MANIFEST})
    assert given.status_code == 201, given.text
    return given.headers["docker-content-digest"]


def named(client: httpx.Client, name: str) -> str | None:
    given = client.get(f"/v2/a/manifests/{name}")
    return given.headers["docker-content-digest"] if given.status_code == 200 else None


def test_one_ready_line_and_a_clean_end(node: RunningNode) -> None:
    assert len(workers(node)) == 3
    assert node.stop() == 0
    assert len(events(node, "stopped")) == 1
    assert "Traceback" not in node.log.read_text()


def test_what_one_process_took_all_of_them_have(node: RunningNode) -> None:
    with only(node, 0) as client:
        for content in (b"{}", b"layer"):
            push_blob(client, content)
        first, second = image(b"layer"), image(b"layer", annotations={"a": "b"})
        digests = [tag(client, "v1", first), tag(client, "v2", second)]
    for number in (1, 2):
        with only(node, number) as client:
            assert [named(client, "v1"), named(client, "v2")] == digests
            digests[0] = tag(client, "v1", (second, first)[number - 1])
        with only(node, 0) as client:
            assert named(client, "v1") == digests[0]
    with only(node, 2) as client:
        assert client.delete("/v2/a/manifests/v1").status_code == 202
    with only(node, 1) as client:
        assert named(client, "v1") is None


def test_a_token_of_one_process_is_good_in_all(node: RunningNode) -> None:
    with only(node, 0) as client:
        token = client.get("/auth/token", params={"service": "box", "scope": "repository:a:pull"}).json()["token"]
    for number in range(3):
        with only(node, number) as client:
            given = client.get("/v2/", auth=lambda request: with_token(request, token))
            assert given.status_code == 200, given.text


def with_token(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["authorization"] = f"Bearer {token}"
    return request


def test_an_upload_goes_on_when_its_process_was_killed(node: RunningNode) -> None:
    content = bytes(range(256)) * 4000
    with only(node, 0) as client:
        session = client.post("/v2/a/blobs/uploads/").headers["location"]
        given = client.patch(session, content=content[:500_000], headers={"content-range": "0-499999"})
        session = given.headers["location"]
        assert given.status_code == 202
    before = {each.pid for each in workers(node)}
    victim = workers(node)[0]
    (node.data / "temp" / f"{victim.pid}-left").write_bytes(b"in flight")
    victim.kill()
    until(lambda: len({each.pid for each in workers(node)} - before) == 1)
    for number in range(3):
        with only(node, number) as client:
            assert client.get(session).headers["range"] == "0-499999"
    with only(node, 2) as client:
        given = client.put(session, params={"digest": str(Digest.of(content))}, content=content[500_000:])
        assert given.status_code == 201, given.text
        assert client.get(f"/v2/a/blobs/{Digest.of(content)}").content == content
    assert list(node.data.glob("temp/*")) == list(node.data.glob("uploads/*")) == []
    (died,) = events(node, "process-died")
    assert (died["process"], died["status"]) == (victim.pid, -signal.SIGKILL)


def test_nobody_is_left_behind_when_the_parent_is_killed(node: RunningNode) -> None:
    with only(node, 0) as client:
        for content in (b"{}", b"layer"):
            push_blob(client, content)
        digest = tag(client, "v1", image(b"layer"))
    left = workers(node)
    node.kill()
    node.start()  # the same port, the same folder, at once
    all_ready(node, times=2)
    assert all(not each.is_running() or each.status() == psutil.STATUS_ZOMBIE for each in left)
    with node.client() as client:
        assert named(client, "v1") == digest


def test_a_drain_lets_every_process_end_its_work(node: RunningNode) -> None:
    content = b"x" * 100_000
    statuses: list[int] = []

    def slow(go_on: threading.Event, begun: threading.Event) -> None:
        def body() -> Iterator[bytes]:
            yield content[:1000]
            begun.set()
            go_on.wait(20)
            yield content[1000:]

        with node.client(timeout=30) as client:
            url = f"/v2/a/blobs/uploads/?digest={Digest.of(content)}"
            headers = {"content-length": str(len(content))}
            statuses.append(client.post(url, content=body(), headers=headers).status_code)

    go_on, threads = threading.Event(), []
    for _ in range(6):
        begun = threading.Event()
        threads.append(threading.Thread(target=slow, args=(go_on, begun)))
        threads[-1].start()
        assert begun.wait(20)
    time.sleep(0.5)  # all of them have arrived
    assert node.process is not None
    node.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    go_on.set()
    for each in threads:
        each.join()
    assert statuses == [201] * 6
    assert node.process.wait(30) == 0


def test_a_long_poll_is_woken_by_another_process(node: RunningNode) -> None:
    found: list[str] = []

    def wait(client: httpx.Client) -> None:
        found.append(client.get("/_towpath/v1/events", params={"after": 2, "wait": 30}).text)

    with node.client("towpath-engine", timeout=60) as patient:
        with only(node, 0) as client:
            push_blob(client, b"{}")
            tag(client, "v1", image())
            waiting = threading.Thread(target=wait, args=(patient,))
            waiting.start()
            time.sleep(0.5)
        with only(node, 1) as other:
            tag(other, "v2", image())
        waiting.join(30)
    assert '"tag":"v2"' in found[0].replace(" ", "")


_PARENT = """
import os, pathlib, signal, sys, time
from registry_node.processes import Processes, WorkersFailed

def work(lifeline):
    {work}

try:
    Processes(2, work, lambda process: None, 0.0).run(lambda: print("all ready", flush=True))
except WorkersFailed as error:
    print(f"failed: {{error}}", flush=True)
"""


def parent_of(work: str) -> str:
    """What a parent says whose workers do this."""
    ended = subprocess.run(
        [sys.executable, "-c", _PARENT.format(work=work)], capture_output=True, text=True, timeout=60, check=True
    )
    return ended.stdout


def test_workers_that_cannot_start_end_the_node() -> None:
    assert parent_of("sys.exit(3)") == (
        "failed: a worker process could not start (exit status 3); the lines before this one say why\n"
    )


def test_workers_that_keep_dying_end_the_node() -> None:
    said = parent_of("lifeline.ready(); time.sleep(0.2); os.kill(os.getpid(), signal.SIGSEGV)")
    assert said.startswith(
        "all ready\nfailed: 10 worker processes died within 60 seconds, the last one with signal SIG"
    )


def test_a_parent_hands_hangups_on_and_waits_for_its_workers() -> None:
    said = parent_of(
        "signal.signal(signal.SIGHUP, lambda *_: os.write(1, b'hangup;'));"
        " signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
        " lifeline.ready(); time.sleep(0.3);"
        " (lifeline.slot == 0) and os.kill(os.getppid(), signal.SIGHUP); time.sleep(0.3);"
        " (lifeline.slot == 0) and os.kill(os.getppid(), signal.SIGTERM); time.sleep(30)"
    )
    assert said.splitlines() == ["all ready", "hangup;hangup;"]


def test_each_process_tells_the_counts_of_all_and_ids_differ(node: RunningNode) -> None:
    ids = set()
    for number in range(3):
        with only(node, number) as client:
            ids |= {client.get("/v2/").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 15

    def counted() -> bool:
        return (
            'registry_http_requests_total{code="200",handler="base",method="GET"} 15.0' in client.get("/metrics").text
        )

    with node.client() as client:
        until(counted)
    time.sleep(1.5)  # each process tells the others its counts once a second
    for number in range(3):
        with only(node, number) as client:
            assert counted()
