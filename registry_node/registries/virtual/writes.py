"""Pushes and deletions: all at the member that is declared for them (``push_to``), with the caller's rights there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Denied, ManifestBlobUnknown, Unsupported
from oci_wire.manifest import Manifest
from oci_wire.reference import check_repository, check_tag
from oci_wire.registry import Call, Chunks, Upload
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.virtual.bringing import Bringing
from registry_node.registries.virtual.doors import Door
from registry_node.registries.virtual.lists import VirtualLists
from registry_node.registries.virtual.notes import MEMBER
from registry_node.registries.virtual.rights import caller_of
from registry_node.registries.virtual.sessions import Sessions


class VirtualWrites(VirtualLists):
    """The ``Writer`` and ``Deleter`` of a virtual."""

    push_to: str | None
    sessions: Sessions

    async def mount_blob(self, call: Call, repository: str, digest: Digest, source: str | None) -> bool:
        """From another repository of the same member, when the caller may pull it there as well as here; or from one of
        another member: then it is copied."""
        door = self._target(call, repository)
        if source is None:
            may = door.rights.may_pull_everything(caller_of(call))
            return may and await door.tell(door.registry.mount_blob(call, repository, digest, None))
        question = self.question(call, source, str(digest))
        may = door.name in question.way.members and await self.may_pull(question, door)
        if may and await door.tell(door.registry.mount_blob(call, repository, digest, source)):
            return True
        return await self._bringing(call, repository, door).blob_if_it_can_be(source, digest)

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        door = self._target(call, repository)
        return await door.tell(door.registry.put_blob(call, repository, descriptor, chunks))

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        door = self._target(call, repository)
        return self._shown(
            call, repository, await door.tell(door.registry.start_upload(call, repository, algorithm=algorithm))
        )

    async def upload_status(self, call: Call, repository: str, upload_id: str) -> Upload:
        door, session = self._session(call, repository, upload_id)
        return self._shown(call, repository, await door.tell(door.registry.upload_status(call, repository, session)))

    async def append(
        self, call: Call, repository: str, upload_id: str, chunks: Chunks, *, start: int | None = None
    ) -> Upload:
        door, session = self._session(call, repository, upload_id)
        state = await door.tell(door.registry.append(call, repository, session, chunks, start=start))
        return self._shown(call, repository, state)

    async def finish_upload(
        self,
        call: Call,
        repository: str,
        upload_id: str,
        digest: Digest,
        chunks: Chunks | None = None,
        *,
        start: int | None = None,
    ) -> Descriptor:
        door, session = self._session(call, repository, upload_id)
        return await door.tell(door.registry.finish_upload(call, repository, session, digest, chunks, start=start))

    async def cancel_upload(self, call: Call, repository: str, upload_id: str) -> None:
        door, session = self._session(call, repository, upload_id)
        await door.tell(door.registry.cancel_upload(call, repository, session))

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor:
        """What is pushed is what a read gives at once: a tag that another member would answer for is refused. And it is
        whole where it is pushed (bringing.py)."""
        for tag in tags or (None,):
            door = self._target(call, repository, tag)
        for tag in tags:
            await self._require_seen(call, repository, check_tag(tag), manifest.digest, door)
        bringing = self._bringing(call, repository, door)
        await bringing.children(manifest)
        try:
            found = await door.tell(door.registry.put_manifest(call, repository, manifest, tags=tags))
        except ManifestBlobUnknown:
            if not await bringing.blobs(manifest.blobs):
                raise
            found = await door.tell(door.registry.put_manifest(call, repository, manifest, tags=tags))
        self._sources.put(repository, door.name)
        return found

    async def delete_tag(self, call: Call, repository: str, tag: str) -> None:
        door = self._deleting(call, repository, tag)
        await door.tell(door.registry.delete_tag(call, repository, tag))

    async def delete_manifest(self, call: Call, repository: str, digest: Digest) -> None:
        door = self._deleting(call, repository)
        await door.tell(door.registry.delete_manifest(call, repository, digest))

    async def delete_blob(self, call: Call, repository: str, digest: Digest) -> None:
        door = self._deleting(call, repository)
        await door.tell(door.registry.delete_blob(call, repository, digest))

    # How

    def _target(self, call: Call, repository: str, tag: str | None = None) -> Door:
        """Raises Unsupported (405), Denied."""
        door = self._pushed_to(call, repository)
        door.rights.require_write(caller_of(call), repository, tag)
        return door

    def _deleting(self, call: Call, repository: str, tag: str | None = None) -> Door:
        door = self._pushed_to(call, repository)
        door.rights.require_delete(caller_of(call), repository, tag)
        return door

    def _pushed_to(self, call: Call, repository: str) -> Door:
        call.remaining()
        if self.push_to is None:
            raise Unsupported(
                "nobody can push here or delete: no member is declared for it (push_to). Ask a member itself"
            )
        way = self.routing.of(check_repository(repository), call.ns)
        if self.push_to not in way.members:
            raise Denied(
                f"pushes to this registry go to {self.push_to}, which nobody asks for {repository} here ({way.rule}): it "
                f"would never be seen. {f'Push to {way.members[0]} itself' if way.members else 'Take another name'}",
                why="routing",
            )
        call.notes[MEMBER] = self.push_to
        return self.doors[self.push_to]

    def _bringing(self, call: Call, repository: str, door: Door) -> Bringing:
        return Bringing(self, replace(call, notes={}), repository, door)

    def _session(self, call: Call, repository: str, upload_id: str) -> tuple[Door, str]:
        """Raises BlobUploadUnknown, and as ``_target``: rights end between two requests."""
        door = self._target(call, repository)
        return door, self.sessions.of_member(call, repository, upload_id)

    def _shown(self, call: Call, repository: str, upload: Upload) -> Upload:
        return Upload(self.sessions.shown(call, repository, upload.id), upload.offset, upload.min_chunk)

    async def _require_seen(self, call: Call, repository: str, tag: str, digest: Digest, door: Door) -> None:
        """Raises Denied when a read would go on giving another member's tag, MemberFailed when that cannot be known."""
        way = self.routing.of(repository, call.ns)
        doors = self.doors_of(way)
        if self.newest and door.kind == "local":
            await self._require_newest(call, repository, tag, [each for each in doors if each.kind == "local"], door)
            return
        before = [each for each in doors if each.kind == "local" and self.newest]
        before += [each for each in doors[: doors.index(door)] if each not in before]
        for each in (one for one in before if one is not door):
            try:
                found = await each.ask(each.registry.resolve(call, repository, tag))
            except ABSENT:
                continue
            if found.digest != digest:
                raise _hidden(repository, tag, each, door, f"{each.name} answers before {door.name}")

    async def _require_newest(self, call: Call, repository: str, tag: str, local: list[Door], door: Door) -> None:
        """Only a clock that runs ahead, or a time that replication brought from one, makes an older tag the newest."""
        for each in (one for one in local if one is not door):
            try:
                pushed = (await each.ask(each.registry.why(call, repository, tag))).pushed
            except ABSENT:
                continue
            if pushed is not None and pushed > time.time():
                raise _hidden(repository, tag, each, door, f"the one of {each.name} is said to be set in the future")


def _hidden(repository: str, tag: str, other: Door, door: Door, reason: str) -> Denied:
    return Denied(
        f"{repository}:{tag} is another image at member {other.name}, and a pull from here would go on giving that one: "
        f"{reason}. Take another tag, push to {other.name}, or delete the tag there (pushes here go to {door.name})",
        why="hidden-tag",
    )
