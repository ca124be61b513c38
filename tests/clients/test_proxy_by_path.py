"""Two nodes behind one host and port, told apart by path: the nginx text that towpath lays down, in a real nginx before
two real nodes, with real clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sites.desired.proxy import configurations
from tests.certificates import Authority
from tests.clients.images import Layout
from tests.clients.programs import Clients
from tests.clients.test_tls_and_proxies import PROXY, Nginx, there_and_back
from tests.nodes import SECRETS, RunningNode, log_lines, many
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
    told: dict[str, Any] = {"proxies": [f"{PROXY}/32"], "grants": OPEN}
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
    shown = clients.run("skopeo", "list-tags", f"--cert-dir={behind.trust}", f"docker://{behind.nginx.host}/{path}/apps/api")
    assert json.loads(shown)["Tags"] == ["1.0"]
    wrong = ["-u", "dev", "-p", "wrong", behind.nginx.host]
    assert clients.attempt("skopeo", "login", f"--cert-dir={behind.trust}", *wrong).returncode != 0
