"""What may stand in a manifest, and that it is kept as it was sent."""

from __future__ import annotations

import base64
import json

import pytest

from tests.protocol.target import (
    CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Target,
    descriptor,
    digest_of,
    image,
    index,
    noise,
    refused,
)

FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
)
EMPTY = "application/vnd.oci.empty.v1+json"


def kept(target: Target, repository: str, content: bytes, media_type: str = OCI_MANIFEST) -> None:
    """Taken by tag and by digest, and served as it was sent."""
    for reference in ("kept", digest_of(content)):
        assert target.put(repository, reference, content, media_type).status_code == 201
        answer = target.get(repository, reference, accept=media_type)
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, content, media_type)


def not_taken(target: Target, repository: str, content: bytes, media_type: str) -> None:
    """MANIFEST_INVALID, and nothing of it is there."""
    refused(target.put(repository, "refused", content, media_type), 400, "MANIFEST_INVALID")
    assert target.status(repository, "refused") == target.status(repository, digest_of(content)) == 404


@pytest.mark.protocol("manifests.unknown-fields")
def test_unknown_fields(target: Target) -> None:
    repository = target.repository()
    child = target.image(repository, "1.0")
    more = {"org.example": {"deep": [1, None, 1.50, "é"]}, "zzz": True}
    body = json.loads(child.content)
    body["layers"][0]["extra"] = more
    kept(target, repository, json.dumps({**body, **more}).encode())
    kept(target, repository, index(child, **more), OCI_INDEX)


@pytest.mark.protocol("manifests.whitespace")
def test_whitespace(target: Target) -> None:
    repository = target.repository()
    body = json.loads(target.image(repository, "1.0").content)
    backwards = dict(reversed(body.items()))
    for content in (
        json.dumps(backwards, indent=7).encode() + b"\n\n \t",
        b" \n" + json.dumps(body, separators=(" , ", "\t:\r\n")).encode(),
        json.dumps(body).replace("/", "\\/").encode(),
    ):
        kept(target, repository, content)


@pytest.mark.protocol("manifests.index")
def test_index(target: Target) -> None:
    repository = target.repository()
    children = [target.image(repository) for _ in range(2)]
    platforms = [{"os": "linux", "architecture": each} for each in ("amd64", "arm64")]
    manifests = [each.descriptor(platform=platform) for each, platform in zip(children, platforms, strict=True)]
    kept(target, repository, index(manifests=manifests), OCI_INDEX)


@pytest.mark.protocol("manifests.nested-index")
def test_nested_index(target: Target) -> None:
    repository = target.repository()
    inner = target.pushed(repository, "", index(target.image(repository)), OCI_INDEX)
    kept(target, repository, index(inner, target.image(repository)), OCI_INDEX)


@pytest.mark.protocol("manifests.sparse-index")
def test_sparse_index(target: Target) -> None:
    repository = target.repository()
    there = target.image(repository)
    absent = descriptor(noise(), OCI_MANIFEST)
    kept(target, repository, index(manifests=[there.descriptor(), absent]), OCI_INDEX)
    assert target.status(repository, absent["digest"]) == 404


@pytest.mark.protocol("manifests.no-layers")
def test_no_layers(target: Target) -> None:
    repository = target.repository()
    target.blob(repository, b"{}")
    kept(target, repository, image())


@pytest.mark.protocol("manifests.artifact")
def test_artifact(target: Target) -> None:
    repository, content = target.repository(), noise()
    for each in (b"{}", content):
        target.blob(repository, each)
    layers = [descriptor(content, "application/vnd.example.thing", annotations={"title": "thing"})]
    fields = {"config": descriptor(b"{}", EMPTY), "artifactType": "application/vnd.example", "layers": layers}
    kept(target, repository, image(**fields))


@pytest.mark.protocol("manifests.data-field")
def test_data_field(target: Target) -> None:
    repository, content = target.repository(), noise()
    for each in (b"{}", content):
        target.blob(repository, each)
    data = base64.b64encode(content).decode()
    fields = {"layers": [descriptor(content, "application/vnd.example", data=data)]}
    kept(target, repository, image(config=b"{}", **fields))


@pytest.mark.protocol("manifests.foreign-layer")
def test_foreign_layer(target: Target) -> None:
    repository, there = target.repository(), noise()
    for each in (b"{}", there):
        target.blob(repository, each)
    for media_type in FOREIGN:
        foreign = descriptor(noise(), media_type, urls=["https://layers.example/base"])
        kept(target, repository, image(layers=[descriptor(there, "application/x"), foreign]))
        assert target.blob_status(repository, foreign["digest"]) == 404


@pytest.mark.protocol("manifests.docker-types")
def test_docker_types(target: Target) -> None:
    repository, layer = target.repository(), noise()
    for each in (b"{}", layer):
        target.blob(repository, each)
    fields = {
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor(b"{}", "application/vnd.docker.container.image.v1+json"),
        "layers": [descriptor(layer, "application/vnd.docker.image.rootfs.diff.tar.gzip")],
    }
    content = image(**fields)
    kept(target, repository, content, DOCKER_MANIFEST)
    platform = {"os": "linux", "architecture": "amd64"}
    listed = [{**descriptor(content, DOCKER_MANIFEST), "platform": platform}]
    kept(target, repository, index(mediaType=DOCKER_LIST, manifests=listed), DOCKER_LIST)


@pytest.mark.protocol("manifests.docker-schema-1")
def test_docker_schema_1(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    body = {"schemaVersion": 1, "name": repository, "tag": "1.0", "fsLayers": [], "history": [], "signatures": []}
    for kind in ("v1+json", "v1+prettyjws"):
        sent = json.dumps(body).encode()
        not_taken(target, repository, sent, f"application/vnd.docker.distribution.manifest.{kind}")


@pytest.mark.protocol("manifests.type-mismatch")
def test_type_mismatch(target: Target) -> None:
    repository = target.repository()
    child = target.image(repository, "1.0")
    not_taken(target, repository, image(mediaType=DOCKER_MANIFEST), OCI_MANIFEST)
    not_taken(target, repository, image(), DOCKER_MANIFEST)
    not_taken(target, repository, image(annotations={"not": "pushed"}), OCI_INDEX)
    not_taken(target, repository, index(child), OCI_MANIFEST)


@pytest.mark.attack("A-hybrid-manifest")
@pytest.mark.protocol("manifests.hybrid")
def test_hybrid(target: Target) -> None:
    repository = target.repository()
    child = target.image(repository, "1.0")
    listed, layers = [child.descriptor()], [descriptor(noise(), CONFIG)]
    for media_type in (OCI_MANIFEST, OCI_INDEX):
        for own in (media_type, None):
            mixed = {**json.loads(child.content), "manifests": listed, "mediaType": own}
            content = json.dumps({name: value for name, value in mixed.items() if value is not None}).encode()
            not_taken(target, repository, content, media_type)
    not_taken(target, repository, index(child, layers=layers), OCI_INDEX)
    twice = child.content.replace(b'"schemaVersion": 2', b'"mediaType": "x", "schemaVersion": 2', 1)
    not_taken(target, repository, twice, OCI_MANIFEST)


@pytest.mark.protocol("manifests.unknown-type")
def test_unknown_type(target: Target) -> None:
    repository = target.repository()
    target.image(repository, "1.0")
    for media_type in ("application/vnd.example.manifest", "text/plain", "application/json"):
        not_taken(target, repository, image(mediaType=media_type, annotations={"of": media_type}), media_type)
