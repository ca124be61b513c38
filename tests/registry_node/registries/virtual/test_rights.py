"""The grants and the write policy of a member hold for whoever asks the virtual."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from identity.grants import Action, Grant, WritePolicy
from oci_wire.digest import Digest
from oci_wire.errors import BlobUploadUnknown, Denied, ManifestUnknown, NameUnknown
from oci_wire.registry import Call
from registry_node.access import Challenged
from registry_node.registries.virtual.sessions import load_or_create_key
from tests.contract.content import image, index, push, push_blob
from tests.registry_node.registries.virtual.conftest import Members

ROBOT = Call("ci", groups=frozenset({"builders"}), robot=True)
PERSON = Call("dev")


def grant(to: str, *allow: Action, repositories: tuple[str, ...] = ("**",), tags: tuple[str, ...] = ("**",)) -> Grant:
    return Grant(to, frozenset(allow), repositories, tags)


async def test_a_member_that_the_caller_may_not_read_is_as_if_absent() -> None:
    members = Members("secret", "open")
    await push(members["secret"], "apps/api", b"secret", tags=["1.0"])
    pushed = await push(members["open"], "apps/api", b"open", tags=["1.0"])
    await push(members["secret"], "apps/hidden", b"hidden", tags=["1.0"])
    virtual = members.virtual(grants={"secret": (grant("builders", Action.PULL),)}, unmatched="members")
    members.forget()
    assert (await virtual.resolve(PERSON, "apps/api", "1.0")).digest == pushed.digest
    assert (await virtual.resolve(ROBOT, "apps/api", "1.0")).digest != pushed.digest
    words = set()
    for repository in ("apps/hidden", "apps/nothing"):
        with pytest.raises(NameUnknown) as caught:
            await virtual.resolve(PERSON, repository, "1.0")
        words.add(caught.value.message.replace(repository, "it"))
    assert len(words) == 1, "absent and forbidden look alike"
    assert (await virtual.repositories(PERSON)).items == ("apps/api",)
    assert (await virtual.repositories(ROBOT)).items == ("apps/api", "apps/hidden")
    told = await virtual.why(PERSON, "apps/api", "1.0")
    assert [(each.member, each.outcome) for each in told.asked] == [("secret", "forbidden"), ("open", "answered")]


async def test_a_grant_for_some_tags_is_one_for_what_they_reach() -> None:
    members = Members("box")
    child = await push(members["box"], "apps/api", b"layer")
    await members["box"].inner.put_manifest(PERSON, "apps/api", index(child.descriptor), tags=["1.0"])
    other = await push(members["box"], "apps/api", b"unreached", tags=["dev"])
    virtual = members.virtual(grants={"box": (grant("dev", Action.PULL, tags=("1.*",)),)}, unmatched="members")
    assert (await virtual.get_manifest(PERSON, "apps/api", str(child.digest))).digest == child.digest
    assert (await virtual.stat_blob(PERSON, "apps/api", Digest.of(b"layer"))).size == 5
    assert (await virtual.tags(PERSON, "apps/api")).items == ("1.0",)
    for reference in ("dev", str(other.digest)):
        with pytest.raises((NameUnknown, ManifestUnknown)):
            await virtual.resolve(PERSON, "apps/api", reference)


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        (WritePolicy.OPEN, {"ci", "dev"}),
        (WritePolicy.ROBOTS, {"ci"}),
        (WritePolicy.PROMOTION_ONLY, {"engine"}),
        (WritePolicy.REPLICATION_ONLY, {"engine"}),
        (WritePolicy.READ_ONLY, set()),
    ],
)
async def test_the_write_policy_of_the_member_holds_for_the_caller(policy: WritePolicy, allowed: set[str]) -> None:
    members = Members("box")
    grants = (
        grant("ci", Action.PULL, Action.PUSH),
        grant("dev", Action.PULL, Action.PUSH),
        grant("engine", Action.PULL, Action.PROMOTE),
    )
    virtual = members.virtual(grants={"box": grants}, write={"box": policy}, unmatched="members", push_to="box")
    for name in ("ci", "dev", "engine", ""):
        call = Call(name, robot=name in ("ci", "engine"))
        if name in allowed:
            await virtual.start_upload(call, "apps/api")
            continue
        with pytest.raises(Denied):
            await virtual.start_upload(call, "apps/api")
        with pytest.raises(Denied):
            await virtual.put_manifest(call, "apps/api", image(), tags=["1.0"])
        assert members["box"].asked == [] or allowed


async def test_a_deletion_needs_the_grant_at_the_member() -> None:
    members = Members("box")
    await push(members["box"], "apps/api", b"layer", tags=["1.0"])
    grants = (grant("dev", Action.PULL, Action.PUSH), grant("ci", Action.DELETE))
    virtual = members.virtual(grants={"box": grants}, unmatched="members", push_to="box")
    with pytest.raises(Denied):
        await virtual.delete_tag(PERSON, "apps/api", "1.0")
    await virtual.delete_tag(ROBOT, "apps/api", "1.0")
    with pytest.raises(ManifestUnknown):
        await virtual.resolve(PERSON, "apps/api", "1.0")


async def test_a_mount_takes_the_right_to_pull_its_source_there() -> None:
    members = Members("box", "other")
    for name in members.of:
        await push_blob(members[name], "apps/source", b"layer")  # type: ignore[arg-type]
        await push_blob(members[name], "public/source", b"layer")  # type: ignore[arg-type]
    grants = (grant("dev", Action.PUSH), grant("dev", Action.PULL, repositories=("public/**",)))
    virtual = members.virtual(
        grants={"box": grants, "other": grants},
        owns=[{"repositories": "public/elsewhere", "members": ["other"]}],
        unmatched="members",
        push_to="box",
    )
    layer = Digest.of(b"layer")
    assert not await virtual.mount_blob(PERSON, "apps/mine", layer, "apps/source")
    assert not await virtual.mount_blob(PERSON, "apps/mine", layer, "public/elsewhere")
    assert not await virtual.mount_blob(PERSON, "apps/mine", layer, None)
    assert await virtual.mount_blob(PERSON, "apps/mine", layer, "public/source")


async def test_a_session_is_of_one_caller_and_one_repository(tmp_path: Path) -> None:
    members = Members("box")
    virtual = members.virtual(unmatched="members", push_to="box")
    upload = await virtual.start_upload(PERSON, "apps/api")
    assert (await virtual.upload_status(PERSON, "apps/api", upload.id)).offset == 0
    tries: list[tuple[Call, str, str]] = [
        (ROBOT, "apps/api", upload.id),
        (PERSON, "apps/other", upload.id),
        (PERSON, "apps/api", upload.id[:-2]),
        (PERSON, "apps/api", "A" + upload.id[1:]),
        (PERSON, "apps/api", "é"),
        (PERSON, "apps/api", ""),
    ]
    for call, repository, session in tries:
        with pytest.raises(BlobUploadUnknown):
            await virtual.upload_status(call, repository, session)
    path = tmp_path / "keys" / "uploads.key"
    key = load_or_create_key(path)
    assert (load_or_create_key(path), path.stat().st_mode & 0o777) == (key, 0o600)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="no key"):
        load_or_create_key(path)


async def test_a_push_that_nobody_would_see_is_refused() -> None:
    members = Members("first", "second")
    there = await push(members["first"], "apps/api", b"theirs", tags=["1.0"])
    virtual = members.virtual(unmatched="members", push_to="second")
    for content in (b"{}", b"ours"):
        await push_blob(virtual, "apps/api", content)  # type: ignore[arg-type]
    with pytest.raises(Denied, match="another image at member first"):
        await virtual.put_manifest(PERSON, "apps/api", image(b"ours"), tags=["1.0"])
    ours = await virtual.put_manifest(PERSON, "apps/api", image(b"ours"), tags=["2.0"])
    assert (await virtual.resolve(PERSON, "apps/api", "2.0")).digest == ours.digest
    newest: Any = members.virtual(unmatched="members", push_to="second", resolve="newest")
    assert (await newest.resolve(PERSON, "apps/api", "1.0")).digest == there.digest
    await newest.put_manifest(PERSON, "apps/api", image(b"ours"), tags=["1.0"])
    assert (await newest.resolve(PERSON, "apps/api", "1.0")).digest == ours.digest
    assert (await virtual.resolve(PERSON, "apps/api", "1.0")).digest == there.digest


async def test_whoever_has_not_said_who_they_are_is_asked() -> None:
    """Some clients (containerd, BuildKit) sign in only when a 401 asks them to: a 404 would be the end."""
    members = Members("ours", "open")
    await push(members["ours"], "apps/api", b"layer", tags=["1.0"])
    nobody = Call("")
    virtual = members.virtual(unmatched="members", grants={"ours": (grant("dev", Action.PULL),)})
    for ask in (virtual.resolve, virtual.get_manifest, virtual.why):
        for reference in ("1.0", "none"):
            with pytest.raises(Challenged) as caught:
                await ask(nobody, "apps/api", reference)
            assert caught.value.scope == "repository:apps/api:pull"
    with pytest.raises(Challenged):
        await virtual.tags(nobody, "apps/api")
    assert (await virtual.resolve(PERSON, "apps/api", "1.0")).size
