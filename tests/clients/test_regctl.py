"""regctl copies, changes and asks after images, tag by tag and blob by blob."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.clients.images import Layout
from tests.clients.journal import Journal
from tests.clients.programs import Clients, digest_at, tags_at
from tests.nodes import SECRETS, RunningNode

pytestmark = [pytest.mark.clients, pytest.mark.slow]


@pytest.fixture
def regctl(clients: Clients, node: RunningNode) -> Clients:
    clients.run("regctl", "registry", "set", "--tls", "disabled", node.host)
    clients.run("regctl", "registry", "login", "-u", "dev", "--pass-stdin", node.host, stdin=SECRETS["dev"])
    return clients


def put(regctl: Clients, layout: Layout, node: RunningNode, name: str) -> str:
    reference = f"{node.host}/{name}"
    regctl.run("regctl", "image", "copy", f"ocidir://{layout.folder}:1.0", reference)
    return reference


def test_images_are_copied_in_within_and_out(
    node: RunningNode, regctl: Clients, layout: Layout, tmp_path: Path, seen: Journal
) -> None:
    source = put(regctl, layout, node, "regctl/api:1.0")
    seen.assert_signed_in("dev")
    assert regctl.run("regctl", "image", "digest", source).strip() == layout.index
    seen.turn_page()
    regctl.run("regctl", "image", "copy", source, f"{node.host}/regctl/copy:1.0")
    assert digest_at(node, "regctl/copy", "1.0") == layout.index
    assert seen.count("POST", "^/v2/regctl/copy/blobs/uploads/$", 201) == 8, "mounted"
    regctl.run("regctl", "image", "copy", source, f"ocidir://{tmp_path / 'back'}:1.0")
    for blob in (layout.folder / "blobs" / "sha256").iterdir():
        assert (tmp_path / "back" / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()
    regctl.run("regctl", "image", "export", source, str(tmp_path / "image.tar"))
    regctl.run("regctl", "image", "import", f"{node.host}/regctl/imported:1.0", str(tmp_path / "image.tar"))
    assert digest_at(node, "regctl/imported", "1.0") == layout.index


def test_an_image_is_changed_in_place(node: RunningNode, regctl: Clients, layout: Layout) -> None:
    source = put(regctl, layout, node, "regctl/mod:1.0")
    target = f"{node.host}/regctl/mod:2.0"
    regctl.run(
        "regctl", "image", "mod", "--create", target, "--annotation", "org.example.team=tests",
        "--label-to-annotation", source,
    )  # fmt: skip
    regctl.run("regctl", "image", "mod", "--create", f"{node.host}/regctl/mod:docker", "--to-docker", source)
    with node.client() as client:
        changed, docker = (client.get(f"/v2/regctl/mod/manifests/{tag}") for tag in ("2.0", "docker"))
    assert changed.json()["annotations"]["org.example.team"] == "tests"
    assert docker.headers["content-type"] == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert tags_at(node, "regctl/mod") == ["1.0", "2.0", "docker"]


def test_tags_are_listed_and_deleted_one_at_a_time(
    node: RunningNode, regctl: Clients, layout: Layout, seen: Journal
) -> None:
    source = put(regctl, layout, node, "regctl/tags:1.0")
    regctl.run("regctl", "image", "copy", source, f"{node.host}/regctl/tags:1.1")
    remote = f"{node.host}/regctl/tags"
    assert regctl.run("regctl", "tag", "ls", remote).split() == ["1.0", "1.1"]
    assert regctl.run("regctl", "tag", "ls", "--include", ".*1", remote).split() == ["1.1"]
    regctl.run("regctl", "tag", "delete", f"{remote}:1.1")
    assert seen.count("DELETE", "^/v2/regctl/tags/manifests/1.1$", 202) == 1, "by the API, not by a decoy image"
    assert tags_at(node, "regctl/tags") == ["1.0"]
    assert "regctl/tags" in regctl.run("regctl", "repo", "ls", node.host).split()
    regctl.run("regctl", "manifest", "delete", "--force-tag-dereference", source)
    assert tags_at(node, "regctl/tags") == []


def test_artifacts_and_their_subjects(node: RunningNode, regctl: Clients, layout: Layout, seen: Journal) -> None:
    source = put(regctl, layout, node, "regctl/subject:1.0")
    for kind in ("sbom", "scan"):
        regctl.run(
            "regctl", "artifact", "put", "--artifact-type", f"application/{kind}", "--subject", source,
            stdin=f'{{"kind": "{kind}"}}',
        )  # fmt: skip
    only = ("--filter-artifact-type", "application/sbom")
    listed = json.loads(regctl.run("regctl", "artifact", "list", *only, "--format", "{{json .}}", source))
    assert [each["artifactType"] for each in listed["descriptors"]] == ["application/sbom"]
    assert json.loads(regctl.run("regctl", "artifact", "get", "--subject", source, *only)) == {"kind": "sbom"}
    regctl.run("regctl", "image", "copy", "--referrers", source, f"{node.host}/regctl/far:1.0")
    with node.client() as client:
        answer = client.get(f"/v2/regctl/far/referrers/{layout.index}", params={"artifactType": "application/scan"})
    assert [each["artifactType"] for each in answer.json()["manifests"]] == ["application/scan"]
    assert answer.headers["oci-filters-applied"] == "artifactType"
    assert tags_at(node, "regctl/far") == ["1.0"], "referrers need no fallback tag here"


def test_blobs_one_by_one(node: RunningNode, regctl: Clients) -> None:
    remote = f"{node.host}/regctl/blobs"
    digest = regctl.run("regctl", "blob", "put", remote, stdin="some data\n").strip()
    assert regctl.run("regctl", "blob", "get", remote, digest) == "some data\n"
    assert "10" in regctl.run("regctl", "blob", "head", remote, digest)
    regctl.run("regctl", "blob", "copy", remote, f"{node.host}/regctl/other", digest)
    regctl.run("regctl", "blob", "delete", remote, digest)
    assert regctl.attempt("regctl", "blob", "get", remote, digest).returncode != 0
    assert regctl.run("regctl", "blob", "get", f"{node.host}/regctl/other", digest) == "some data\n"
