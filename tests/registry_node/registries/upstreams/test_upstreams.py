"""What the upstreams of a mirror give, and what they are asked: against a Docker Hub of three hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestUnknown, NameUnknown, UpstreamFailed
from oci_wire.registry import ByteRange, Call
from tests.registry_node.registries.upstreams.conftest import Over, of_hub
from tests.upstreams.holdings import Holdings
from tests.upstreams.hub import FakeHub
from tests.upstreams.serving import Reply, Server, refusal

LAYER = os.urandom(300_000)
CALL = Call("tests")
NOWHERE = {"name": "nowhere", "url": "http://127.0.0.1:9"}


@pytest.fixture
def other() -> Iterator[tuple[Holdings, Server]]:
    """An honest registry without tokens."""
    holdings = Holdings()
    with Server(holdings.answer, "127.0.0.1") as server:
        yield holdings, server


async def test_a_plain_name_is_the_librarys_and_its_layers_come_from_the_storage(hub: FakeHub, over: Over) -> None:
    image = hub.image("alpine", LAYER)
    upstreams = over(of_hub(hub))
    named = await upstreams.resolve(CALL, "alpine", "latest")
    assert (named.upstream, str(named.value.digest)) == ("hub", image.digest)
    manifest = (await upstreams.get_manifest(CALL, "alpine", image.digest)).value
    assert manifest.content == image.content
    layer = Digest.of(LAYER)
    blob = await upstreams.open_blob(CALL, "library/alpine", layer, prefer="hub")
    assert await blob.value.read() == LAYER
    part = await upstreams.open_blob(CALL, "alpine", layer, ByteRange(1000, 2000))
    assert await part.value.read() == LAYER[1000:2000]
    assert all("authorization" not in request.headers for request in hub.storage.seen)


async def test_a_tag_that_is_known_is_asked_for_under_a_condition(hub: FakeHub, over: Over) -> None:
    old = hub.image("alpine", LAYER)
    upstreams = over(of_hub(hub))
    known = (await upstreams.resolve(CALL, "alpine", "latest")).value
    assert (await upstreams.resolve(CALL, "alpine", "latest", known=known)).value == known
    asked = [each for each in hub.registry.seen if each.method == "HEAD" and "authorization" in each.headers]
    assert [each.headers.get("if-none-match") for each in asked] == [None, f'"{old.digest}"']
    new = hub.image("alpine", LAYER, b"more")
    assert str((await upstreams.resolve(CALL, "alpine", "latest", known=known)).value.digest) == new.digest


async def test_what_is_not_there_is_not_there(hub: FakeHub, over: Over) -> None:
    hub.image("alpine", LAYER)
    upstreams = over(of_hub(hub))
    with pytest.raises(ManifestUnknown):
        await upstreams.resolve(CALL, "absent", "latest")
    with pytest.raises(ManifestUnknown):
        await upstreams.get_manifest(CALL, "alpine", "no-such-tag")
    with pytest.raises(BlobUnknown):
        await upstreams.open_blob(CALL, "alpine", Digest.of(b"nobody's"))
    assert upstreams.status()[0].circuit == "closed"


async def test_credentials_go_to_the_declared_realm(hub: FakeHub, over: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.image("alpine", LAYER)
    monkeypatch.setenv("HUB", "ana:secret")
    upstreams = over(of_hub(hub, credentials={"env": "HUB"}))
    await upstreams.get_manifest(CALL, "alpine", "latest")
    assert hub.spent["ana"] == 1
    assert all("ana" not in str(request.headers) for request in (*hub.registry.seen, *hub.storage.seen))


async def test_credentials_do_not_go_to_a_realm_that_the_registry_made_up(
    hub: FakeHub, over: Over, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2020-15157, CVE-2026-33540."""
    hub.image("alpine", LAYER)
    monkeypatch.setenv("HUB", "ana:secret")
    upstreams = over(of_hub(hub, credentials={"env": "HUB"}, realms=[]))
    with pytest.raises(UpstreamFailed) as failed:
        await upstreams.get_manifest(CALL, "alpine", "latest")
    assert (failed.value.status, failed.value.reason) == (502, "realm")
    assert hub.tokens.seen == []


async def test_an_upstream_that_is_away_is_no_404(hub: FakeHub, over: Over) -> None:
    upstreams = over(of_hub(hub))
    hub.stop()
    with pytest.raises(UpstreamFailed) as failed:
        await upstreams.resolve(CALL, "alpine", "latest")
    assert (failed.value.status, failed.value.reason, failed.value.upstream) == (503, "down", "hub")
    assert hub.registry.host not in failed.value.message


@pytest.mark.attack("A-outage-absent")
async def test_a_tag_is_not_asked_of_the_next_one_when_the_first_is_away(
    over: Over, other: tuple[Holdings, Server]
) -> None:
    """Dependency confusion: whoever stops the first must not have their image taken from the second."""
    holdings, server = other
    image = holdings.image("team/app", LAYER, tags=("1",))
    second = {"name": "second", "url": server.url}
    strict = over(NOWHERE, second)
    with pytest.raises(UpstreamFailed):
        await strict.resolve(CALL, "team/app", "1")
    assert server.seen == []
    assert (await strict.resolve(CALL, "team/app", image.digest)).upstream == "second"
    lenient = over(NOWHERE, second, on_outage="next")
    assert (await lenient.get_manifest(CALL, "team/app", "1")).upstream == "second"


@pytest.mark.attack("A-outage-absent")
async def test_nobody_has_it_and_one_could_not_say(over: Over, other: tuple[Holdings, Server]) -> None:
    upstreams = over({"name": "second", "url": other[1].url}, NOWHERE)
    with pytest.raises(UpstreamFailed):
        await upstreams.open_blob(CALL, "team/app", Digest.of(LAYER))


async def test_lists(over: Over, other: tuple[Holdings, Server]) -> None:
    holdings, server = other
    image = holdings.image("team/app", LAYER, tags=("1", "2", "3"))
    holdings.image("secret/app", LAYER, tags=("1",))
    subject = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.digest, "size": 1}
    about = holdings.image("team/app", b"signature", subject=subject, artifactType="application/x.sig")
    upstreams = over({"name": "one", "url": server.url, "deny": ["secret/**"]})
    page = (await upstreams.tags(CALL, "team/app", limit=2)).value
    assert (page.items, page.next) == (("1", "2"), "2")
    assert (await upstreams.tags(CALL, "team/app", after="2")).value.items == ("3",)
    found = await upstreams.referrers(CALL, "team/app", Digest.parse(image.digest))
    assert [str(each.digest) for each in found.value.items] == [about.digest]
    assert (await upstreams.referrers(CALL, "team/app", Digest.of(b"none"))).value.items == ()
    assert (await upstreams.repositories(CALL)).value.items == ("team/app",)
    with pytest.raises(NameUnknown):
        await upstreams.tags(CALL, "secret/app")


async def test_failures_in_a_row_open_the_circuit_and_absences_do_not(over: Over) -> None:
    broken = True

    def answer(_request: object) -> Reply:
        return refusal(500, "UNKNOWN") if broken else refusal(404, "MANIFEST_UNKNOWN")

    with Server(answer, "127.0.0.1") as server:
        upstreams = over({"name": "one", "url": server.url})
        for _ in range(10):
            with pytest.raises(UpstreamFailed):
                await upstreams.resolve(CALL, "team/app", "1")
        assert len(server.seen) == 5
        status = upstreams.status()[0]
        assert (status.circuit, status.last_error, status.retry_in > 0) == ("open", "failing", True)
        broken = False
        others = over({"name": "one", "url": server.url})
        for _ in range(10):
            with pytest.raises(ManifestUnknown):
                await others.resolve(CALL, "team/app", "1")
        assert others.status()[0].circuit == "closed"


async def test_a_wrong_login_is_no_absence(hub: FakeHub, over: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker Hub says 401 of what does not exist; its token service says it of a password that does not hold."""
    monkeypatch.setattr("registry_node.registries.upstreams.guarded.is_docker_hub", lambda _: True)
    monkeypatch.setenv("HUB", "ana:expired")
    hub.image("alpine", LAYER)
    upstreams = over(of_hub(hub, credentials={"env": "HUB"}))
    with pytest.raises(UpstreamFailed) as caught:
        await upstreams.resolve(CALL, "alpine", "latest")
    assert (caught.value.reason, caught.value.status) == ("refused", 502)
    monkeypatch.setenv("HUB", "ana:secret")
    with pytest.raises(ManifestUnknown):
        await upstreams.resolve(CALL, "absent", "latest")
