"""Blobs on their way in: whole ones, and upload sessions that outlive the process.

A session's bytes lie in ``uploads/<id>``; its offset is the length of that file, so that nothing has to agree with
it. Its row binds it to a repository and to whoever opened it, and says when it ends. Any process of the node may take
the next request of a session: one whose file has grown elsewhere is read again.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from uuid import uuid4

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest, new_hasher
from oci_wire.errors import (
    BlobUploadUnknown,
    DigestInvalid,
    InsufficientStorage,
    RangeInvalid,
    RegistryError,
    SizeInvalid,
    TooManyRequests,
)
from oci_wire.reference import check_repository
from oci_wire.registry import Call, Chunks, Upload
from registry_node.bulk import InBulk
from registry_node.settings import Limits, Rules
from registry_node.storage.blobs import add_blob
from registry_node.storage.changes import Transaction
from registry_node.storage.files import digest_of
from registry_node.storage.incoming import Incoming, gathered, overlapped, until_bulky
from registry_node.storage.rules import BlobAdded
from registry_node.storage.rules.quota import used_bytes
from registry_node.storage.statements import insert
from registry_node.storage.store import Store

_SESSION = re.compile(r"[0-9a-f]{32}")
SWEEP_SECONDS = 60
_START = insert("uploads", "id repository identity algorithm started expires")
_MINE = "SELECT count(*) FROM uploads WHERE identity = :identity AND expires > :now"
_OLD = "SELECT id FROM uploads WHERE expires <= :now"
_PROLONG = "UPDATE uploads SET expires = :expires WHERE id = :session"
_END = "DELETE FROM uploads WHERE id = :session"


class LocalUploads:
    """The part of ``Writer`` that takes blobs."""

    def __init__(self, store: Store, rules: Rules, limits: Limits) -> None:
        self._store = store
        self._quota = rules.quota_bytes
        self._session_seconds = limits.upload_session_seconds
        self._most_sessions = limits.upload_sessions
        self._open: dict[str, Incoming] = {}
        self._next_sweep = 0.0

    async def put_blob(self, call: Call, repository: str, descriptor: Descriptor, chunks: Chunks) -> Descriptor:
        call.remaining()
        check_repository(repository)
        digest, size = descriptor.digest, descriptor.size
        await self._store.read(lambda tx: self._store.check(tx, BlobAdded(repository, str(digest), size)))
        incoming = await self._store.on_disk("a blob", Incoming.new, self._store.files.temp_path(), digest.algorithm)
        write = self._store.guarded("a blob", incoming.write)
        try:
            small = gathered(until_bulky(chunks))
            await overlapped(small, lambda piece: self._store.on_disk("a blob", incoming.write, piece, size))
            if isinstance(chunks, InBulk) and chunks.bulky:
                await chunks.feed(lambda view: write(view, size))
            if incoming.size != size:
                raise SizeInvalid(f"{digest} has {size} bytes, only {incoming.size} came")
        except BaseException:
            await self._forget(incoming.path)
            raise
        return await asyncio.shield(self._keep_or_forget(repository, incoming, digest))

    async def start_upload(self, call: Call, repository: str, *, algorithm: str = "sha256") -> Upload:
        call.remaining()
        check_repository(repository)
        new_hasher(algorithm)  # refused now rather than at the end
        await self._room()
        await self._sweep()
        session, now = uuid4().hex, self._store.clock()
        path = self._store.files.upload_path(session)
        opened = await self._store.on_disk("an upload", Incoming.new, path, algorithm)
        opened.expires = now + self._session_seconds
        self._open[session] = opened
        row = {"id": session, "repository": repository, "identity": call.identity, "algorithm": algorithm}
        times = {"started": now, "expires": opened.expires}

        def work(unit: Transaction) -> None:
            self._check_number(unit, call.identity)
            unit.ensure_repository(repository)
            unit.tx.execute(_START, {**row, **times})

        try:
            await self._store.write(work, durable=False)
        except RegistryError:
            self._open.pop(session, None)
            await self._forget(path)
            raise
        return Upload(session)

    def _check_number(self, unit: Transaction, identity: str) -> None:
        if unit.tx.execute(_MINE, {"identity": identity, "now": unit.clock()}).scalar() >= self._most_sessions:
            raise TooManyRequests(
                f"{identity or 'anonymous'} has {self._most_sessions} open uploads here; finish or cancel some first",
                retry_after=SWEEP_SECONDS,
            )

    async def upload_status(self, call: Call, repository: str, upload_id: str) -> Upload:
        return Upload(upload_id, (await self._session(call, repository, upload_id)).size)

    async def append(
        self, call: Call, repository: str, upload_id: str, chunks: Chunks, *, start: int | None = None
    ) -> Upload:
        """A request that writes while another one of the same session still does takes over: the other one's
        client has most likely gone. Bytes that came before an error stay; the session's status tells how many."""
        session = await self._session(call, repository, upload_id)
        limit = await self._room()
        if start is not None and start < session.size:
            _check_start(session, start)
        writer = session.taken_over()
        async with session.lock:  # whatever an older request is still writing is counted first
            _check_start(session, start)
        small = gathered(until_bulky(chunks))
        await overlapped(small, lambda piece: self._write(upload_id, session, writer, piece, limit))
        if isinstance(chunks, InBulk) and chunks.bulky:
            await self._feed(upload_id, session, writer, chunks, limit)
        await self._prolong(upload_id, session)
        return Upload(upload_id, session.size)

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
        session = await self._session(call, repository, upload_id)
        _check_start(session, start)
        if chunks is not None:
            await self.append(call, repository, upload_id, chunks, start=start)
        session.taken_over()
        return await asyncio.shield(self._finish(repository, upload_id, session, digest))

    async def cancel_upload(self, call: Call, repository: str, upload_id: str) -> None:
        session = await self._session(call, repository, upload_id)
        session.taken_over()
        async with session.lock:
            await self._drop(upload_id)

    async def _sweep(self) -> None:
        """Ends the sessions whose time is over, when a new one is opened, at most once a minute."""
        now = self._store.clock()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_SECONDS
        for session in await self._store.read(lambda tx: tx.execute(_OLD, {"now": now}).scalars()):
            await self._drop(session)
        present = await self._store.from_disk("the uploads", os.listdir, self._store.files.uploads)
        for session in set(self._open).difference(present):  # another process ended them
            self._open.pop(session)

    async def _write(self, upload_id: str, session: Incoming, writer: int, piece: bytearray, limit: int | None) -> None:
        async with session.lock:
            self._check_writer(upload_id, session, writer)
            _check_room(session, len(piece), limit)
            await self._store.on_disk("an upload", session.write, piece)

    async def _feed(self, upload_id: str, session: Incoming, writer: int, body: InBulk, limit: int | None) -> None:
        """The same for all that is left of a body, which a thread takes."""
        write = self._store.guarded("an upload", session.write)

        def sink(view: memoryview) -> None:
            _check_room(session, len(view), limit)
            write(view)

        async with session.lock:
            self._check_writer(upload_id, session, writer)
            session.feeding = asyncio.ensure_future(body.feed(sink))
            try:
                await session.feeding
            except asyncio.CancelledError:
                self._check_writer(upload_id, session, writer)
                raise
            finally:
                session.feeding = None

    def _check_writer(self, upload_id: str, session: Incoming, writer: int) -> None:
        if session.writer != writer or self._open.get(upload_id) is not session:
            raise RangeInvalid("another request took this upload over; ask for its status")

    async def _prolong(self, upload_id: str, session: Incoming) -> None:
        """A session in use does not end; its row is written only once a quarter of its time is spent."""
        now = self._store.clock()
        if session.expires - now > self._session_seconds * 3 / 4:
            return
        session.expires = now + self._session_seconds
        values = {"session": upload_id, "expires": session.expires}
        await self._store.write(lambda unit: unit.tx.execute(_PROLONG, values), durable=False)

    async def _finish(self, repository: str, upload_id: str, session: Incoming, digest: Digest) -> Descriptor:
        async with session.lock:
            if self._open.get(upload_id) is not session:
                raise BlobUploadUnknown("this upload session has ended")
            try:
                return await self._keep(repository, session, digest, upload_id)
            except DigestInvalid:
                await self._drop(upload_id)
                raise
            finally:
                if not session.path.exists():
                    self._open.pop(upload_id, None)

    async def _keep_or_forget(self, repository: str, incoming: Incoming, digest: Digest) -> Descriptor:
        try:
            return await self._keep(repository, incoming, digest)
        finally:
            await self._forget(incoming.path)

    async def _forget(self, path: Path) -> None:
        await self._store.from_disk("an upload", path.unlink, missing_ok=True)

    async def _keep(self, repository: str, incoming: Incoming, digest: Digest, upload_id: str = "") -> Descriptor:
        """Content first, then the index: what the index names is there, whole and durable."""
        found = incoming.digest()
        if digest.algorithm != incoming.algorithm:  # than was announced: all bytes are read again
            found = await self._store.from_disk("a blob", digest_of, incoming.path, digest.algorithm)
        if found != digest:
            raise DigestInvalid(f"the {incoming.size} bytes that came are {found}, not {digest}")
        await self._store.on_disk("a blob", incoming.keep, self._store.files, digest)

        def work(unit: Transaction) -> None:
            add_blob(unit, repository, digest, incoming.size)
            unit.tx.execute(_END, {"session": upload_id})

        await self._store.write(work)
        return Descriptor(OCTET_STREAM, digest, incoming.size)

    async def _session(self, call: Call, repository: str, upload_id: str) -> Incoming:
        call.remaining()
        row = self._store.reads.upload(upload_id, repository, call.identity) if _SESSION.fullmatch(upload_id) else None
        if row is None or row.expires <= self._store.clock():
            raise BlobUploadUnknown("this upload session is not here: it ended, or never was")
        known = self._open.get(upload_id)
        if known is not None and (known.lock.locked() or not known.stale):
            return known
        path = self._store.files.upload_path(upload_id)
        resumed = await self._store.from_disk("an upload", _resume, path, row.algorithm)
        if resumed is None:
            raise BlobUploadUnknown("the bytes of this upload session are lost; start again")
        resumed.expires = row.expires
        if self._open.get(upload_id) in (None, known):
            self._open[upload_id] = resumed
        return self._open[upload_id]

    async def _drop(self, upload_id: str) -> None:
        self._open.pop(upload_id, None)
        await self._store.write(lambda unit: unit.tx.execute(_END, {"session": upload_id}), durable=False)
        await self._forget(self._store.files.upload_path(upload_id))

    async def _room(self) -> int | None:
        """Bytes that the quota leaves, None without one. Raises InsufficientStorage when it leaves none."""
        if self._quota is None:
            return None
        left = self._quota - await self._store.read(used_bytes)
        if left <= 0:
            raise InsufficientStorage(f"the quota of this scope, {self._quota} bytes, is used up")
        return left


def _check_start(session: Incoming, start: int | None) -> None:
    if start is not None and start != session.size:
        raise RangeInvalid(f"the next byte of this upload is {session.size}, not {start}")


def _check_room(session: Incoming, more: int, limit: int | None) -> None:
    if limit is not None and session.size + more > limit:
        raise InsufficientStorage(f"the quota of this scope leaves {limit} bytes for this blob, and more came")


def _resume(path: Path, algorithm: str) -> Incoming | None:
    try:
        return Incoming.resume(path, algorithm)
    except FileNotFoundError:
        return None
