"""An upstream that is somebody else's, a mirror before it, one endpoint over all: declared, up, pulled from, explained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.journeys.deployment import Deployment, command_of, free_port
from tests.nodes import RunningNode, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {{name: fronts}}
sites: {{eu: {{hosts: {{eu-1: {{}}}}}}}}
users:
  ci: {{robot: true, token: {{file: secrets/ci.token}}}}
  dev: {{robot: true, token: {{file: secrets/dev.token}}}}
scopes:
  pool: {{class: ci, grants: [{{to: ci, allow: [pull, push]}}, {{to: dev, allow: [pull], repositories: ['apps/**']}}]}}
nodes:
  outside: {{kind: external, url: 'http://{outside}', auth: {{file: secrets/outside.login}}}}
  pool-eu: {{kind: local, scope: pool, site: eu, host: eu-1, port: {pool}}}
  cache:
    kind: mirror
    upstreams: [outside]
    repositories: ['library/**']
    tagTtl: none
    site: eu
    host: eu-1
    port: {cache}
  all:
    kind: virtual
    members: [pool-eu, cache]
    owns: {{'apps/**': [pool-eu], 'library/**': [cache]}}
    pushTo: pool-eu
    site: eu
    host: eu-1
    port: {all}
"""


@dataclass
class Fronts:
    deployment: Deployment
    upstream: RunningNode

    def why(self, image: str, *, user: str = "ci", expect: int = 0) -> dict[str, object]:
        return dict(json.loads(self.deployment.towpath("why", "-o", "json", image, user=user, expect=expect).out))

    def pull(self, node: str, repository: str, tag: str, user: str = "") -> httpx.Response:
        auth = (user, self.deployment.secret(f"{user}.token")) if user else None
        url = f"http://{self.deployment.address(node)}/v2/{repository}/manifests/{tag}"
        return httpx.get(url, auth=auth, headers={"Accept": "*/*"}, trust_env=False)


def declared(folder: Path, outside: str) -> Deployment:
    folder.mkdir(parents=True)
    ports = {name: free_port() for name in ("pool", "cache", "all")}
    made = Deployment(folder)
    made.file.write_text(TOPOLOGY.format(outside=outside, **ports))
    return made


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Fronts]:
    folder = tmp_path_factory.mktemp("fronts")
    with running(folder / "outside") as upstream:
        deployment = declared(folder / "here", upstream.host)
        (deployment.folder / "secrets").mkdir()
        name, secret = upstream.auth("dev")
        (deployment.folder / "secrets" / "outside.login").write_text(f"{name}:{secret}\n")
        try:
            deployment.up()
            copied = Fronts(deployment, upstream)
            seed(copied, image)
            yield copied
        finally:
            deployment.close()


def seed(fronts: Fronts, image: str) -> None:
    """One image outside, one in the pool, pushed by way of the virtual."""
    name, secret = fronts.upstream.auth("dev")
    there = {**fronts.deployment.environment(), "TOWPATH_USER": name, "TOWPATH_TOKEN": secret}
    outside = Deployment(fronts.upstream.folder)
    outside.environment = lambda user="": there  # type: ignore[method-assign] # another registry's user
    outside.towpath("copy", image, f"{fronts.upstream.host}/library/base:1")
    fronts.deployment.towpath("copy", image, "all/apps/api:1", user="ci")


def test_all_of_it_runs(fronts: Fronts) -> None:
    rows = [json.loads(line) for line in fronts.deployment.towpath("status", "-o", "json").out.splitlines()]
    assert {row["node"]: (row["kind"], row["state"]) for row in rows} == {
        "outside": ("external", "external"),
        "pool-eu": ("local", "ready"),
        "cache": ("mirror", "ready"),
        "all": ("virtual", "ready"),
    }


def test_one_address_gives_both_and_says_who_answered(fronts: Fronts) -> None:
    inside, outside = fronts.pull("all", "apps/api", "1", "ci"), fronts.pull("all", "library/base", "1", "ci")
    assert (inside.status_code, inside.headers["X-Towpath-Member"]) == (200, "pool-eu")
    assert (outside.status_code, outside.headers["X-Towpath-Member"]) == (200, "cache")
    assert inside.content == outside.content, "it is the same image"
    assert fronts.pull("pool-eu", "apps/api", "1", "ci").content == inside.content, "the push went to the pool"


def test_why(fronts: Fronts) -> None:
    found = fronts.why("all/apps/api:1")
    assert (found["answered"], found["rule"]) == ("pool-eu", "owns apps/**")
    assert fronts.why("all/library/base:1")["answered"] == "cache"
    assert fronts.why("cache/library/base:1")["answered"] == "outside"
    said = fronts.deployment.towpath("why", f"http://{fronts.deployment.address('all')}/apps/api:1", user="ci").out
    assert "answered  pool-eu  (owns apps/**)" in said
    assert "cache" in said


def test_what_nobody_owns_is_asked_of_nobody(fronts: Fronts) -> None:
    assert fronts.pull("all", "stranger/api", "1", "ci").status_code == 404
    found = fronts.why("all/stranger/api:1", expect=1)
    assert (found["answered"], found["rule"]) == (None, "unmatched: deny")


def test_the_members_grants_hold(fronts: Fronts) -> None:
    assert fronts.pull("all", "apps/api", "1", "dev").status_code == 200
    assert fronts.pull("all", "apps/api", "1").status_code in (401, 404), "the pool lets in nobody unnamed"
    pushed = fronts.deployment.towpath("copy", "all/apps/api:1", "all/apps/api:2", user="dev", expect=4)
    assert "denied" in pushed.err


def test_a_robot_that_is_no_person_s_login(fronts: Fronts) -> None:
    """What the mirror and the virtual sign in with lies in their folders alone, and in no settings, log or command."""
    state = fronts.deployment.state
    secrets = [(state / "nodes" / "all" / "robot").read_text().strip().partition(":")[2]]
    secrets.append((fronts.deployment.folder / "secrets" / "outside.login").read_text().strip().partition(":")[2])
    kept = [state / "nodes" / "all" / "robot", state / "nodes" / "cache" / "logins" / "outside"]
    for file in (
        each for each in state.rglob("*") if each.is_file() and each not in kept and "blobs" not in each.parts
    ):
        content = file.read_bytes()
        assert not any(secret.encode() in content for secret in secrets), file
    assert not any(secret in command_of(pid) for pid in fronts.deployment.pids().values() for secret in secrets)


def test_the_mirror_gives_what_it_has_when_the_upstream_is_down(fronts: Fronts) -> None:
    before = fronts.pull("cache", "library/base", "1", "ci")
    fronts.upstream.stop()
    try:
        stale = fronts.pull("all", "library/base", "1", "ci")
        assert (stale.status_code, stale.content) == (200, before.content)
        assert fronts.pull("cache", "library/never", "1", "ci").status_code in (502, 503, 504)
        assert fronts.pull("all", "library/never", "1", "ci").status_code in (502, 503, 504), "an outage is no 404"
    finally:
        fronts.upstream.start()


# What is wrong is said before anything starts

WRONG = {
    "unknown member": ("members: [pool-eu, cache]", "members: [pool-eu, cahce]", "T010"),
    "a cycle": ("members: [pool-eu, cache]", "members: [pool-eu, cache, all]", "G9"),
    "owners that contradict": ("owns: {'apps/**'", "owns: {'**': [cache], 'apps/**'", "G12"),
    "our own prefix outside": ("'apps/**': [pool-eu]", "'**': [pool-eu, cache]", "S3"),
    "plain http": ("url: 'http://127.0.0.1:", "url: 'http://registry.example:", "S8"),
    "a login inline": ("auth: {file: secrets/outside.login}", "auth: dev:hunter2", "S9"),
    "a push to a mirror": ("pushTo: pool-eu", "pushTo: cache", "G4"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_starts_nothing(tmp_path: Path, name: str) -> None:
    before, after, code = WRONG[name]
    deployment = declared(tmp_path / "here", "127.0.0.1:5999")
    text = deployment.file.read_text()
    assert before in text
    deployment.file.write_text(text.replace(before, after))
    said = deployment.towpath("up", "--detach", "--create-secrets", "-o", "json", expect=2)
    findings = said.error["findings"]
    assert code in {each["code"] for each in findings}
    assert all(each["help"] for each in findings)
    assert "hunter2" not in said.err + said.out
    assert not deployment.state.exists()


def test_a_login_that_is_missing_and_one_that_is_none(tmp_path: Path) -> None:
    deployment = declared(tmp_path / "here", "127.0.0.1:5999")
    said = deployment.towpath("up", "--detach", "--create-secrets", "-o", "json", expect=2)
    assert "registry login of `outside`" in str(said.error["findings"])
    (deployment.folder / "secrets" / "outside.login").write_text("a-token-alone\n")
    said = deployment.towpath("up", "--detach", "--create-secrets", "-o", "json", expect=2)
    assert (said.error["code"], said.error["where"]) == ("not-a-login", "nodes.outside.auth")
    assert not deployment.state.exists()
