"""Real clients over the node's own TLS, and through nginx as docs/guides/tls-and-proxies.md configures it."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.certificates import Authority
from tests.clients.images import Layout
from tests.clients.programs import Clients
from tests.nodes import SECRETS, RunningNode, free_port, log_lines, running
from tests.tools import require

pytestmark = [pytest.mark.clients, pytest.mark.slow]
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "tls-and-proxies.md"
CREDENTIALS = f"dev:{SECRETS['dev']}"
PROXY = "127.0.0.2"  # where nginx asks from; the clients are 127.0.0.1, as is whoever passes it by


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return authority.issue(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def node(authority: Authority, pair: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    with running(tmp_path_factory.mktemp("node") / "box", tls=pair, trust=authority.trusted()) as started:
        yield started


def there_and_back(clients: Clients, layout: Layout, remote: str, folder: Path, certificates: Path | None) -> None:
    """skopeo pushes the image and pulls it again, byte for byte. Without certificates: plain."""
    trust = [f"cert-dir={certificates}"] if certificates else ["tls-verify=false"]
    shutil.rmtree(folder, ignore_errors=True)
    source, back = f"oci:{layout.folder}:1.0", f"oci:{folder}:1.0"
    to = [f"--dest-{each}" for each in trust]
    clients.run("skopeo", "copy", "--all", "--dest-creds", CREDENTIALS, *to, source, f"docker://{remote}:1.0")
    away = [f"--src-{each}" for each in trust]
    clients.run("skopeo", "copy", "--all", "--src-creds", CREDENTIALS, *away, f"docker://{remote}:1.0", back)
    blobs = sorted((layout.folder / "blobs" / "sha256").iterdir())
    assert len(blobs) > 5
    for blob in blobs:
        assert (folder / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()


def test_skopeo(node: RunningNode, clients: Clients, layout: Layout, authority: Authority, tmp_path: Path) -> None:
    there_and_back(clients, layout, f"{node.host}/skopeo/api", tmp_path / "back", authority.file.parent)
    empty = tmp_path / "empty"
    empty.mkdir()
    remote = f"docker://{node.host}/skopeo/api:1.0"
    refused = clients.attempt("skopeo", "inspect", "--cert-dir", str(empty), "--creds", CREDENTIALS, remote)
    assert refused.returncode != 0
    assert "certificate signed by unknown authority" in refused.stderr


def test_podman(node: RunningNode, clients: Clients, layout: Layout, authority: Authority) -> None:
    trust = f"--cert-dir={authority.file.parent}"
    clients.containers("podman", "login", trust, "-u", "dev", "--password-stdin", node.host, stdin=SECRETS["dev"])
    there = f"docker://{node.host}/podman/api:1.0"
    clients.run("skopeo", "copy", f"--dest-cert-dir={authority.file.parent}", f"oci:{layout.folder}:1.0", there)
    clients.containers("podman", "pull", trust, f"{node.host}/podman/api:1.0")
    clients.containers("podman", "tag", f"{node.host}/podman/api:1.0", f"{node.host}/podman/copy:2.0")
    clients.containers("podman", "push", trust, f"{node.host}/podman/copy:2.0")
    with node.client() as client:
        assert client.get("/v2/podman/copy/tags/list").json()["tags"] == ["2.0"]


def test_crane(node: RunningNode, clients: Clients, layout: Layout, authority: Authority) -> None:
    clients.environment["SSL_CERT_FILE"] = str(authority.file)
    clients.run("crane", "auth", "login", node.host, "-u", "dev", "--password-stdin", stdin=SECRETS["dev"])
    remote = f"{node.host}/crane/api"
    clients.run("crane", "push", "--index", str(layout.folder), f"{remote}:1.0")
    clients.run("crane", "validate", "--remote", f"{remote}:1.0")
    clients.run("crane", "validate", "--remote", f"{remote}@{layout.manifests[0]}")


class Nginx:
    """nginx with the guide's configuration. ``host`` (host:port), ``url``; ``health``: what answers 200 once it is up."""

    health = "/healthz"

    def __init__(self, folder: Path, node: RunningNode, pair: dict[str, str] | None) -> None:
        folder.mkdir()
        self._folder, self.port = folder, free_port()
        self.host, self.url = f"localhost:{self.port}", f"{'https' if pair else 'http'}://localhost:{self.port}"
        (folder / "nginx.conf").write_text(self._whole(self._site(node, pair)))
        self._process: subprocess.Popen[bytes] | None = None

    def _site(self, node: RunningNode, pair: dict[str, str] | None) -> str:
        """What stands in the guide, with the ports and paths of this test."""
        (text,) = re.findall(r"```nginx\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        changes = {"server 127.0.0.1:5000;": f"server {node.host};", "registry.example.com": "localhost"}
        if pair:
            changes["listen 443 ssl;"] = f"listen 127.0.0.1:{self.port} ssl;"
            changes["/etc/nginx/tls/registry.crt"] = pair["certificate"]
            changes["/etc/nginx/tls/registry.key"] = pair["key"]
        else:
            changes["listen 443 ssl;"] = f"listen 127.0.0.1:{self.port};"
            changes["    ssl_certificate /etc/nginx/tls/registry.crt;\n"] = ""
            changes["    ssl_certificate_key /etc/nginx/tls/registry.key;\n"] = ""
        for before, after in changes.items():
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        return text

    def _whole(self, site: str) -> str:
        temporary = "\n".join(
            f"{each}_temp_path {self._folder}/{each};" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"daemon off; pid {self._folder}/pid; error_log stderr; worker_processes 1;\n"
            f"events {{ worker_connections 256; }}\n"
            f"http {{ access_log off; proxy_bind {PROXY};\n{temporary}\n{site} }}\n"
        )

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [require("nginx"), "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"{self.url}{self.health}", verify=False, trust_env=False).raise_for_status()
                return
            except httpx.HTTPError:
                assert self._process.poll() is None, (self._folder / "log").read_text()
                assert time.monotonic() < until, (self._folder / "log").read_text()
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)


@contextmanager
def proxied(folder: Path, pair: dict[str, str] | None) -> Iterator[tuple[RunningNode, Nginx]]:
    require("nginx")
    with running(folder / "behind", proxies=[f"{PROXY}/32"]) as node:
        nginx = Nginx(folder / "nginx", node, pair)
        try:
            nginx.start()
            yield node, nginx
        finally:
            nginx.stop()


@pytest.mark.parametrize("tls", [True, False], ids=["nginx speaks TLS", "plain"])
def test_through_nginx(
    clients: Clients, layout: Layout, authority: Authority, pair: dict[str, str], tmp_path: Path, tls: bool
) -> None:
    trust = authority.file.parent if tls else None
    with proxied(tmp_path, pair if tls else None) as (node, nginx):
        there_and_back(clients, layout, f"{nginx.host}/skopeo/api", tmp_path / "back", trust)
        forged = {"x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "ftp", "x-forwarded-host": "evil.test"}
        with httpx.Client(base_url=nginx.url, verify=authority.trusted(), trust_env=False) as client:
            answer = client.get("/v2/", headers={**forged, "x-request-id": "through"})
            assert f'realm="{nginx.url}/auth/token"' in answer.headers["www-authenticate"]
            large = bytes(8 * 1024 * 1024)
            pushed = client.post(
                "/v2/skopeo/large/blobs/uploads/",
                params={"digest": "sha256:2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74"},
                content=iter([large]),
                auth=node.auth("dev"),
            )
            assert pushed.status_code == 201, pushed.text
            assert client.get(pushed.headers["location"], auth=node.auth("dev")).content == large
        with node.client(None) as client:
            answer = client.get("/v2/", headers={**forged, "x-request-id": "past-it"})
            assert f'realm="{node.url}/auth/token"' in answer.headers["www-authenticate"]
        node.stop()
        seen = {line.get("request_id"): line.get("remote") for line in log_lines(node)}
        assert seen["through"] == "127.0.0.1"
        assert seen["past-it"] == "127.0.0.1"
        assert PROXY not in {line.get("remote") for line in log_lines(node) if line.get("path", "").startswith("/v2/")}


def test_the_short_way_knows_the_client_too(pair: dict[str, str], tmp_path: Path) -> None:
    """A manifest with Basic credentials through nginx: answered at once, logged with the client's address."""
    with proxied(tmp_path, pair) as (node, nginx):
        with node.client() as client:
            config = b"{}"
            digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
            client.post("/v2/a/blobs/uploads/", params={"digest": digest}, content=config).raise_for_status()
            kind, empty = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.empty.v1+json"
            manifest = {"schemaVersion": 2, "mediaType": kind, "layers": []}
            manifest["config"] = {"mediaType": empty, "digest": digest, "size": 2}
            client.put("/v2/a/manifests/1", json=manifest, headers={"content-type": kind}).raise_for_status()
        basic = "Basic " + base64.b64encode(":".join(node.auth("dev")).encode()).decode()
        with httpx.Client(base_url=nginx.url, verify=False, trust_env=False) as client:
            for _ in range(2):
                got = client.get("/v2/a/manifests/1", headers={"authorization": basic})
                assert got.json() == manifest
        node.stop()
        reads = [line for line in log_lines(node) if line.get("method") == "GET" and "/manifests/1" in line["path"]]
        assert [line["remote"] for line in reads] == ["127.0.0.1", "127.0.0.1"]
