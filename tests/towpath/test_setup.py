"""``towpath setup``: the files that it prints are what each client reads, and say what the topology declares."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from towpath.client_setup import CLIENTS
from towpath.main import run

TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {name: fronts}
sites: {eu: {hosts: {eu-1: {}}}, far: {hosts: {far-1: {ssh: deploy@10.0.0.9}}}}
users: {dev: {robot: true, token: {env: DEV_TOKEN}}}
tls: {ca: {cert: ca.crt, key: {env: CA_KEY}}}
scopes:
  ci: {class: ci, grants: [{to: dev, allow: [pull, push]}]}
nodes:
  hub: {kind: external, url: https://registry-1.docker.io}
  quay: {kind: external, url: https://quay.io}
  ghcr: {kind: external, url: https://ghcr.io, auth: {env: GHCR}}
  ci-eu: {kind: local, scope: ci, site: eu, host: eu-1, port: 5001}
  hub-cache: {kind: mirror, upstreams: [hub], site: eu, host: eu-1, port: 5002}
  both: {kind: mirror, upstreams: [hub, {node: quay, repositories: ['acme/**']}], site: eu, host: eu-1, port: 5004}
  parted:
    kind: mirror
    upstreams: [{node: hub, repositories: ['library/**']}, {node: quay, repositories: ['acme/**']}]
    site: eu
    host: eu-1
    port: 5005
  private: {kind: mirror, upstreams: [ghcr], site: eu, host: eu-1, port: 5006}
  all:
    kind: virtual
    members: [ci-eu, hub-cache]
    owns: {'apps/**': [ci-eu], 'library/**': [hub-cache]}
    pushTo: ci-eu
    site: eu
    host: eu-1
    port: 5003
  named:
    kind: virtual
    members: [ci-eu, hub-cache]
    owns: {'apps/**': [ci-eu], 'library/**': [hub-cache]}
    hosts: [registry.acme.example]
    site: eu
    host: eu-1
    port: 5007
  far-cache: {kind: mirror, upstreams: [hub], site: far, host: far-1, port: 5002}
"""
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "topology.yaml"
    path.write_text(TOPOLOGY)
    (tmp_path / "ca.crt").write_text(PEM)
    return path


class Told:
    def __init__(self, file: Path, capsys: pytest.CaptureFixture[str], client: str, node: str) -> None:
        assert run(["setup", client, node, "-f", str(file), "-o", "json"]) == 0
        self.record = json.loads(capsys.readouterr().out)
        self.files = {each["path"]: each["content"] for each in self.record["files"]}
        self.notes, self.commands = " ".join(self.record["notes"]), " ".join(self.record["commands"])

    def toml(self, path: str) -> dict[str, Any]:
        return tomllib.loads(self.files[path])


@pytest.fixture
def told(file: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda client, node: Told(file, capsys, client, node)


def test_docker(told: Any) -> None:
    found = told("docker", "hub-cache")
    assert json.loads(found.files["/etc/docker/daemon.json"]) == {"registry-mirrors": ["http://127.0.1.1:5002"]}
    assert "login" not in found.commands


def test_docker_has_no_mirrors_of_other_registries(told: Any) -> None:
    found = told("docker", "private")
    assert found.files == {}
    assert "docker.io alone" in found.notes and "ghcr.io" in found.notes


def test_containerd(told: Any) -> None:
    found = told("containerd", "both")
    hub, quay = (found.toml(f"/etc/containerd/certs.d/{host}/hosts.toml") for host in ("docker.io", "quay.io"))
    wanted = {"http://127.0.1.1:5004": {"capabilities": ["pull", "resolve"]}}
    assert hub == {"server": "https://registry-1.docker.io", "host": wanted}
    assert quay == {"server": "https://quay.io", "host": wanted}


def test_containerd_pushes_by_a_virtual(told: Any) -> None:
    own = told("containerd", "all").toml("/etc/containerd/certs.d/127.0.1.1:5003/hosts.toml")
    assert own["host"]["http://127.0.1.1:5003"]["capabilities"] == ["pull", "resolve", "push"]


def test_a_virtual_by_another_name_of_its(told: Any) -> None:
    """Images that are called by it come from there, and from nowhere else: no such registry answers."""
    for client in ("containerd", "kubernetes"):
        found = told(client, "named").toml("/etc/containerd/certs.d/registry.acme.example/hosts.toml")
        assert (found["server"], list(found["host"])) == ("http://127.0.1.1:5007", ["http://127.0.1.1:5007"])
    own, other, *_ = told("podman", "named").toml("/etc/containers/registries.conf.d/towpath-named.conf")["registry"]
    assert other == {"prefix": "registry.acme.example", **own}
    built = told("buildkit", "named").toml("/etc/buildkit/buildkitd.toml")["registry"]
    assert built["registry.acme.example"] == {"mirrors": ["127.0.1.1:5007"]}


@pytest.mark.parametrize("client", ["podman", "buildah", "skopeo"])
def test_podman_by_prefix(told: Any, client: str) -> None:
    found = told(client, "parted")
    own, *mirrored = found.toml("/etc/containers/registries.conf.d/towpath-parted.conf")["registry"]
    assert own == {"location": "127.0.1.1:5005", "insecure": True}
    assert [(each["prefix"], each["mirror"][0]["location"]) for each in mirrored] == [
        ("docker.io/library", "127.0.1.1:5005/library"),
        ("quay.io/acme", "127.0.1.1:5005/acme"),
    ]
    assert all(each["mirror"][0]["insecure"] and "insecure" not in each for each in mirrored)


@pytest.mark.parametrize("client", ["podman", "buildah", "skopeo"])
def test_each_signs_in_by_itself(told: Any, client: str) -> None:
    """Whoever has one of them need not have the others."""
    assert f"| {client} login --tls-verify=false -u" in told(client, "private").commands


def test_podman_is_not_led_to_another_registry_s_image(told: Any) -> None:
    """It does not say which registry it means, so quay.io/acme/x would be answered with Docker Hub's acme/x."""
    found = told("podman", "both")
    assert "quay.io" not in next(iter(found.files.values()))
    assert "quay.io is left out" in found.notes


def test_buildkit(told: Any) -> None:
    found = told("buildkit", "all").toml("/etc/buildkit/buildkitd.toml")["registry"]
    assert found == {"docker.io": {"mirrors": ["127.0.1.1:5003"]}, "127.0.1.1:5003": {"http": True}}


def test_kubernetes_gets_a_pull_secret_where_somebody_must_sign_in(told: Any) -> None:
    found = told("kubernetes", "private")
    assert "create secret docker-registry private --docker-server=127.0.1.1:5006" in found.commands
    assert '"imagePullSecrets": [{"name": "private"}]' in found.commands
    assert told("kubernetes", "hub-cache").commands == ""


def test_a_node_with_tls_brings_its_authority(told: Any) -> None:
    assert told("docker", "far-cache").files["/etc/docker/certs.d/10.0.0.9:5002/ca.crt"] == PEM
    hosts = told("containerd", "far-cache")
    said = hosts.toml("/etc/containerd/certs.d/docker.io/hosts.toml")["host"]["https://10.0.0.9:5002"]
    assert said["ca"] == "far-cache.crt"
    assert hosts.files["/etc/containerd/certs.d/docker.io/far-cache.crt"] == PEM
    built = told("buildkit", "far-cache")
    own = built.toml("/etc/buildkit/buildkitd.toml")["registry"]["10.0.0.9:5002"]
    assert built.files[own["ca"][0]] == PEM and "http" not in own
    assert (
        "insecure" not in told("podman", "far-cache").files["/etc/containers/registries.conf.d/towpath-far-cache.conf"]
    )


@pytest.mark.parametrize("client", CLIENTS)
def test_text_holds_the_same_files(file: Path, client: str, told: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files = told(client, "all").files
    assert run(["setup", client, "all", "-f", str(file)]) == 0
    text = capsys.readouterr().out
    assert all(f"# {path}\n{content.rstrip()}" in text for path, content in files.items())


def test_another_kind_of_node_and_another_client(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["setup", "docker", "ci-eu", "-f", str(file)]) == 2
    assert "error[not-a-front]: ci-eu is a node of kind local" in capsys.readouterr().err
    assert run(["setup", "rocket", "all", "-f", str(file)]) == 2
    assert "error[usage]" in capsys.readouterr().err


def test_a_front_by_path_is_a_mirror_with_a_path_and_a_login_at_the_host(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behind = "far-1: {ssh: deploy@10.0.0.9, proxy: {method: path, domain: r.example}}"
    moved = TOPOLOGY.replace("[ghcr], site: eu, host: eu-1", "[ghcr], site: far, host: far-1")
    file.write_text(moved.replace("far-1: {ssh: deploy@10.0.0.9}", behind))
    containerd = Told(file, capsys, "containerd", "far-cache")
    hub = containerd.toml("/etc/containerd/certs.d/docker.io/hosts.toml")
    assert list(hub["host"]) == ["https://r.example/far-cache"]
    own = containerd.toml("/etc/containerd/certs.d/r.example/hosts.toml")
    assert (own["server"], list(own["host"])) == ("https://r.example", ["https://r.example"])
    podman = Told(file, capsys, "podman", "far-cache")
    assert (
        'location = "r.example/far-cache"' in podman.files["/etc/containers/registries.conf.d/towpath-far-cache.conf"]
    )
    assert "/etc/containers/certs.d/r.example/ca.crt" in podman.files
    assert Told(file, capsys, "podman", "private").commands.endswith(" r.example")
    docker = Told(file, capsys, "docker", "far-cache")
    assert "/etc/docker/daemon.json" not in docker.files and "write r.example/far-cache/..." in docker.notes
    assert Told(file, capsys, "kubernetes", "private").commands.count("--docker-server=r.example ") == 1
    buildkit = Told(file, capsys, "buildkit", "far-cache").toml("/etc/buildkit/buildkitd.toml")
    assert (
        buildkit["registry"]["docker.io"]["mirrors"] == ["r.example/far-cache"] and "r.example" in buildkit["registry"]
    )
