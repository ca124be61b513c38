"""``SCOPE@SITE``: the endpoint that clients use, as setup, kube-secret and explain take it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from towpath.main import run

TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {name: endpoints}
sites:
  eu: {hosts: {eu-1: {ssh: a@10.0.0.1}, eu-2: {ssh: a@10.0.0.2}}}
  us: {hosts: {us-1: {ssh: a@10.0.0.3}}}
users: {ci: {robot: true, token: {env: CI}}, puller: {robot: true, token: {env: PULLER}}}
tls: {ca: {cert: ca.crt, key: {env: CA_KEY}}}
scopes:
  pool:
    class: ci
    grants: [{to: ci, allow: [pull, push]}, {to: puller, allow: [pull]}]
    endpoint: {eu: pool}
nodes:
  pool-1: {kind: local, scope: pool, site: eu, host: eu-1, port: 5001}
  pool-2: {kind: local, scope: pool, role: replica, site: eu, host: eu-2, port: 5001}
  pool-us: {kind: local, scope: pool, role: replica, site: us, host: us-1, port: 5001}
  pool: {kind: virtual, members: [pool-1, pool-2], owns: {'**': [pool-1, pool-2]}, site: eu, host: eu-2, port: 5020}
"""
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


@pytest.fixture
def said(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    file = tmp_path / "topology.yaml"
    file.write_text(TOPOLOGY)
    (tmp_path / "ca.crt").write_text(PEM)
    monkeypatch.setenv("TOWPATH_TOKEN", "canary-token-of-somebody")

    def call(*words: str, exit: int = 0) -> Any:
        assert run([*words, "-f", str(file), "-o", "json"]) == exit
        told = capsys.readouterr()
        return json.loads((told.out or told.err).splitlines()[-1])

    return call


def registries(secret: dict[str, Any]) -> list[str]:
    return sorted(json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"])


def test_setup_takes_a_declared_endpoint_and_one_that_is_a_plain_node(said: Any) -> None:
    found = said("setup", "containerd", "pool@eu")
    assert (found["node"], found["url"]) == ("pool", "https://10.0.0.2:5020")
    plain = said("setup", "containerd", "pool@us")
    (hosts,) = [each["content"] for each in plain["files"] if each["path"].endswith("10.0.0.3:5001/hosts.toml")]
    assert '"pull", "resolve", "push"' not in hosts, "a replica takes no pushes"
    assert PEM in [each["content"] for each in plain["files"]]


def test_who_only_pulls_gets_the_endpoint_in_place_of_what_is_behind_it(said: Any) -> None:
    assert registries(said("kube-secret", "--user", "puller")) == ["10.0.0.2:5020", "10.0.0.3:5001"]


def test_who_may_do_more_behind_it_gets_those_nodes_too(said: Any) -> None:
    assert "10.0.0.1:5001" in registries(said("kube-secret", "--user", "ci"))


def test_an_endpoint_can_be_asked_for(said: Any) -> None:
    assert registries(said("kube-secret", "pool@eu", "--user", "ci")) == ["10.0.0.2:5020"]


def test_explain_says_what_dns_or_a_balancer_points_to(said: Any) -> None:
    found = said("explain", "pool@eu")
    assert (found["node"], found["url"]) == ("pool", "https://10.0.0.2:5020")
    assert [(each["node"], each["ready"]) for each in found["behind"]] == [
        ("pool-1", "https://10.0.0.1:5001/readyz"),
        ("pool-2", "https://10.0.0.2:5001/readyz"),
    ]


@pytest.mark.parametrize("name", ["pool@moon", "nothing@eu"])
def test_names_that_are_not_declared(said: Any, name: str) -> None:
    assert said("explain", name, exit=2)["error"]["code"] == "unknown-name"


def test_nodes_without_an_endpoint_are_named(said: Any, tmp_path: Path) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(file.read_text().replace("endpoint: {eu: pool}", ""))
    error = said("setup", "docker", "pool@eu", exit=2)["error"]
    assert error["code"] == "no-endpoint"
    assert "pool-1, pool-2" in error["what"] and "endpoint: {eu: NODE}" in error["next"]
