"""A grant for some tags: what they reach can be pulled, whole; everything else looks as if it were not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from oci_wire.digest import Digest
from oci_wire.manifest import OCI_INDEX, OCI_MANIFEST, Manifest
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.app import App
from registry_node.registries.local import LocalRegistry
from tests.registry_node.conftest import DEV, ENGINE, READER, ROBOT, asking, settings
from tests.registry_node.images import descriptor, push_blob, push_image
from tests.registry_node.pushes import CI, index_of, manifest_of, put_blob
from tests.registry_node.test_access import token_for

GRANTS = [
    {"to": "dev", "allow": ["pull", "push", "delete"]},
    {"to": "reader", "allow": ["pull"], "tags": ["v*"]},
    {"to": "ci", "allow": ["pull", "push"], "repositories": ["apps/**"], "tags": ["ci-*"]},
    {"to": "towpath-engine", "allow": ["promote"], "tags": ["v*"]},
]


@pytest.fixture(params=["memory", "local", "short way"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    given = settings(tmp_path, grants=GRANTS)
    if request.param == "memory":
        yield build.app_of(given, MemoryRegistry(), log=False)
        return
    with closing(LocalRegistry.open(tmp_path / "data")) as registry:
        yield build.app_of(given, registry, reads=registry.reads if request.param == "short way" else None, log=False)


async def put(http: httpx.AsyncClient, name: str, content: bytes, kind: str = OCI_INDEX) -> str:
    answer = await http.put(f"/v2/apps/api/manifests/{name}", content=content, headers={"content-type": kind})
    assert answer.status_code == 201, answer.text
    return str(Digest.of(content))


def index(*children: bytes, **fields: Any) -> bytes:
    manifests = [descriptor(each, OCI_MANIFEST) for each in children]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests, **fields}).encode()


async def test_what_their_tag_reaches_is_whole_and_all_else_is_absent(app: App) -> None:
    async with asking(app, DEV) as dev:
        released = await push_image(dev, "apps/api", "build-1", b"released", b"base")
        secret = await push_image(dev, "apps/api", "dev-1", b"secret", b"base")
        await put(dev, "v1", index(released))
        subject = {**descriptor(released, OCI_MANIFEST)}
        signature = await push_image(dev, "apps/api", "sig-1", b"signature", subject=subject)
        other = await push_image(dev, "apps/api", "sig-2", b"other", subject={**descriptor(secret, OCI_MANIFEST)})
    mine, not_mine = [released, index(released), signature], [secret, other]
    async with asking(app, READER) as http:
        for method in (http.get, http.head):
            assert (await method("/v2/apps/api/manifests/v1")).status_code == 200
            for tag in ("dev-1", "build-1", "sig-1", "none"):
                assert (await method(f"/v2/apps/api/manifests/{tag}")).status_code == 404
            for wanted, status in ((mine, 200), (not_mine, 404)):
                for content in wanted:
                    assert (await method(f"/v2/apps/api/manifests/{Digest.of(content)}")).status_code == status
            for blob, status in ((b"released", 200), (b"base", 200), (b"{}", 200), (b"signature", 200)):
                assert (await method(f"/v2/apps/api/blobs/{Digest.of(blob)}")).status_code == status
            for blob in (b"secret", b"other", b"never pushed"):
                assert (await method(f"/v2/apps/api/blobs/{Digest.of(blob)}")).status_code == 404
        shown = (await http.get(f"/v2/apps/api/referrers/{Digest.of(released)}")).json()["manifests"]
        assert [each["digest"] for each in shown] == [str(Digest.of(signature))]
        assert (await http.get(f"/v2/apps/api/referrers/{Digest.of(secret)}")).json()["manifests"] == []
        assert (await http.get("/v2/apps/api/tags/list")).json()["tags"] == ["v1"]
        assert (await http.get("/v2/_catalog")).json()["repositories"] == ["apps/api"]


async def test_what_is_not_theirs_looks_absent(app: App) -> None:
    async with asking(app, DEV) as dev:
        manifest = await push_image(dev, "apps/api", "dev-1", b"secret")
        await push_image(dev, "apps/api", "v1", b"released")
    async with asking(app, READER) as http:
        for there, absent, what in (
            (Digest.of(manifest), Digest.of(b"none"), "manifests"),
            (Digest.of(b"secret"), Digest.of(b"none"), "blobs"),
            (Digest.of(manifest), Digest.of(b"none"), "referrers"),
            ("dev-1", "dev-2", "manifests"),
        ):
            first, second = [await http.get(f"/v2/apps/api/{what}/{each}") for each in (there, absent)]
            assert first.status_code == second.status_code
            assert first.text.replace(str(there), str(absent)) == second.text
            nowhere = await http.get(f"/v2/apps/none/{what}/{there}")
            if what != "referrers":
                assert first.text.replace("apps/api", "apps/none") == nowhere.text
                assert first.status_code == nowhere.status_code == 404


async def test_a_token_is_no_way_around_and_a_moved_tag_takes_its_content_along(app: App) -> None:
    async with asking(app, DEV) as dev:
        first = await push_image(dev, "apps/api", "v1", b"first")
        bearer = await token_for(app, READER, "repository:apps/api:pull")
        path = f"/v2/apps/api/manifests/{Digest.of(first)}"
        async with asking(app, None) as http:
            assert (await http.get(path, headers=bearer)).status_code == 200
            await push_image(dev, "apps/api", "v1", b"second")
            assert (await http.get(path, headers=bearer)).status_code == 404
            blob = await http.get(f"/v2/apps/api/blobs/{Digest.of(b'first')}", headers=bearer)
            assert blob.status_code == 404


async def test_pages_of_their_tags_are_full(app: App) -> None:
    async with asking(app, DEV) as dev:
        body = await push_image(dev, "apps/api", "v00", b"layer")
        for n in range(1, 12):
            await put(dev, f"v{n:02}", body, OCI_MANIFEST)
            await put(dev, f"dev-{n:02}", body, OCI_MANIFEST)
            await put(dev, f"z{n:02}", body, OCI_MANIFEST)
    async with asking(app, READER) as http:
        names, path = [], "/v2/apps/api/tags/list?n=5"
        while path:
            answer = await http.get(path)
            page = answer.json()["tags"]
            assert page
            names.append(page)
            path = answer.headers.get("link", "").partition(">")[0].lstrip("<")
        assert [len(each) for each in names] == [5, 5, 2]
        assert [name for page in names for name in page] == [f"v{n:02}" for n in range(12)]
        assert (await http.get("/v2/apps/api/tags/list?n=0")).json()["tags"] == []
        assert (await http.get("/v2/apps/api/tags/list?last=v11")).json()["tags"] == []


@pytest.mark.attack("A-mount-no-read")
async def test_a_mount_reads_no_more_than_a_pull(app: App) -> None:
    async with asking(app, DEV) as dev:
        await push_image(dev, "apps/api", "ci-1", b"mine")
        await push_image(dev, "apps/api", "v1", b"not mine")
    async with asking(app, ROBOT) as http:
        for blob, status in ((b"mine", 201), (b"not mine", 202), (b"nowhere", 202)):
            mount = {"mount": str(Digest.of(blob)), "from": "apps/api"}
            assert (await http.post("/v2/apps/other/blobs/uploads/", params=mount)).status_code == status
        for blob in (b"mine", b"not mine"):  # from anywhere needs a grant for everything
            answer = await http.post("/v2/apps/third/blobs/uploads/", params={"mount": str(Digest.of(blob))})
            assert answer.status_code == 202


async def test_they_push_an_image_and_an_index_with_their_tag(app: App) -> None:
    async with asking(app, ROBOT) as http:
        body = await push_image(http, "apps/api", "ci-1", b"layer")
        await put(http, str(Digest.of(body)), body, OCI_MANIFEST)
        await put(http, "ci-2", index(body))
        assert (await http.get(f"/v2/apps/api/manifests/{Digest.of(body)}")).content == body
        assert (await http.get(f"/v2/apps/api/blobs/{Digest.of(b'layer')}")).content == b"layer"
        digest = await push_blob(http, "apps/api", b"not in an image yet")
        assert (await http.head(f"/v2/apps/api/blobs/{digest}")).status_code == 404


async def test_the_engines_reads_follow_its_tags_too(app: App) -> None:
    async with asking(app, DEV) as dev:
        mine = await push_image(dev, "apps/api", "v1", b"mine")
        other = await push_image(dev, "apps/api", "dev-1", b"other")
    async with asking(app, ENGINE) as http:
        states = (await http.get("/_towpath/v1/r/apps/api/_/tags")).json()
        assert [each["tag"] for each in states["tags"]] == ["v1"]
        for body, status in ((mine, 200), (other, 404)):
            answer = await http.get(f"/_towpath/v1/r/apps/api/_/closure/{Digest.of(body)}")
            assert answer.status_code == status, answer.text


CONTENTS = [b"a", b"b", b"c"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """One index for all examples, each of which has a repository of its own."""
    with closing(LocalRegistry.open(tmp_path_factory.mktemp("reached"))) as registry:
        yield registry


@given(data=st.data())
@hypothesis_settings(max_examples=20, deadline=None)
async def test_memory_and_index_agree_on_what_a_tag_reaches(data: st.DataObject, local: LocalRegistry) -> None:
    twins, name = (MemoryRegistry(), local), f"apps/{uuid4().hex}"
    known: list[Manifest] = []
    for registry in twins:
        for content in (*CONTENTS, b"{}"):
            await put_blob(registry, name, content)
    for _ in range(data.draw(st.integers(1, 6))):
        made = data.draw(_manifest(known))
        tags = data.draw(st.lists(st.sampled_from(["v1", "v2", "dev"]), max_size=2, unique=True))
        for registry in twins:
            await registry.put_manifest(CI, name, made, tags=tags)
        known.append(made)
    for digest in (*(each.digest for each in known), *map(Digest.of, CONTENTS), Digest.of(b"absent")):
        said = [await each.reached(CI, name, digest, lambda tag: tag.startswith("v")) for each in twins]
        assert said[0] == said[1], digest
    assert not any([await each.reached(CI, "apps/none", known[0].digest, lambda _: True) for each in twins])


@st.composite
def _manifest(draw: st.DrawFn, known: list[Manifest]) -> Manifest:
    if known and draw(st.booleans()):
        return index_of(*draw(st.lists(st.sampled_from(known), min_size=1, max_size=3)))
    layers = draw(st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=2))
    subject = draw(st.sampled_from(known)) if known and draw(st.booleans()) else None
    fields = {"subject": descriptor(subject.content, subject.media_type)} if subject else {}
    return manifest_of(*layers, **fields)
