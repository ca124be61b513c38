"""One of our nodes against Debian's docker-registry (distribution 2.8.2), in the same run on the same machine.

    python -m bench.node_vs_docker_registry [--rounds 5] [--seconds 3] [--megabytes 256]

Ours answers with authorisation on (Bearer), the real index and fsync; docker-registry without any authorisation.
Rounds alternate between the two; the table shows medians. JSON goes to bench/results/ (git ignores it).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench import transfers
from bench.content import Content, prepare
from oci_wire.manifest import ACCEPTED
from tests.nodes import free_port, running
from tests.tools import find

ACCEPT = ", ".join(ACCEPTED)  # docker-registry shows an OCI manifest to no one else
RESULTS = Path(__file__).parent / "results"
_WRK = """
local n, at = 0, 0
local requests = {}
for path in io.lines(os.getenv("BENCH_PATHS")) do
  n = n + 1
  requests[n] = path
end
local headers = {["Host"] = os.getenv("BENCH_HOST"), ["Accept"] = os.getenv("BENCH_ACCEPT")}
local token = os.getenv("BENCH_TOKEN")
if token ~= "" then headers["Authorization"] = "Bearer " .. token end
function init()
  for i = 1, n do requests[i] = wrk.format("GET", requests[i], headers) end
end
function request()
  at = at % n + 1
  return requests[at]
end
"""


@dataclass
class Peer:
    """One registry under test. ``token``: "" when it asks for none."""

    name: str
    host: str
    token: str = ""
    content: Content | None = None
    figures: dict[str, list[float]] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def record(self, name: str, value: float) -> None:
        self.figures.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.figures[name])


@contextmanager
def our_node(folder: Path) -> Iterator[Peer]:
    with running(folder, tokens={"ttl": 3600}) as node, node.client() as client:
        scope = " ".join(f"repository:{name}:pull,push" for name in repositories())
        form = {"grant_type": "password", "username": "dev", "password": node.auth("dev")[1], "scope": scope}
        peer = Peer("towpath", node.host, client.post("/auth/token", data=form).json()["token"])
        yield peer


@contextmanager
def docker_registry(folder: Path) -> Iterator[Peer]:
    program = find("docker-registry")
    if program is None:
        raise SystemExit("bench: docker-registry is not installed (scripts/install-clients installs it)")
    folder.mkdir(parents=True)
    host = f"127.0.0.1:{free_port()}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nhttp: {{addr: '{host}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/data'}}, delete: {{enabled: true}}}}\n"
    )
    process = subprocess.Popen([program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: httpx.get(f"http://{host}/v2/", trust_env=False).status_code == 200)
        yield Peer("docker-registry", host)
    finally:
        process.kill()
        process.wait()


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise SystemExit("bench: a server did not start")


def repositories() -> list[str]:
    return [f"bench/r{n}" for n in range(20)]


def wrk(peer: Peer, folder: Path, paths: list[str], connections: int, seconds: int) -> float:
    """Requests per second; every answer must be a 2xx."""
    (folder / "wrk.lua").write_text(_WRK)
    (folder / "paths").write_text("".join(f"{path}\n" for path in paths))
    environment = {
        **os.environ,
        "BENCH_PATHS": str(folder / "paths"),
        "BENCH_HOST": peer.host,
        "BENCH_TOKEN": peer.token,
        "BENCH_ACCEPT": ACCEPT,
    }
    program = find("wrk")
    if program is None:
        raise SystemExit("bench: wrk is not installed (scripts/install-clients installs it)")
    command = [
        program,
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "-s",
        str(folder / "wrk.lua"),
        f"http://{peer.host}",
    ]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"bench: {peer.name} answered with errors:\n{said}")
    (line,) = [each for each in said.splitlines() if each.startswith("Requests/sec:")]
    return float(line.split()[1])


def one_round(peer: Peer, folder: Path, seconds: int, megabytes: int) -> None:
    assert peer.content is not None
    for connections in (16, 64):
        peer.record(
            f"manifest GET x{connections}, rps", wrk(peer, folder, peer.content.manifests, connections, seconds)
        )
    peer.record("64 KB blob GET x16, rps", wrk(peer, folder, peer.content.small_blobs, 16, seconds))
    size = megabytes * 1024 * 1024
    for name, work in (
        (f"{megabytes} MB blob GET x1, MiB/s", lambda: transfers.download(peer, peer.content.large_blob, size)),
        (f"{megabytes} MB upload with length, MiB/s", lambda: transfers.upload(peer, size, chunked=False)),
        (f"{megabytes} MB upload chunked, MiB/s", lambda: transfers.upload(peer, size, chunked=True)),
    ):
        peer.record(name, megabytes / work())


def table(ours: Peer, theirs: Peer) -> str:
    lines = [f"{'work (median)':40} {ours.name:>14} {theirs.name:>16} {'ratio':>7}"]
    for name in ours.figures:
        a, b = ours.median(name), theirs.median(name)
        lines.append(f"{name:40} {a:14,.0f} {b:16,.0f} {a / b:6.1f}x")
    return "\n".join(lines)


def machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each run of wrk")
    parser.add_argument("--megabytes", type=int, default=256)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with our_node(folder / "ours") as ours, docker_registry(folder / "theirs") as theirs:
            for peer in (ours, theirs):
                peer.content = prepare(peer.host, peer.headers, repositories(), tags=50, megabytes=given.megabytes)
            for _ in range(given.rounds):
                for peer in (ours, theirs):
                    one_round(peer, folder, given.seconds, given.megabytes)
        print(table(ours, theirs))
        report = {"machine": machine(), **{peer.name: peer.figures for peer in (ours, theirs)}}
        RESULTS.mkdir(exist_ok=True)
        out = RESULTS / f"node_vs_docker_registry-{time.strftime('%Y%m%dT%H%M%S')}.json"
        out.write_text(json.dumps(report, indent=2))
        print(f"\n{out}\n{machine()}")


if __name__ == "__main__":
    main()
