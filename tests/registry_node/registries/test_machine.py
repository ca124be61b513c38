"""The local registry and its in-memory twin answer any sequence of calls alike; a lost index changes nothing."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, ManifestUnknown, NameUnknown, RegistryError
from oci_wire.extension import Hold, LeaseRequest, TagChange, TagTransaction
from oci_wire.manifest import Manifest
from oci_wire.memory import MemoryRegistry
from oci_wire.registry import once
from registry_node.registries.local import LocalRegistry
from registry_node.registries.through import Whole
from registry_node.settings import Rules
from registry_node.storage.rules.quota import used_bytes
from tests.postgresql import Cluster
from tests.registry_node.images import descriptor
from tests.registry_node.pushes import CI, index_of, manifest_of, put_blob
from tests.registry_node.unneeded import looked_for, written_down

REPOSITORIES = ("a", "b/c")
TAGS = ("fixed-1", "latest", "v1")
BLOBS = (b"{}", b"one", b"two")
PLAIN = manifest_of(b"one")
IMAGES = (
    PLAIN,
    manifest_of(b"one", b"two"),
    manifest_of(b"two", subject=descriptor(PLAIN.content, PLAIN.media_type), artifactType="application/x"),
)
MANIFESTS = (*IMAGES, index_of(IMAGES[0], IMAGES[1]))
# Memory where there is some: the machine is about answers, and disks are slow to sync.
FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None

repositories = st.sampled_from(REPOSITORIES)
tags = st.sampled_from(TAGS)
blobs = st.sampled_from(BLOBS)
manifests = st.sampled_from(MANIFESTS)
digests = st.none() | st.sampled_from([str(each.digest) for each in MANIFESTS])


class Twins(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(dir=FAST))
        self.memory = MemoryRegistry(immutable_tags=["fixed-*"])
        self.index = self.dsn()
        self.open()
        self.number = 0

    def dsn(self) -> str | None:
        """A new index each time; None: in the folder."""
        return None

    def open(self) -> None:
        self.local = LocalRegistry.open(self.folder, Rules(immutable_tags=("fixed-*",)), dsn=self.index)

    def same(self, ask: Callable[[Whole], Awaitable[Any]]) -> None:
        assert self.answer(self.local, ask) == self.answer(self.memory, ask)

    def answer(self, registry: Whole, ask: Callable[[Whole], Awaitable[Any]]) -> Any:
        try:
            return self.loop.run_until_complete(ask(registry))
        except (BlobUnknown, ManifestUnknown, NameUnknown):
            return "absent"  # the twin keeps a repository that a refused write named, the local one does not
        except RegistryError as error:
            return type(error).__name__

    @initialize()
    def some_content(self) -> None:
        for content in BLOBS:
            self.same(lambda registry, content=content: put_blob(registry, "a", content))

    @rule(repository=repositories, content=blobs)
    def push_blob(self, repository: str, content: bytes) -> None:
        self.same(lambda registry: put_blob(registry, repository, content))

    @rule(repository=repositories, content=blobs, at=st.integers(0, 3))
    def push_in_chunks(self, repository: str, content: bytes, at: int) -> None:
        async def push(registry: Whole) -> Any:
            upload = await registry.start_upload(CI, repository)
            await registry.append(CI, repository, upload.id, once(content[:at]), start=0)
            digest = Digest.of(content)
            return await registry.finish_upload(CI, repository, upload.id, digest, once(content[at:]))

        self.same(push)

    @rule(source=st.none() | repositories, repository=repositories, content=blobs)
    def mount(self, source: str | None, repository: str, content: bytes) -> None:
        self.same(lambda registry: registry.mount_blob(CI, repository, Digest.of(content), source))

    @rule(repository=repositories, content=blobs)
    def delete_blob(self, repository: str, content: bytes) -> None:
        self.same(lambda registry: registry.delete_blob(CI, repository, Digest.of(content)))

    @rule(repository=repositories, manifest=manifests, names=st.lists(tags, max_size=2))
    def push_manifest(self, repository: str, manifest: Manifest, names: list[str]) -> None:
        self.same(lambda registry: registry.put_manifest(CI, repository, manifest, tags=names))

    @rule(repository=repositories, tag=tags)
    def delete_tag(self, repository: str, tag: str) -> None:
        self.same(lambda registry: registry.delete_tag(CI, repository, tag))

    @rule(repository=repositories, manifest=manifests)
    def delete_manifest(self, repository: str, manifest: Manifest) -> None:
        self.same(lambda registry: registry.delete_manifest(CI, repository, manifest.digest))

    @rule(repository=repositories, manifest=manifests, later=st.booleans())
    def hold(self, repository: str, manifest: Manifest, later: bool) -> None:
        until = time.time() + (1000 if later else -1)
        wanted = Hold(digests=(str(manifest.digest),), until=until, reason="the test")
        self.same(lambda registry: registry.put_hold(CI, repository, "test", wanted))

    @rule(repository=repositories)
    def drop_hold(self, repository: str) -> None:
        self.same(lambda registry: registry.drop_hold(CI, repository, "test"))

    @rule(
        repository=repositories,
        names=st.lists(tags, min_size=1, max_size=2, unique=True),
        expect=st.none() | digests,
        to=digests,
        again=st.booleans(),
        right=st.booleans(),
    )
    def change_tags(
        self, repository: str, names: list[str], expect: str | None, to: str | None, again: bool, right: bool
    ) -> None:
        """``right``: expect what is there, so that some of them land."""
        self.number += not again
        txid = f"t{self.number}"

        async def commit(registry: Whole) -> Any:
            lease = await registry.take_lease(CI, repository, LeaseRequest(holder="engine", ttl=100))
            changes = []
            for name in names:
                actual = await self.named(registry, repository, name) if right else expect
                changes.append(TagChange(tag=name, expect=actual, to=to))
            wanted = TagTransaction(
                lease=lease.id, token=lease.token, not_after=time.time() + 100, actor="engine", tags=tuple(changes)
            )
            receipt = await registry.commit_tags(CI, repository, txid, wanted)
            return set(receipt.effects)

        self.same(commit)

    @rule(repository=repositories, back=st.integers(0, 2))
    def abort(self, repository: str, back: int) -> None:
        self.same(lambda registry: registry.abort_transaction(CI, repository, f"t{self.number + 1 - back}"))

    @precondition(lambda self: self.number > 0)
    @rule()
    def restart(self) -> None:
        self.local.close()
        self.open()

    @invariant()
    def both_show_the_same(self) -> None:
        for repository in REPOSITORIES:
            self.same(lambda registry, name=repository: self.seen(registry, name))
        self.same(lambda registry: registry.repositories(CI))

    @invariant()
    def the_figure_of_used_bytes_is_their_sum(self) -> None:
        with self.local._store.metadata.reading() as tx:
            linked = "SELECT coalesce(sum(size), 0) FROM blobs WHERE digest IN (SELECT digest FROM repo_blobs)"
            assert used_bytes(tx) == tx.execute(linked).scalar()

    @invariant()
    def what_nobody_needs_is_written_down(self) -> None:
        with self.local._store.metadata.reading() as tx:
            assert written_down(tx) == looked_for(tx)

    async def named(self, registry: Whole, repository: str, reference: str) -> str | None:
        try:
            return str((await registry.resolve(CI, repository, reference)).digest)
        except RegistryError:
            return None

    async def manifests_of(self, registry: Whole, repository: str) -> Any:
        named = [await self.named(registry, repository, each) for each in TAGS]
        return named, [await self.named(registry, repository, str(each.digest)) for each in MANIFESTS]

    async def seen(self, registry: Whole, repository: str) -> Any:
        blobs_here = []
        for content in BLOBS:
            try:
                blobs_here.append((await registry.stat_blob(CI, repository, Digest.of(content))).size)
            except RegistryError:
                blobs_here.append(-1)
        referrers = await registry.referrers(CI, repository, PLAIN.digest)
        tags_here = (await registry.tags(CI, repository)).items if any(each >= 0 for each in blobs_here) else ()
        return await self.manifests_of(registry, repository), blobs_here, referrers, tags_here

    def teardown(self) -> None:
        self.local.close()
        for path in self.folder.glob("index.db*"):
            path.unlink()
        self.index = self.dsn()
        self.open()
        for repository in REPOSITORIES:
            self.same(lambda registry, name=repository: self.manifests_of(registry, name))
        self.local.close()
        self.loop.close()
        shutil.rmtree(self.folder)


class TwinsOnPostgresql(Twins):
    """With all that differs there: the dialect, the collation, what readers remember."""

    cluster: Cluster

    def dsn(self) -> str | None:
        return self.cluster.database()


SETTINGS = settings(max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
Twins.TestCase.settings = SETTINGS
test_twins = Twins.TestCase


@pytest.mark.clients
def test_twins_on_postgresql(cluster: Cluster) -> None:
    TwinsOnPostgresql.cluster = cluster
    run_state_machine_as_test(TwinsOnPostgresql, settings=settings(SETTINGS, max_examples=5))  # type: ignore[no-untyped-call]
