"""The registries under test: each a process of its own on a free loopback port, with files on the same disk.

Ours answers with authorisation on (Bearer), the real index, a log line per request and fsync. The Go registries run
without any authorisation and with the in-memory descriptor cache of their documented configuration: the fast side.
"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import trustme

from bench.content import Content
from tests.nodes import SECRETS, RunningNode, free_port
from tests.tools import find

OURS, D3, D2 = "towpath", "distribution 3.1.2", "docker-registry 2.8.2"
PROGRAMS = {D3: "registry", D2: "docker-registry"}


class Missing(Exception):
    """A program that this needs is not installed; the message names it."""


@dataclass
class Peer:
    """One running registry. ``blobs``: the folder of its content, by two hex digits; ``seconds``: how long its start
    took, to its first answer. ``tokens``: by repository, as a client has one for each; empty: it asks for none."""

    name: str
    host: str
    pid: int
    blobs: Path
    tokens: dict[str, str] = field(default_factory=dict)
    authority: Path | None = None  # the CA's certificate, when it speaks TLS
    credentials: tuple[str, str] | None = None
    seconds: float = 0.0
    content: Content | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.host}"

    def headers(self, repository: str) -> dict[str, str]:
        token = self.tokens.get(repository)
        return {"authorization": f"Bearer {token}"} if token else {}

    @property
    def processes(self) -> list[psutil.Process]:
        main = psutil.Process(self.pid)
        return [main, *main.children(recursive=True)]

    def client(self) -> httpx.Client:
        verify = ssl.create_default_context(cafile=str(self.authority)) if self.authority else False
        return httpx.Client(base_url=self.url, auth=self.credentials, timeout=120, trust_env=False, verify=verify)

    def cpu_seconds(self) -> float:
        """Of its processes so far."""
        return sum(sum(each.cpu_times()[:2]) for each in self.processes)

    def forget_peak(self) -> None:
        """The peak of its memory counts from here (proc(5), clear_refs)."""
        for each in self.processes:
            Path(f"/proc/{each.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        return sum(_status_kib(each.pid, "VmHWM") for each in self.processes) / 1024

    def now_mib(self) -> float:
        return sum(_status_kib(each.pid, "VmRSS") for each in self.processes) / 1024

    def purge(self, digest: str) -> None:
        """Frees the disk of a blob that was deleted: none of them collects at once."""
        encoded = digest.partition(":")[2]
        for path in (self.blobs / encoded[:2] / encoded, self.blobs / encoded[:2] / encoded / "data"):
            if path.is_file():
                path.unlink()


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0


@contextmanager
def towpath(
    folder: Path, repositories: list[str], *, tls: bool = False, name: str = OURS, **more: Any
) -> Iterator[Peer]:
    """Our node. ``more``: settings of it."""
    listen = {"host": "127.0.0.1", "port": free_port()}
    authority = _certificate(folder) if tls else None
    if authority:
        more["tls"] = {"certificate": str(folder / "tls.crt"), "key": str(folder / "tls.key")}
    node = RunningNode(folder, listen=listen, tokens={"ttl": 3600}, **more)
    began = time.perf_counter()
    node.start(wait=False)
    assert node.process is not None
    peer = Peer(name, node.host, node.process.pid, node.data / "blobs" / "sha256", authority=authority)
    try:
        with peer.client() as client:
            _until_it_answers(client, node.process)
            peer.seconds = time.perf_counter() - began
            peer.credentials = ("dev", SECRETS["dev"])
            peer.tokens = {repository: _token(client, peer.credentials, repository) for repository in repositories}
        yield peer
    finally:
        node.stop()


def _token(client: httpx.Client, credentials: tuple[str, str], repository: str) -> str:
    scope = f"repository:{repository}:pull,push,delete"
    form = {"grant_type": "password", "username": credentials[0], "password": credentials[1], "scope": scope}
    answer = client.post("/auth/token", data=form, auth=None)
    token: str = answer.raise_for_status().json()["token"]
    return token


@contextmanager
def distribution(folder: Path, name: str, *, tls: bool = False, remote: str = "") -> Iterator[Peer]:
    """The Go registry: D3 or D2. ``remote``: the registry whose proxy it is."""
    program = find(PROGRAMS[name])
    if program is None:
        raise Missing(f"{name}: {PROGRAMS[name]} is not installed (scripts/install-clients installs it)")
    folder.mkdir(parents=True, exist_ok=True)
    host = f"127.0.0.1:{free_port()}"
    authority = _certificate(folder) if tls else None
    files = f", tls: {{certificate: '{folder}/tls.crt', key: '{folder}/tls.key'}}" if tls else ""
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"http: {{addr: '{host}', secret: 'of-the-bench'{files}}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/data'}}, delete: {{enabled: true}}, "
        "cache: {blobdescriptor: inmemory}}\n" + (f"proxy: {{remoteurl: '{remote}'}}\n" if remote else "")
    )
    blobs = folder / "data" / "docker" / "registry" / "v2" / "blobs" / "sha256"
    began = time.perf_counter()
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log, env=environment)
    peer = Peer(name, host, process.pid, blobs, authority=authority)
    try:
        with peer.client() as client:
            _until_it_answers(client, process)
        peer.seconds = time.perf_counter() - began
        yield peer
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _certificate(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(folder / "tls.crt")
    (folder / "tls.key").touch(mode=0o600)
    issued.private_key_pem.write_to_path(folder / "tls.key")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    return folder / "ca.crt"


def _until_it_answers(client: httpx.Client, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            if client.get("/v2/").status_code in (200, 401):
                return
        except httpx.TransportError:
            time.sleep(0.005)
    raise SystemExit(f"bench: {process.args} did not start")


@contextmanager
def started(starts: list[Callable[[], Any]]) -> Iterator[list[Peer]]:
    """All of them; one that is not installed is named and left out."""
    with ExitStack() as stack:
        peers = []
        for start in starts:
            try:
                peers.append(stack.enter_context(start()))
            except Missing as error:
                print(f"not measured: {error}", flush=True)
        yield peers
