"""The nginx configuration that towpath lays down on hosts, in a real nginx before a real node, with a real client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sites.desired import layout
from sites.desired.proxy import configurations
from tests.certificates import Authority
from tests.clients.images import Layout
from tests.clients.programs import Clients
from tests.clients.test_tls_and_proxies import PROXY, Nginx, there_and_back
from tests.nodes import RunningNode, log_lines, running
from tests.tools import require
from topology.load import loads

pytestmark = [pytest.mark.clients, pytest.mark.slow]
TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {{name: proxied}}
sites: {{eu: {{hosts: {{eu-1: {{proxy: {{method: {method}, port: {public}}}}}}}}}}}
{tls}
scopes: {{a: {{class: ci}}}}
nodes:
  a-eu: {{kind: local, scope: a, site: eu, host: eu-1, port: {port}, proxy: {{name: localhost, port: {public}}}}}
"""
TLS = "tls: {ca: {cert: ca.crt, key: {env: CA_KEY}}}"


class Rendered(Nginx):
    """nginx with what `towpath apply` and `towpath render nginx` say for one node."""

    method = "subdomain"

    def _site(self, node: RunningNode, pair: dict[str, str] | None) -> str:
        port, tls = int(node.host.rpartition(":")[2]), TLS if pair else ""
        loaded = loads(TOPOLOGY.format(method=self.method, public=self.port, port=port, tls=tls))
        assert loaded.topology is not None, loaded.findings
        text = configurations(loaded.topology, ["a-eu"])["eu-1"]
        for path, there in zip(
            (layout.proxy_certificate("a-eu"), layout.proxy_key("a-eu")), (pair or {}).values(), strict=False
        ):
            assert text.count(f" {path};") == 1
            text = text.replace(str(path), there)
        return text


class ByPort(Rendered):
    method = "port"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = authority.issue(tmp_path_factory.mktemp("pair"))
    return {"certificate": made["certificate"], "key": made["key"]}


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[RunningNode]:
    require("nginx")
    with running(tmp_path / "behind", proxies=[f"{PROXY}/32"]) as started:
        yield started


@pytest.mark.parametrize("kind", [Rendered, ByPort], ids=["subdomain", "port"])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_skopeo_through_it(
    behind: RunningNode,
    clients: Clients,
    layout: Layout,
    authority: Authority,
    pair: dict[str, str],
    tmp_path: Path,
    kind: type[Rendered],
    tls: bool,
) -> None:
    nginx = kind(tmp_path / "nginx", behind, pair if tls else None)
    try:
        nginx.start()
        there_and_back(
            clients, layout, f"{nginx.host}/apps/api", tmp_path / "back", authority.file.parent if tls else None
        )
        with httpx.Client(base_url=nginx.url, verify=authority.trusted(), trust_env=False) as client:
            forged = {"x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "ftp", "x-request-id": "forged"}
            answer = client.get("/v2/", headers=forged)
            assert f'realm="{nginx.url}/auth/token"' in answer.headers["www-authenticate"]
        _another_name(nginx, answers=kind is ByPort, tls=tls)
        behind.stop()
        assert {line["remote"] for line in log_lines(behind) if line.get("request_id") == "forged"} == {"127.0.0.1"}
    finally:
        nginx.stop()


def _another_name(nginx: Nginx, *, answers: bool, tls: bool) -> None:
    """By name nobody gets to a node that they did not ask for; at a port of its own the name says nothing."""
    with httpx.Client(verify=False, trust_env=False) as client:
        other = f"{'https' if tls else 'http'}://127.0.0.1:{nginx.port}/v2/"
        if answers:
            assert client.get(other).status_code == 401
        elif tls:
            with pytest.raises(httpx.ConnectError):
                client.get(other)
        else:
            assert client.get(other).status_code == 421
