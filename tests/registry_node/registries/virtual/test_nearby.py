"""Members of this host are read by their files: the same answers at once, also while their process is down."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from identity.grants import Action, Grant
from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.registries.local import LocalRegistry
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.failed import MemberFailed
from registry_node.registries.virtual.nearby import Nearby
from registry_node.registries.virtual.rights import Rights
from registry_node.registries.virtual.short_way import MembersPrompt
from registry_node.registries.virtual.virtual import VirtualRegistry
from registry_node.settings import NodeSettings
from registry_node.settings.virtual import Virtual
from tests.contract.content import push
from tests.nodes import GRANTS, users
from tests.registry_node.conftest import asking
from tests.registry_node.registries.virtual.conftest import ALL, DEV, Make, Watched, member_of
from tests.registry_node.registries.virtual.test_over_http import push as push_over_http

APPS = (Grant("everyone", frozenset({Action.PULL}), ("apps/**",)),)


class Place:
    """Local registries in folders, and a virtual that reads them there; ``over_http`` counts what else they are asked."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder, self.names = folder, names
        self.local = {name: LocalRegistry.open(folder / name) for name in names}
        self.over_http = {name: Watched(self.local[name]) for name in names}

    def close(self) -> None:
        for each in self.local.values():
            each.close()

    def virtual(
        self,
        grants: dict[str, tuple[Grant, ...]] | None = None,
        stands_for: dict[str, list[str]] | None = None,
        **settings: Any,
    ) -> VirtualRegistry:
        plain, hosts = {"kind": "local", "url": "http://127.0.0.1:1"}, stands_for or {}
        declared = [{**plain, "name": name, "hosts": hosts.get(name, [])} for name in self.names]
        virtual = Virtual.model_validate({"members": declared, "unmatched": "members", **settings})
        return VirtualRegistry(
            virtual, [self._door(name, (grants or {}).get(name, ALL)) for name in self.names], node="v"
        )

    def _door(self, name: str, grants: tuple[Grant, ...]) -> Door:
        nearby = Nearby(self.over_http[name], name, self.folder / name)  # type: ignore[arg-type]
        return Door(name, "local", nearby, Rights(name, lambda: grants))  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path) -> Any:
    with contextlib.closing(Place(tmp_path, "one", "two")) as opened:
        yield opened


async def test_reads_ask_no_process(place: Place) -> None:
    pushed = await push(place.local["two"], "apps/api", b"layer", tags=["1.0"])
    virtual = place.virtual()
    assert (await virtual.get_manifest(DEV, "apps/api", "1.0")).content == pushed.content
    stream = await virtual.open_blob(DEV, "apps/api", Digest.of(b"layer"))
    assert stream.path is not None, "a file of this host, for sendfile"
    assert await stream.read() == b"layer"
    told = await virtual.why(DEV, "apps/api", "1.0")
    assert (told.answered, told.pushed is not None) == ("two", True)
    with pytest.raises(ManifestUnknown):
        await virtual.resolve(DEV, "apps/api", "2.0")
    assert [each.asked for each in place.over_http.values()] == [[], []]
    again = await push(place.local["one"], "apps/api", b"another", tags=["1.0"])
    assert (await virtual.resolve(DEV, "apps/api", "1.0")).digest == again.digest


async def test_the_tag_that_was_set_last_among_folders(place: Place) -> None:
    virtual = place.virtual(resolve="newest")
    for name in ("one", "two", "one"):
        pushed = await push(place.local[name], "apps/api", name.encode() * 2, str(time.time()).encode(), tags=["1.0"])
        assert (await virtual.resolve(DEV, "apps/api", "1.0")).digest == pushed.digest


async def test_a_folder_that_is_gone_is_asked_over_http(place: Place) -> None:
    pushed = await push(place.local["one"], "apps/api", b"layer", tags=["1.0"])
    virtual = place.virtual()
    assert (await virtual.resolve(DEV, "apps/api", "1.0")).digest == pushed.digest
    (place.folder / "one").rename(place.folder / "moved")
    place.over_http["one"].down()
    await asyncio.sleep(0.01)  # a folder is looked at every two milliseconds
    with pytest.raises(MemberFailed):
        await virtual.resolve(DEV, "apps/api", "1.0")
    assert place.over_http["one"].asked != []


def _settings(folder: Path) -> NodeSettings:
    member = {"name": "one", "kind": "local", "url": "http://127.0.0.1:1"}
    return NodeSettings.model_validate(
        {"node": "v", "scope": "v", "kind": "virtual", "listen": {"port": 0}, "data": folder / "v"}
        | {"users": users(), "grants": GRANTS, "virtual": {"members": [member]}}
    )


@pytest.mark.parametrize("resolve", ["order", "newest"])
async def test_the_short_way_says_what_the_long_way_says(place: Place, tmp_path: Path, resolve: str) -> None:
    await push(place.local["one"], "apps/api", b"old", tags=["1.0", "only"])
    await push(place.local["two"], "apps/api", b"new", tags=["1.0", "late"])
    await push(place.local["two"], "hidden/api", b"hidden", tags=["1.0"])
    virtual = place.virtual(grants={"two": APPS}, resolve=resolve)
    app = build.app_of(_settings(tmp_path), virtual, log=False)
    prompt = MembersPrompt(virtual, app.access, app.records)
    paths = [f"apps/api/manifests/{tag}" for tag in ("1.0", "only", "late", "none")]
    paths += [
        f"{name}/blobs/{Digest.of(content)}" for name in ("apps/api", "hidden/api") for content in (b"old", b"hidden")
    ]
    paths += ["hidden/api/manifests/1.0", "apps/none/manifests/1.0"]
    async with asking(app, ("reader", "correct-horse-battery")) as http:
        await http.get("/v2/")  # so that the password is known
        for path in paths:
            app.prompt = None
            long = await http.get(f"/v2/{path}")
            app.prompt = prompt
            short = await http.get(f"/v2/{path}")
            both = [(each.status_code, each.content, dict(each.headers)) for each in (long, short)]
            for _, _, headers in both:
                headers.pop("x-request-id")
            assert both[0] == both[1], path
            answered = long.status_code == 200
            raw = f"/v2/{path}".encode()
            headers = [(b"host", b"box.test"), (b"authorization", http.auth and _basic(http))]
            assert (prompt.answer("GET", raw, headers, "") is not None) == answered, path


def _basic(http: Any) -> bytes:
    request = next(http.auth.auth_flow(http.build_request("GET", "/")))
    return str(request.headers["authorization"]).encode()


async def test_a_member_over_http_before_the_others_stops_the_short_way(place: Place, tmp_path: Path) -> None:
    await push(place.local["two"], "apps/api", b"layer", tags=["1.0"])
    virtual = place.virtual()
    one = virtual.doors["one"]
    virtual.doors["one"] = Door("one", "local", MemoryRegistry(), one.rights)  # type: ignore[arg-type]
    app = build.app_of(_settings(tmp_path), virtual, log=False)
    prompt = MembersPrompt(virtual, app.access, app.records)
    async with asking(app, ("reader", "correct-horse-battery")) as http:
        assert (await http.get("/v2/apps/api/manifests/1.0")).headers["x-towpath-member"] == "two"
        headers = [(b"host", b"box.test"), (b"authorization", _basic(http))]
        assert prompt.answer("GET", b"/v2/apps/api/manifests/1.0", headers, "") is None
        blob = f"/v2/apps/api/blobs/{Digest.of(b'layer')}".encode()
        assert prompt.answer("GET", blob, headers, "") is not None, "a digest proves itself"


@pytest.mark.parametrize("resolve", ["order", "newest"])
async def test_what_the_short_way_remembers_ends_with_each_change(place: Place, tmp_path: Path, resolve: str) -> None:
    """Of the members that were asked in vain, too: another one may answer from now on."""
    virtual = place.virtual(resolve=resolve)
    app = build.app_of(_settings(tmp_path), virtual, log=False)
    app.prompt = MembersPrompt(virtual, app.access, app.records)
    blob = Digest.of(b"layer")
    one, two = place.local["one"], place.local["two"]

    async def said(http: Any) -> list[str | None]:
        """Who answers for the tag and for the layer, both ways, twice."""
        found = []
        for path in ("manifests/1.0", f"blobs/{blob}"):
            short = [await http.get(f"/v2/apps/api/{path}") for _ in range(2)]
            long = await http.get(f"/v2/apps/api/{path}", headers={"x-takes-the-long-way": "1"})
            answers = {
                (each.status_code, each.content, each.headers.get("x-towpath-member")) for each in (*short, long)
            }
            assert len(answers) == 1 or long.status_code == 404
            found.append(long.headers.get("x-towpath-member"))
        return found

    async with asking(app, ("reader", "correct-horse-battery")) as http:
        await http.get("/v2/")
        assert await said(http) == [None, None]
        await push(two, "apps/api", b"layer", tags=["1.0"])
        assert await said(http) == ["two", "two"]
        await push(one, "apps/api", b"layer", b"more", tags=["1.0"])
        assert await said(http) == ["one", "one"]
        await one.delete_blob(DEV, "apps/api", blob)
        assert await said(http) == ["one", "two"]
        await one.delete_tag(DEV, "apps/api", "1.0")
        assert await said(http) == ["two", "two"]
        two.close()
        place.local["two"] = LocalRegistry.open(place.folder / "two")
        await place.local["two"].delete_tag(DEV, "apps/api", "1.0")
        assert (await said(http))[0] is None


async def test_the_short_way_asks_whom_an_ns_means(place: Place, tmp_path: Path) -> None:
    await push(place.local["one"], "apps/api", b"one", tags=["1.0"])
    await push(place.local["two"], "apps/api", b"two", tags=["1.0"])
    virtual = place.virtual(hosts=["our.example"], stands_for={"two": ["two.example"]})
    app = build.app_of(_settings(tmp_path), virtual, log=False)
    prompt = MembersPrompt(virtual, app.access, app.records)
    async with asking(app, ("reader", "correct-horse-battery")) as http:
        await http.get("/v2/")
        headers = [(b"host", b"box.test"), (b"authorization", _basic(http))]
        for ns, member in (("", "one"), ("?ns=our.example", "one"), ("?ns=two.example", "two"), ("?ns=other", None)):
            app.prompt = prompt
            path = f"/v2/apps/api/manifests/1.0{ns}"
            for _ in range(2):
                found = prompt.answer("GET", path.encode(), headers, "")
                assert (found and dict(found[0].headers)[b"x-towpath-member"]) == (member and member.encode())
            app.prompt = None
            assert (await http.get(path)).headers.get("x-towpath-member") == member


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_member_whose_process_is_down_is_still_read(make: Make) -> None:
    box = make("box")
    node = make(
        "everything", kind="virtual", virtual={"members": [member_of(box, data=str(box.data))], "unmatched": "members"}
    )
    with box.client() as direct:
        digest = push_over_http(direct, "apps/api", "1.0", b"layer")
    box.kill()
    with node.client("reader") as http:
        for _ in range(3):
            answer = http.get("/v2/apps/api/manifests/1.0")
            assert (answer.headers["docker-content-digest"], answer.headers["x-towpath-member"]) == (digest, "box")
            assert http.get(f"/v2/apps/api/blobs/{Digest.of(b'layer')}").content == b"layer"
        assert http.get("/v2/apps/api/tags/list").status_code == 503
        shutil.rmtree(box.data)
        assert http.get("/v2/apps/api/manifests/1.0").status_code == 503
