"""What the in-memory registry remembers, and the few ways in which it changes."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import (
    BlobUnknown,
    Denied,
    Gone,
    InsufficientStorage,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameUnknown,
    TagImmutable,
)
from oci_wire.extension import Event, Hold, Lease, TagReceipt, TagTransaction
from oci_wire.manifest import Manifest
from oci_wire.reference import check_repository, check_tag
from oci_wire.registry import Call, Page

T = TypeVar("T")


@dataclass(slots=True)
class Tag:
    digest: Digest
    rev: int
    pushed: float
    pulled: float | None = None


@dataclass(slots=True)
class Session:
    """An upload in progress, of the identity that opened it."""

    algorithm: str
    identity: str
    content: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Landed:
    transaction: TagTransaction
    receipt: TagReceipt


@dataclass(slots=True)
class Repository:
    """One repository. ``blobs`` is the right to serve and mount; the bytes are shared by all repositories."""

    blobs: set[Digest] = field(default_factory=set)
    manifests: dict[Digest, Manifest] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)
    uploads: dict[str, Session] = field(default_factory=dict)
    rev: int = 0
    lease: Lease | None = None
    last_token: int = 0
    holds: dict[str, Hold] = field(default_factory=dict)
    transactions: dict[str, Landed | None] = field(default_factory=dict)  # None: aborted, it never lands


class State:
    """Every repository of one registry, the blobs' bytes and the events.

    ``immutable_tags`` are shell patterns of tags that, once set, neither move nor go; ``capacity`` is in bytes of
    blobs; ``keep_events`` is how many events can still be read."""

    def __init__(
        self, clock: Callable[[], float], immutable_tags: Sequence[str], capacity: int | None, keep_events: int
    ) -> None:
        self.clock = clock
        self.immutable_tags = tuple(immutable_tags)
        self.capacity = capacity
        self.keep_events = keep_events
        self.repositories: dict[str, Repository] = {}
        self.contents: dict[Digest, bytes] = {}
        self.events: list[Event] = []
        self.position = 0
        self._news = asyncio.Event()

    def repository(self, call: Call, name: str) -> Repository:
        """Raises NameInvalid, NameUnknown."""
        call.remaining()
        found = self.repositories.get(check_repository(name))
        if found is None:
            raise NameUnknown(f"repository {name!r} is not here")
        return found

    def written(self, call: Call, name: str) -> Repository:
        """The repository to write to, made when it is new."""
        call.remaining()
        return self.repositories.setdefault(check_repository(name), Repository())

    def find(self, repository: Repository, reference: str) -> Manifest:
        """What a tag or a digest names. Raises ManifestUnknown."""
        if looks_like_digest(reference):
            digest = Digest.parse(reference)
        else:
            tag = repository.tags.get(check_tag(reference))
            if tag is None:
                raise ManifestUnknown(f"tag {reference!r} is not here")
            digest = tag.digest
        found = repository.manifests.get(digest)
        if found is None:
            raise ManifestUnknown(f"manifest {digest} is not here")
        return found

    def blob(self, repository: Repository, digest: Digest) -> bytes:
        """Raises BlobUnknown when this repository does not hold it, whoever else does."""
        if digest not in repository.blobs:
            raise BlobUnknown(f"blob {digest} is not here")
        return self.contents[digest]

    def store_blob(self, repository: Repository, digest: Digest, content: bytes) -> None:
        if digest not in self.contents:
            used = sum(len(each) for each in self.contents.values())
            if self.capacity is not None and used + len(content) > self.capacity:
                raise InsufficientStorage(f"{used} of {self.capacity} bytes are used; {len(content)} more do not fit")
            self.contents[digest] = content
        repository.blobs.add(digest)

    def check_blobs(self, repository: Repository, manifest: Manifest) -> None:
        """An index may be sparse, an image may not (image-spec 1.1), and no client could pull one whose blobs have other
        sizes than it says. Raises ManifestBlobUnknown, ManifestInvalid."""
        missing = [str(each.digest) for each in manifest.blobs if each.digest not in repository.blobs]
        if missing:
            raise ManifestBlobUnknown(f"push these blobs first: {', '.join(missing[:5])}", detail=missing)

        for each in manifest.blobs:
            if len(self.contents[each.digest]) != each.size:
                size = len(self.contents[each.digest])
                raise ManifestInvalid(f"{each.digest} has {size} bytes, this manifest says {each.size}")

    def check_type(self, repository: Repository, manifest: Manifest) -> None:
        """A digest never changes what it means. Raises ManifestInvalid."""
        known = repository.manifests.get(manifest.digest)
        if known is not None and known.media_type != manifest.media_type:
            raise ManifestInvalid(f"{manifest.digest} is {known.media_type} here already; delete that first")

    def check_tag_change(self, repository: Repository, tag: str, to: Digest | None) -> None:
        """Raises TagImmutable. Setting a tag to what it is already changes nothing."""
        actual = repository.tags.get(tag)
        if actual is None or actual.digest == to:
            return
        if self._is_immutable(tag):
            raise TagImmutable(f"tag {tag!r} is immutable and names {actual.digest}")

    def _is_immutable(self, tag: str) -> bool:
        return any(fnmatch.fnmatchcase(tag, pattern) for pattern in self.immutable_tags)

    def check_free(self, repository: Repository, digest: Digest) -> None:
        """Whether a digest may go. Raises TagImmutable when an immutable tag needs it, Denied while somebody holds it."""
        for tag, shown in repository.tags.items():
            if self._is_immutable(tag) and digest in _needed(repository, shown.digest):
                raise TagImmutable(f"the immutable tag {tag!r} needs {digest}")
        for owner, hold in repository.holds.items():
            if hold.until > self.clock() and str(digest) in hold.digests:
                raise Denied(f"{digest} is held by {owner}: {hold.reason}")

    def set_tag(self, call: Call, name: str, tag: str, to: Digest | None, *, actor: str = "") -> None:
        """Points a tag somewhere, or removes it; a change bumps the repository's rev and is an event."""
        repository = self.repositories[name]
        old = repository.tags.get(tag)
        if (old.digest if old else None) == to:
            return
        repository.rev += 1
        if to is None:
            del repository.tags[tag]
        else:
            repository.tags[tag] = Tag(to, repository.rev, self.clock())
        self.publish(call, "tag", name, tag=tag, old=old.digest if old else None, digest=to, actor=actor)

    def publish(
        self,
        call: Call,
        kind: Literal["tag", "manifest", "manifest-deleted"],
        name: str,
        *,
        tag: str | None = None,
        old: Digest | None = None,
        digest: Digest | None = None,
        actor: str = "",
    ) -> None:
        self.position += 1
        event = Event(
            position=self.position,
            kind=kind,
            repository=name,
            rev=self.repositories[name].rev,
            tag=tag,
            old=str(old) if old else None,
            digest=str(digest) if digest else None,
            actor=actor or call.identity,
            at=self.clock(),
        )
        self.events = [*self.events, event][-self.keep_events :]
        self._news.set()
        self._news = asyncio.Event()

    def events_after(self, after: int) -> Iterator[Event]:
        """Raises Gone when some of them are no longer kept."""
        if after < self.position - len(self.events) or after > self.position:
            raise Gone(f"events after {after} are not kept; compare tags instead")
        return iter([event for event in self.events if event.position > after])

    async def news(self, seconds: float) -> None:
        """Returns at the next event, or after this long."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return


def _needed(repository: Repository, root: Digest) -> set[Digest]:
    """What a manifest names, through indexes and images, itself included."""
    found, ahead = set[Digest](), [root]
    while ahead:
        digest = ahead.pop()
        manifest = repository.manifests.get(digest)
        if digest not in found and manifest is not None:
            ahead += [each.digest for each in (*manifest.children, *manifest.blobs)]
        found.add(digest)
    return found


def reached(repository: Repository, digest: Digest, wanted: Callable[[str], bool]) -> bool:
    """Whether a tag that is wanted reaches the digest, or something that the digest refers to."""
    ahead = [shown.digest for tag, shown in repository.tags.items() if wanted(tag)]
    found = set[Digest]()
    while ahead:
        new = _needed(repository, ahead.pop()) - found
        found |= new
        ahead += [each for each, manifest in repository.manifests.items() if each not in found and _of(manifest, new)]
    return digest in found


def _of(manifest: Manifest, subjects: set[Digest]) -> bool:
    return manifest.subject is not None and manifest.subject.digest in subjects


def page(items: Sequence[T], names: Sequence[str], after: str, limit: int | None, most: int) -> Page[T]:
    """One page of items whose sorted names are ``names``."""
    rest = [item for item, name in zip(items, names, strict=True) if name > after]
    wanted = most if limit is None else max(0, min(limit, most))
    shown = tuple(rest[:wanted])
    more = bool(shown) and len(rest) > len(shown)
    skipped = len(items) - len(rest)
    return Page(shown, names[skipped + len(shown) - 1] if more else None)
