"""A scope's endpoint over two nodes: pulls go on through it while either of them is down, and say so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.journeys.deployment import Deployment, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
# The endpoint stands on a host of its own, so that it reads no member's files: a member that is down is really gone.
TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {{name: endpoints}}
sites: {{eu: {{hosts: {{eu-1: {{}}, eu-2: {{}}, eu-3: {{}}}}}}}}
users: {{ci: {{robot: true, token: {{file: secrets/ci.token}}}}}}
scopes:
  pool: {{class: ci, grants: [{{to: ci, allow: [pull, push]}}], endpoint: {{eu: pool}}}}
nodes:
  pool-1: {{kind: local, scope: pool, site: eu, host: eu-1, port: {one}}}
  pool-2: {{kind: local, scope: pool, role: replica, site: eu, host: eu-2, port: {two}}}
  pool: {{kind: virtual, members: [pool-1, pool-2], owns: {{'**': [pool-1, pool-2]}}, site: eu, host: eu-3, port: {all}}}
replications:
  - {{id: both, from: pool-1, to: [pool-2], on: event}}
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("endpoints")
    deployment = Deployment(folder)
    deployment.file.write_text(TOPOLOGY.format(one=free_port(), two=free_port(), all=free_port()))
    (folder / "secrets").mkdir()
    try:
        deployment.up()
        deployment.towpath("copy", image, "pool-1/apps/api:1", user="ci")
        deployment.towpath("replicate", "both")
        yield deployment
    finally:
        deployment.close()


def pulled(pool: Deployment) -> httpx.Response:
    url = f"http://{pool.address('pool')}/v2/apps/api/manifests/1"
    auth = ("ci", pool.secret("ci.token"))
    return httpx.get(url, auth=auth, headers={"Accept": "*/*"}, trust_env=False)


def test_status_says_which_node_the_endpoint_is(pool: Deployment) -> None:
    rows = [json.loads(line) for line in pool.towpath("status", "-o", "json").out.splitlines()]
    assert {row["node"]: row["endpoint"] for row in rows} == {"pool-1": None, "pool-2": None, "pool": "pool@eu"}


def test_login_leads_to_the_endpoint(pool: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    pool.towpath("login", "pool@eu", "--auth-file", str(file), user="ci")
    assert list(json.loads(file.read_text())["auths"]) == [pool.address("pool")]


@pytest.mark.parametrize("down", ["pool-1", "pool-2"])
def test_pulls_go_on_while_one_node_is_down(pool: Deployment, down: str) -> None:
    other = {"pool-1": "pool-2", "pool-2": "pool-1"}[down]
    before = pulled(pool)
    assert (before.status_code, before.headers["X-Towpath-Member"]) == (200, "pool-1")
    pool.towpath("down", "--node", down)
    try:
        after = pulled(pool)
        assert (after.status_code, after.headers["X-Towpath-Member"]) == (200, other)
        assert after.content == before.content
    finally:
        pool.up()
