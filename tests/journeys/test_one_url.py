"""examples/one-url as its README tells it: with a Docker Hub, when that goes away, and on a machine without any network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.apart import apart
from tests.journeys.deployment import TOP, Deployment, free_port
from tests.upstreams.hub import FakeHub
from topology.load import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
EXAMPLE = TOP / "examples" / "one-url"
HUB = "{kind: external, url: https://registry-1.docker.io, budget"


def copied(folder: Path) -> Deployment:
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".towpath", "secrets"))
    return Deployment(folder)


def with_hub(folder: Path, hub: FakeHub) -> Deployment:
    """The example with a Docker Hub of the tests, on free ports."""
    made = copied(folder)
    before = made.file.read_text()
    assert before.count(HUB) == 1
    ours = f"{{kind: external, url: '{hub.url}', hosts: [docker.io], realms: [127.0.0.2], budget"
    text = before.replace(HUB, ours).replace("tagTtl: 1h", "tagTtl: none")
    made.file.write_text(re.sub(r"port: \d+", lambda _: f"port: {free_port()}", text))
    return made


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = copied(tmp_path / "mine")
    try:
        yield made
    finally:
        made.close()


def pull(deployment: Deployment, image: str, user: str = "dev") -> httpx.Response:
    name, _, tag = image.partition(":")
    auth = (user, deployment.secret(f"{user}.password")) if user else None
    url = f"http://{deployment.address('everything')}/v2/{name}/manifests/{tag}"
    return httpx.get(url, auth=auth, headers={"accept": "*/*"}, trust_env=False, timeout=30)


def test_it_lints_clean() -> None:
    loaded = load(EXAMPLE / "topology.yaml")
    assert [str(each) for each in loaded.findings] == []
    assert loaded.topology is not None


def test_ours_and_the_hub_s_by_one_address_also_when_the_hub_is_away(tmp_path: Path, image: str) -> None:
    with FakeHub() as hub:
        base = hub.image("alpine", b"layer", tags=("3",))
        hub.image("acme/api", b"evil", tags=("1", "2"))
        deployment = with_hub(tmp_path / "mine", hub)
        try:
            deployment.up()
            deployment.towpath("copy", image, "everything/acme/api:1", user="dev")
            assert pull(deployment, "acme/api:1").headers["x-towpath-member"] == "team-images"
            assert pull(deployment, "acme/api:1", user="").status_code == 401, "clients sign in when they are asked to"
            deployment.towpath("why", "everything/acme/api:1", user="dev")
            found = pull(deployment, "library/alpine:3", user="")
            assert (found.content, found.headers["x-towpath-member"]) == (base.content, "hub-cache")
            assert pull(deployment, "acme/api:2").status_code == 404, "nobody's image but ours has our name"
            hub.stop()
            stale = pull(deployment, "library/alpine:3", user="")
            assert stale.content == base.content and "warning" in stale.headers
            assert [each.path for each in hub.registry.seen if "acme" in each.path] == []
        finally:
            deployment.close()


@apart(network=True)
def test_without_a_network_it_says_so(deployment: Deployment, image: str) -> None:
    """As it is shipped."""
    deployment.up()
    rows = [json.loads(line) for line in deployment.towpath("status", "-o", "json").out.splitlines()]
    assert {row["node"]: row["state"] for row in rows} == {
        "dockerhub": "external",
        "team-images": "ready",
        "hub-cache": "ready",
        "everything": "ready",
    }
    deployment.towpath("copy", image, "everything/acme/api:1", user="dev")
    assert pull(deployment, "acme/api:1").status_code == 200
    away = pull(deployment, "library/alpine:3", user="")
    assert away.status_code == 503
    assert "hub-cache" in away.text
    told = deployment.towpath("why", "hub-cache/library/alpine:3", user="dev", expect=1)
    assert "dockerhub" in told.out and "cannot be reached" in told.out
