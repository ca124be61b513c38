"""Views: what they refuse, what they let through, and that nothing of the port slips past them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

from identity.grants import WritePolicy
from oci_wire.digest import Digest
from oci_wire.errors import Denied, ManifestInvalid, ManifestUnknown, NameInvalid, TagInvalid
from oci_wire.extension import Extension, LeaseRequest
from oci_wire.manifest import Manifest
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import Call, Registry, once
from registry_node.registries.through import Through, Whole
from registry_node.registries.views import Naming, ReadOnly, over
from registry_node.settings import Rules
from tests.registry_node.images import descriptor
from tests.registry_node.pushes import CI, change, index_of, manifest_of, put_blob, put_image, set_tags, transaction

WRITES = {
    *("mount_blob", "put_blob", "start_upload", "append", "finish_upload", "put_manifest"),
    *("delete_tag", "delete_manifest", "delete_blob", "commit_tags"),
}


def config(**labels: str) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "config": {"Labels": labels}}).encode()


def under(**rules: Any) -> Whole:
    return over(MemoryRegistry(), Rules(**rules))


def test_a_view_knows_every_method_of_both_ports() -> None:
    for port in (Registry, Extension):
        for name, method in inspect.getmembers(port, inspect.isfunction):
            if not name.startswith("_"):
                assert inspect.signature(getattr(Through, name)) == inspect.signature(method), name


def test_without_rules_there_is_no_view() -> None:
    registry = MemoryRegistry()
    assert over(registry, Rules()) is registry


@pytest.mark.attack("A-redos")
async def test_names_must_match_as_a_whole() -> None:
    registry = under(repository_name=r"team-[a-z]+/[a-z]+", tag_name=r"v\d+|latest")
    await put_image(registry, "team-a/api", tags=["v1", "latest"])
    for name in ("team-a/api/x", "xteam-a/api", "team-a", "other/api"):
        with pytest.raises(NameInvalid, match="team-"):
            await put_blob(registry, name, b"{}")
        with pytest.raises(NameInvalid):
            await registry.start_upload(CI, name)
        with pytest.raises(NameInvalid):
            await registry.mount_blob(CI, name, Digest.of(b"{}"), "team-a/api")
        with pytest.raises(NameInvalid):
            await registry.put_manifest(CI, name, manifest_of())
    for tag in ("v1x", "xv1", "nightly", "sha256-abc"):
        with pytest.raises(TagInvalid, match="latest"):
            await registry.put_manifest(CI, "team-a/api", manifest_of(), tags=["v2", tag])
    assert (await registry.tags(CI, "team-a/api")).items == ("latest", "v1")


async def test_names_of_the_protocol_are_nobodys_choice() -> None:
    registry = under(tag_name="v1")
    image = await put_image(registry, "a", tags=["v1"])
    base = image.digest.fallback_tag
    await registry.put_manifest(CI, "a", image, tags=[base, f"{base}.sig", f"{base}.att", f"{base}.sbom"])
    with pytest.raises(TagInvalid):
        await registry.put_manifest(CI, "a", image, tags=[f"{base}.exe"])


async def test_a_tag_transaction_is_no_way_around_naming() -> None:
    inner = MemoryRegistry()
    registry = Naming(inner, None, r"v\d+")
    image = await put_image(inner, "a", tags=["old-name"])
    with pytest.raises(TagInvalid):
        await set_tags(registry, "a", change("nightly", None, image))
    await set_tags(registry, "a", change("v1", None, image), change("old-name", image, None))
    assert (await registry.tags(CI, "a")).items == ("v1",)


def test_an_expression_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"rules.tag_name: '\(' is not a regular expression"):
        under(tag_name="(")


async def test_images_without_the_labels_are_refused_and_told_which() -> None:
    registry = under(require_labels=("team", "source"))
    with pytest.raises(Denied, match="missing: source") as refused:
        await put_image(registry, "a", b"layer", config=config(team="payments", source=""), tags=["v1"])
    assert refused.value.detail == {"missing": ["source"]}
    with pytest.raises(ManifestUnknown):
        await registry.resolve(CI, "a", "v1")
    image = await put_image(registry, "a", b"layer", config=config(team="payments", source="git"), tags=["v1"])
    await registry.put_manifest(CI, "a", index_of(image), tags=["v2"])


async def test_artifacts_and_signatures_need_no_labels() -> None:
    registry = under(require_labels=("team",))
    await put_blob(registry, "a", b"{}")
    await put_blob(registry, "a", b"payload")
    empty = descriptor(b"{}", "application/vnd.oci.empty.v1+json")
    body = {**json.loads(manifest_of(b"payload").content), "config": empty, "artifactType": "application/x"}
    artifact = Manifest.parse(json.dumps(body).encode())
    await registry.put_manifest(CI, "a", artifact, tags=["sbom"])
    layers = [descriptor(b"payload", "application/vnd.dev.cosign.simplesigning.v1+json")]
    await registry.put_manifest(CI, "a", manifest_of(b"payload", layers=layers), tags=["signature"])


@pytest.mark.attack("A-fails-closed")
@pytest.mark.parametrize("content", [b"not json", b"[]", b'{"config": 5}', b'{"config": {"Labels": ["a"]}}'])
async def test_labels_that_cannot_be_read_are_missing(content: bytes) -> None:
    with pytest.raises((Denied, ManifestInvalid)):
        await put_image(under(require_labels=("team",)), "a", config=content)


async def test_a_huge_config_is_not_read() -> None:
    with pytest.raises(ManifestInvalid, match="cannot be read"):
        await put_image(under(require_labels=("team",)), "a", config=b" " * (1024 * 1024 + 1))


async def test_read_only_refuses_every_write_and_serves_every_read() -> None:
    inner = MemoryRegistry()
    image = await put_image(inner, "a", b"layer", tags=["v1"])
    registry = over(inner, Rules(write=WritePolicy.READ_ONLY))
    assert isinstance(registry, ReadOnly)
    digest = image.digest
    asked: dict[str, Callable[[], Any]] = {
        "mount_blob": lambda: registry.mount_blob(CI, "b", Digest.of(b"layer"), "a"),
        "put_blob": lambda: put_blob(registry, "a", b"x"),
        "start_upload": lambda: registry.start_upload(CI, "a"),
        "append": lambda: registry.append(CI, "a", "x", once(b"x")),
        "finish_upload": lambda: registry.finish_upload(CI, "a", "x", digest),
        "put_manifest": lambda: registry.put_manifest(CI, "a", image, tags=["v2"]),
        "delete_tag": lambda: registry.delete_tag(CI, "a", "v1"),
        "delete_manifest": lambda: registry.delete_manifest(CI, "a", digest),
        "delete_blob": lambda: registry.delete_blob(CI, "a", Digest.of(b"layer")),
        "commit_tags": lambda: set_tags(registry, "a", change("v1", image, None)),
    }
    assert set(asked) == WRITES
    for name, ask in asked.items():
        with pytest.raises(Denied, match="read-only"):
            await ask()
        assert name
    assert (await registry.get_manifest(CI, "a", "v1")).content == image.content
    assert (await registry.tags(CI, "a")).items == ("v1",)


async def test_a_view_passes_everything_else_on() -> None:
    inner = MemoryRegistry()
    registry = Through(inner)
    image = await put_image(registry, "a", b"layer", tags=["v1"])
    upload = await registry.start_upload(CI, "a")
    await registry.append(CI, "a", upload.id, once(b"x"))
    assert (await registry.upload_status(CI, "a", upload.id)).offset == 1
    await registry.cancel_upload(CI, "a", upload.id)
    assert await registry.mount_blob(CI, "b", Digest.of(b"layer"), "a")
    await registry.delete_blob(CI, "b", Digest.of(b"layer"))
    lease = await registry.take_lease(Call("x"), "a", LeaseRequest(holder="x", ttl=5))
    await registry.release_lease(CI, "a", lease.id, lease.token)
    wanted = await transaction(registry, "a", change("v2", None, image))
    receipt = await registry.commit_tags(CI, "a", "t", wanted)
    assert await registry.read_transaction(CI, "a", "t") == receipt
    assert (await registry.closure(CI, "a", image.digest)).complete
    assert [each.tag async for each in registry.events(CI)][-1] == "v2"
    await registry.delete_tag(CI, "a", "v2")
    await registry.delete_manifest(CI, "a", image.digest)
    assert (await registry.referrers(CI, "a", image.digest)).items == ()
    assert (await registry.repositories(CI)).items == ("a",)
    assert await registry.features(CI) == await inner.features(CI)
    states = await registry.tag_states(CI, "a")
    assert states is not None
    assert states.tags == ()
