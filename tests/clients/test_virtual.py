"""Real clients push through a virtual what they have from another of its members: it is whole where it was pushed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.clients.daemons import docker_daemon
from tests.clients.images import Layout
from tests.clients.programs import Clients
from tests.clients.test_docker import Docker
from tests.nodes import SECRETS, RunningNode, log_lines, many

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(240)]


class Company(NamedTuple):
    """``base`` has what others build on, ``inside`` takes the pushes, ``front`` stands before both."""

    base: RunningNode
    inside: RunningNode
    front: RunningNode

    def closure(self, repository: str, tag: str) -> dict[str, Any]:
        """Whether it is whole at the member, without any other."""
        with self.inside.client("towpath-engine") as http:
            digest = http.get(f"/v2/{repository}/manifests/{tag}").headers["docker-content-digest"]
            return dict(http.get(f"/_towpath/v1/r/{repository}/_/closure/{digest}").json())


def _member(node: RunningNode) -> dict[str, Any]:
    secret = node.folder / "engine.secret"
    secret.write_text(f"towpath-engine:{SECRETS['towpath-engine']}\n")
    name = node.settings["node"]
    return {"name": name, "kind": "local", "url": node.url, "credentials": {"file": str(secret)}}


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    with many(tmp_path / "nodes") as make:
        base, inside = make("base"), make("inside")
        members = [_member(inside), _member(base)]
        virtual = {"members": members, "unmatched": "members", "push_to": "inside"}
        yield Company(base, inside, make("front", kind="virtual", virtual=virtual))


def test_docker_mounts_what_it_pulled_from_another_member(company: Company, clients: Clients, program: Path) -> None:
    with docker_daemon() as daemon:
        docker = Docker(clients, daemon)
        for node in (company.base, company.front):
            clients.login("docker", node, "login")
        original = f"{company.base.host}/library/hello:1.0"
        docker.made(program, original)
        docker("push", original)
        docker("rmi", "--force", original)
        source, target = f"{company.front.host}/library/hello:1.0", f"{company.front.host}/apps/api:1.0"
        docker("pull", source)
        docker("tag", source, target)
        assert "Mounted from library/hello" in docker("push", target)
    assert company.closure("apps/api", "1.0")["complete"]


def test_skopeo_copies_every_platform_from_one_name_to_another(
    company: Company, clients: Clients, layout: Layout
) -> None:
    clients.publish(layout, company.base, "library/multi:1.0")
    source, target = (f"docker://{company.front.host}/{name}:1.0" for name in ("library/multi", "apps/multi"))
    creds = f"dev:{SECRETS['dev']}"
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false", f"--src-creds={creds}", f"--dest-creds={creds}")
    clients.run("skopeo", "copy", "--all", *plain, source, target)
    found = company.closure("apps/multi", "1.0")
    assert (found["complete"], found["manifests"] > 2) == (True, True)
    again = f"docker://{company.front.host}/library/multi:2.0"
    clients.run("skopeo", "copy", "--all", *plain, source, again)
    assert company.closure("library/multi", "2.0")["complete"], "nothing was sent: a HEAD had found all of it"
    said = [each["path"] for each in log_lines(company.front) if each.get("method") == "PATCH"]
    assert not [path for path in said if path.startswith("/v2/library/multi/")], said
