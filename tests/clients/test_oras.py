"""oras keeps artifacts, attaches them to others, and finds what is attached."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import Clients, digest_at, tags_at
from tests.nodes import RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]
HTTP = "--plain-http"
BOTH = ("--from-plain-http", "--to-plain-http")


@pytest.fixture
def oras(clients: Clients, node: RunningNode) -> Clients:
    clients.login("oras", node, "login", HTTP)
    (clients.home / "notes.txt").write_text("what is new\n" * 1000)
    (clients.home / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
    (clients.home / "scan.json").write_text('{"findings": []}')
    return clients


def pushed(oras: Clients, node: RunningNode, name: str) -> str:
    """An artifact with one file; its reference without a tag."""
    remote = f"{node.host}/oras/{name}"
    oras.run("oras", "push", HTTP, "--artifact-type", "application/notes", f"{remote}:1.0", "notes.txt:text/plain")
    return remote


def attach(oras: Clients, remote: str, kind: str, *flags: str) -> None:
    to = ("--artifact-type", f"application/{kind}", f"{remote}:1.0")
    oras.run("oras", "attach", HTTP, *flags, *to, f"{kind}.json:application/json")


def attached(oras: Clients, remote: str, *flags: str) -> list[str]:
    found: dict[str, Any] = json.loads(oras.run("oras", "discover", HTTP, *flags, "--format", "json", f"{remote}:1.0"))
    return sorted(each["artifactType"] for each in found.get("referrers") or found.get("manifests") or ())


def test_an_artifact_goes_in_and_comes_back(node: RunningNode, oras: Clients, tmp_path: Path, seen: Journal) -> None:
    remote = pushed(oras, node, "notes")
    seen.assert_signed_in("dev")
    oras.run("oras", "pull", HTTP, "-o", str(tmp_path / "out"), f"{remote}:1.0")
    assert (tmp_path / "out" / "notes.txt").read_text() == (oras.home / "notes.txt").read_text()
    oras.run("oras", "tag", HTTP, f"{remote}:1.0", "latest", "stable")
    assert oras.run("oras", "repo", "tags", HTTP, remote).split() == ["1.0", "latest", "stable"]
    assert "oras/notes" in oras.run("oras", "repo", "ls", HTTP, node.host).split()
    assert oras.run("oras", "resolve", HTTP, f"{remote}:stable").strip() == digest_at(node, "oras/notes", "1.0")


def test_what_is_attached_is_found_by_its_type_and_copied_along(
    node: RunningNode, oras: Clients, seen: Journal
) -> None:
    remote = pushed(oras, node, "subject")
    for kind in ("sbom", "scan"):
        attach(oras, remote, kind)
    assert attached(oras, remote) == ["application/sbom", "application/scan"]
    assert attached(oras, remote, "--artifact-type", "application/sbom") == ["application/sbom"]
    assert seen.count("GET", "^/v2/oras/subject/referrers/sha256:", 200) >= 2
    oras.run("oras", "copy", "--recursive", *BOTH, f"{remote}:1.0", f"{node.host}/oras/copy:1.0")
    assert digest_at(node, "oras/copy", "1.0") == digest_at(node, "oras/subject", "1.0")
    assert attached(oras, f"{node.host}/oras/copy") == ["application/sbom", "application/scan"]
    assert tags_at(node, "oras/copy") == ["1.0"], "referrers need no tags of their own here"


def test_the_fallback_tag_of_older_clients_agrees_with_the_referrers_api(node: RunningNode, oras: Clients) -> None:
    remote, by_tag = pushed(oras, node, "fallback"), ("--distribution-spec", "v1.1-referrers-tag")
    attach(oras, remote, "sbom", *by_tag)
    assert f"sha256-{digest_at(node, 'oras/fallback', '1.0')[7:]}" in tags_at(node, "oras/fallback")
    assert attached(oras, remote, *by_tag) == ["application/sbom"]
    assert attached(oras, remote, "--distribution-spec", "v1.1-referrers-api") == ["application/sbom"]


def test_manifests_and_blobs_one_by_one(node: RunningNode, oras: Clients, tmp_path: Path) -> None:
    remote = pushed(oras, node, "pieces")
    described = json.loads(oras.run("oras", "manifest", "fetch", HTTP, "--descriptor", f"{remote}:1.0"))
    assert described["digest"] == digest_at(node, "oras/pieces", "1.0")
    body = json.loads(oras.run("oras", "manifest", "fetch", HTTP, f"{remote}:1.0"))
    blob = f"{remote}@{body['layers'][0]['digest']}"
    oras.run("oras", "blob", "fetch", HTTP, "--output", str(tmp_path / "blob"), blob)
    assert (tmp_path / "blob").read_bytes() == (oras.home / "notes.txt").read_bytes()
    spare = json.loads(oras.run("oras", "blob", "push", HTTP, "--descriptor", remote, "scan.json"))
    oras.run("oras", "blob", "delete", HTTP, "--force", f"{remote}@{spare['digest']}")
    gone = oras.attempt("oras", "blob", "fetch", HTTP, "--descriptor", f"{remote}@{spare['digest']}")
    assert gone.returncode != 0
    assert "not found" in gone.stderr


def test_an_index_of_platforms(node: RunningNode, oras: Clients, layout: Layout) -> None:
    source = oras.publish(layout, node, "oras/platforms:1.0")
    chosen = json.loads(
        oras.run("oras", "manifest", "fetch", HTTP, "--platform", "linux/arm64", "--descriptor", source)
    )
    assert chosen["digest"] == layout.manifests[1]
    oras.run("oras", "manifest", "index", "create", HTTP, f"{node.host}/oras/platforms:2.0", *layout.manifests)
    with node.client() as client:
        listed = client.get("/v2/oras/platforms/manifests/2.0").json()["manifests"]
    assert [each["digest"] for each in listed] == layout.manifests


def test_a_deleted_subject_takes_its_tags(node: RunningNode, oras: Clients) -> None:
    remote = pushed(oras, node, "gone")
    digest = digest_at(node, "oras/gone", "1.0")
    oras.run("oras", "manifest", "delete", HTTP, "--force", f"{remote}@{digest}")
    assert tags_at(node, "oras/gone") == []
    assert oras.attempt("oras", "pull", HTTP, f"{remote}:1.0").returncode != 0
