"""Two nodes behind one host and port, told apart by path: the nginx text that towpath lays down, in a real nginx before
two real nodes, with real clients."""

from __future__ import annotations

import asyncio
import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_wire.client import Credentials, RemoteRegistry
from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.registry import Call, once
from sites.desired.proxy import configurations
from tests.certificates import Authority
from tests.clients.images import Layout
from tests.clients.programs import Clients
from tests.clients.test_tls_and_proxies import PROXY, Nginx, there_and_back
from tests.conformance.test_conformance import environment_of
from tests.nodes import SECRETS, RunningNode, many
from tests.tools import require
from topology.load import loads

pytestmark = [pytest.mark.clients, pytest.mark.slow]
TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {{name: proxied}}
sites: {{eu: {{hosts: {{eu-1: {{proxy: {{method: path, domain: localhost, port: {public}}}}}}}}}}}
tls: {{ca: {{cert: ca.crt, key: {{env: CA_KEY}}}}}}
scopes: {{a: {{class: ci}}, b: {{class: ci}}}}
nodes:
  a-eu: {{kind: local, scope: a, site: eu, host: eu-1, port: {a}}}
  b-eu: {{kind: local, scope: b, site: eu, host: eu-1, port: {b}, proxy: {{path: team/b.2}}}}
"""
OPEN = [
    {"to": "authenticated", "allow": ["pull", "push", "delete"]},
    {"to": "everyone", "allow": ["pull"], "repositories": ["open/**"]},
]


class ByPath(Nginx):
    health = "/a-eu/healthz"

    def __init__(self, folder: Path, nodes: dict[str, RunningNode], pair: dict[str, str]) -> None:
        self._nodes = nodes
        super().__init__(folder, nodes["a-eu"], pair)

    def _site(self, node: RunningNode, pair: dict[str, str] | None) -> str:
        a, b = (int(self._nodes[name].host.rpartition(":")[2]) for name in ("a-eu", "b-eu"))
        loaded = loads(TOPOLOGY.format(public=self.port, a=a, b=b))
        assert loaded.topology is not None and not loaded.findings, loaded.findings
        text = configurations(loaded.topology, ["b-eu", "a-eu"])["eu-1"]
        for kind, end in (("certificate", "crt"), ("key", "key")):
            before = f" /etc/towpath/.proxy/a-eu.{end};"
            assert pair and text.count(before) == 1
            text = text.replace(before, f" {pair[kind]};")
        return text


@dataclass(frozen=True)
class Behind:
    nginx: ByPath
    a: RunningNode
    b: RunningNode
    trust: Path  # the folder with the authority's certificate
    authority: Authority

    def client(self, who: str | None = "dev") -> httpx.Client:
        auth = (who, SECRETS[who]) if who else None
        return httpx.Client(base_url=self.nginx.url, auth=auth, verify=self.authority.trusted(), trust_env=False)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    require("nginx")
    folder = tmp_path_factory.mktemp("by-path")
    authority = Authority(tmp_path_factory.mktemp("authority"))
    pair = authority.issue(tmp_path_factory.mktemp("pair"))
    told: dict[str, Any] = {"proxies": [f"{PROXY}/32"], "grants": OPEN, "rules": {"sparse_images": True}}
    with many(folder) as make:
        nodes = {name: make(name, **told) for name in ("a-eu", "b-eu")}
        nginx = ByPath(folder / "nginx", nodes, pair)
        try:
            nginx.start()
            yield Behind(nginx, nodes["a-eu"], nodes["b-eu"], authority.file.parent, authority)
        finally:
            nginx.stop()


@pytest.mark.parametrize("path", ["a-eu", "team/b.2"])
def test_skopeo(behind: Behind, clients: Clients, layout: Layout, tmp_path: Path, path: str) -> None:
    there_and_back(clients, layout, f"{behind.nginx.host}/{path}/apps/api", tmp_path / "back", behind.trust)
    node, other = (behind.a, behind.b) if path == "a-eu" else (behind.b, behind.a)
    with node.client() as mine, other.client() as theirs:
        assert mine.get("/v2/apps/api/tags/list").json() == {"name": "apps/api", "tags": ["1.0"]}
        assert path == "team/b.2" or theirs.get("/v2/apps/api/tags/list").status_code == 404
    clients.run("skopeo", "login", f"--cert-dir={behind.trust}", "-u", "dev", "-p", SECRETS["dev"], behind.nginx.host)
    shown = clients.run(
        "skopeo", "list-tags", f"--cert-dir={behind.trust}", f"docker://{behind.nginx.host}/{path}/apps/api"
    )
    assert json.loads(shown)["Tags"] == ["1.0"]
    wrong = ["-u", "dev", "-p", "wrong", behind.nginx.host]
    assert clients.attempt("skopeo", "login", f"--cert-dir={behind.trust}", *wrong).returncode != 0


@pytest.mark.parametrize("path", ["a-eu", "team/b.2"])
def test_podman(behind: Behind, clients: Clients, layout: Layout, path: str) -> None:
    trust, host = f"--cert-dir={behind.trust}", behind.nginx.host
    clients.containers("podman", "login", trust, "-u", "dev", "--password-stdin", host, stdin=SECRETS["dev"])
    name = f"{host}/{path}/podman/api:1.0"
    clients.run("skopeo", "copy", f"--dest-cert-dir={behind.trust}", f"oci:{layout.folder}:1.0", f"docker://{name}")
    clients.containers("podman", "pull", trust, name)
    clients.containers("podman", "tag", name, f"{host}/{path}/podman/copy:2.0")
    clients.containers("podman", "push", trust, f"{host}/{path}/podman/copy:2.0")
    with (behind.a if path == "a-eu" else behind.b).client() as client:
        assert client.get("/v2/podman/copy/tags/list").json()["tags"] == ["2.0"]


def test_crane_and_oras(behind: Behind, clients: Clients, layout: Layout, tmp_path: Path) -> None:
    clients.environment["SSL_CERT_FILE"] = str(behind.authority.file)
    host = behind.nginx.host
    clients.run("crane", "auth", "login", host, "-u", "dev", "--password-stdin", stdin=SECRETS["dev"])
    remote = f"{host}/team/b.2/crane/api"
    clients.run("crane", "push", "--index", str(layout.folder), f"{remote}:1.0")
    clients.run("crane", "validate", "--remote", f"{remote}:1.0")
    clients.run("crane", "copy", f"{remote}:1.0", f"{host}/a-eu/crane/api:1.0")
    clients.run("crane", "validate", "--remote", f"{host}/a-eu/crane/api:1.0")
    (tmp_path / "hello.txt").write_text("hello")
    tls = "--plain-http=false"  # oras takes localhost for plain HTTP
    clients.run("oras", "push", tls, f"{host}/a-eu/oras/files:1", "hello.txt:text/plain", folder=tmp_path)
    assert "hello.txt" in clients.run("oras", "manifest", "fetch", tls, f"{host}/a-eu/oras/files:1")
    assert clients.run("oras", "repo", "tags", tls, f"{host}/a-eu/oras/files").split() == ["1"]


def test_whoever_has_no_login_pulls_what_is_open(
    behind: Behind, clients: Clients, layout: Layout, tmp_path: Path
) -> None:
    there, trust = f"docker://{behind.nginx.host}/a-eu/open/api:1.0", f"--dest-cert-dir={behind.trust}"
    clients.run("skopeo", "copy", "--dest-creds", f"dev:{SECRETS['dev']}", trust, f"oci:{layout.folder}:1.0", there)
    away = f"--src-cert-dir={behind.trust}"
    clients.run("skopeo", "copy", "--src-no-creds", away, there, f"oci:{tmp_path / 'back'}:1.0")
    closed = there.replace("open/", "closed/")
    clients.run("skopeo", "copy", "--dest-creds", f"dev:{SECRETS['dev']}", trust, f"oci:{layout.folder}:1.0", closed)
    assert clients.attempt("skopeo", "inspect", "--no-creds", f"--cert-dir={behind.trust}", closed).returncode != 0


@pytest.mark.timeout(300)
def test_the_official_program_finds_no_failure(behind: Behind, tmp_path: Path) -> None:
    environment = {
        **environment_of(behind.nginx.host, "stable", tmp_path / "results"),
        **{"OCI_USERNAME": "dev", "OCI_PASSWORD": SECRETS["dev"], "OCI_TLS": "enabled"},
        **{"OCI_REPO1": "team/b.2/conformance/repo1", "OCI_REPO2": "team/b.2/conformance/repo2"},
        "SSL_CERT_FILE": str(behind.authority.file),
    }
    ended = subprocess.run([require("conformance")], env=environment, cwd=tmp_path, capture_output=True, check=False)
    assert (tmp_path / "results" / "junit.xml").exists(), ended.stderr
    cases = list(ET.parse(tmp_path / "results" / "junit.xml").getroot().iter("testcase"))
    assert len(cases) > 800
    assert [each.get("name") for each in cases if each.get("status") in ("failure", "error", "skipped")] == []


def test_nothing_leads_from_one_node_to_the_other(behind: Behind) -> None:
    """Paths that nginx and a node might read differently, and mounts from the other one."""
    content, digest = b"of a alone", str(Digest.of(b"of a alone"))
    with behind.client() as client:
        uploads = "/v2/a-eu/own/app/blobs/uploads/"
        client.post(uploads, params={"digest": digest}, content=content).raise_for_status()
        assert client.get(f"/v2/a-eu/own/app/blobs/{digest}").content == content
        for strange in (
            f"/v2/team/b.2/../../a-eu/own/app/blobs/{digest}",
            f"/v2/team/b.2/%2e%2e/%2e%2e/a-eu/own/app/blobs/{digest}",
            f"/v2/a-eu/../team/b.2/own/app/blobs/{digest}",
            f"/v2//a-eu/own/app/blobs/{digest}",
            f"/v2/%61-eu/own/app/blobs/{digest}",
            f"/v2/a-eu//own/app/blobs/{digest}",
            f"/a-eu/../v2/own/app/blobs/{digest}",
            f"/v2/own/app/blobs/{digest}",
            f"/v2/a-eux/own/app/blobs/{digest}",
        ):
            assert _as_written(behind, strange) in (400, 404), strange
        for source in ("a-eu/own/app", "own/app", "team/b.2/../../a-eu/own/app"):
            mounted = client.post("/v2/team/b.2/thief/blobs/uploads/", params={"mount": digest, "from": source})
            assert mounted.status_code in (202, 400), source
        assert client.get(f"/v2/team/b.2/thief/blobs/{digest}").status_code == 404
        moved = client.post("/v2/a-eu/other/blobs/uploads/", params={"mount": digest, "from": "a-eu/own/app"})
        assert (moved.status_code, moved.headers["location"]) == (201, f"/v2/a-eu/other/blobs/{digest}")


def _as_written(behind: Behind, path: str) -> int:
    """The status of a GET of this path, sent letter by letter."""
    words = ["curl", "-s", "--path-as-is", "--cacert", str(behind.authority.file), "-u", f"dev:{SECRETS['dev']}"]
    where = f"{behind.nginx.url}{path}"
    ended = subprocess.run([*words, "-o", "/dev/null", "-w", "%{http_code}", where], capture_output=True, check=True)
    return int(ended.stdout)


def test_lists_and_tokens_name_what_clients_name(behind: Behind) -> None:
    with behind.client() as client:
        for name in ("listed/one", "listed/two"):
            put = client.post(f"/v2/a-eu/{name}/blobs/uploads/")
            assert put.headers["location"].startswith(f"/v2/a-eu/{name}/blobs/uploads/")
        page = client.get("/v2/a-eu/_catalog", params={"n": 1})
        if page.json()["repositories"]:
            assert page.json()["repositories"][0].startswith("a-eu/")
    with behind.client(None) as client:
        asked = client.get("/v2/a-eu/closed/app/manifests/1").headers["www-authenticate"]
        assert f'realm="{behind.nginx.url}/auth/token"' in asked and 'scope="repository:a-eu/closed/app:pull"' in asked
        assert client.get("/v2/").headers["www-authenticate"].startswith("Bearer realm=")
        assert client.post("/auth/token", data={"grant_type": "password"}).status_code == 404
    with behind.client() as client:
        for name in ("a-eu/closed/app", "team/b.2/closed/app"):
            query = {"service": "towpath", "scope": f"repository:{name}:pull", "offline_token": "true"}
            told = client.get("/auth/token", params=query).json()
            assert told["scope"] == f"repository:{name}:pull" and "refresh_token" not in told
        assert client.get("/v2/").status_code == 200
    with behind.client("dev") as client:
        client.auth = ("dev", "wrong")
        assert client.get("/v2/").status_code == 401
        assert client.get("/auth/token").status_code == 401


def test_the_engine_asks_below_the_path(behind: Behind) -> None:
    """``https://HOST/PATH`` is a registry of its own, with the extension and every list that goes on."""
    asyncio.run(_as_the_engine(behind))


async def _as_the_engine(behind: Behind) -> None:
    url, login = f"{behind.nginx.url}/team/b.2", Credentials("dev", SECRETS["dev"])
    async with RemoteRegistry(url, credentials=login, trust=behind.authority.trusted()) as registry:
        call, content = Call(), b"pushed below the path"
        blob = Descriptor(OCTET_STREAM, Digest.of(content), len(content))
        await registry.ping(call)
        for name in ("engine/one", "engine/two"):
            await registry.put_blob(call, name, blob, once(content))
        stream = await registry.open_blob(call, "engine/one", blob.digest)
        assert await stream.read() == content
        assert await registry.features(call) is not None
        found = await registry.repositories(call, limit=1)
        assert not found.items or not found.items[0].startswith("team/")
