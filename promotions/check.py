"""Looking again: everything that was to arrive is read back from the target, byte for byte, by other code than sent it.

"The root digest exists at the target" proves nothing; a registry may also answer for content that it does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

from oci_wire.closure import Kind, Link
from oci_wire.digest import Digest, new_hasher
from oci_wire.errors import BlobUnknown, DigestInvalid, ManifestInvalid, ManifestUnknown, NameUnknown, SizeInvalid
from oci_wire.registry import Call
from promotions.attest import Evidence
from promotions.bounded import for_each
from promotions.place import Place
from promotions.progress import BlobMoved, Watch, unwatched
from promotions.retry import RetryPolicy
from promotions.transfer import Closure, referrers_of

_ABSENT_OR_WRONG = (BlobUnknown, ManifestUnknown, ManifestInvalid, NameUnknown, DigestInvalid, SizeInvalid)


class TargetIncomplete(Exception):
    """What was written is not what can be read. The tags are untouched."""

    def __init__(self, place: Place, root: Digest, problems: tuple[str, ...]) -> None:
        super().__init__(f"target {place}@{root} does not read back as it was sent: {'; '.join(problems[:5])}")
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Check:
    place: Place
    retry: RetryPolicy
    call: Call
    watch: Watch = unwatched
    at_once: int = 4

    async def whole(self, closure: Closure) -> None:
        """Raises TargetIncomplete, RegistryError."""
        problems: list[str] = []

        async def look(link: Link) -> None:
            if problem := await self.retry(lambda: self._problem(link)):
                problems.append(f"{link.kind} {link.descriptor.digest}: {problem}")

        await for_each(closure.links, look, at_once=self.at_once)
        if problems:
            raise TargetIncomplete(self.place, closure.root, tuple(sorted(problems)))

    async def evidence(self, made: Evidence) -> None:
        """Our attestation too. Raises TargetIncomplete."""
        subject = made.manifest.subject
        assert subject is not None
        blobs = tuple(Link(Kind.BLOB, each, made.manifest.digest) for each in made.manifest.blobs)
        own = Link(Kind.REFERRER, made.manifest.descriptor, subject.digest, manifest=made.manifest)
        await self.whole(Closure(subject.digest, (), (*blobs, own)))

    async def _problem(self, link: Link) -> str:
        try:
            if link.kind is Kind.BLOB:
                return await self._blob(link)
            if link.kind is Kind.FALLBACK:
                return await self._listed(link)
            return await self._manifest(link)
        except _ABSENT_OR_WRONG as error:
            return error.message

    async def _blob(self, link: Link) -> str:
        """Hashes what the target gives, whatever it says about it."""
        blob = link.descriptor
        hasher, received = new_hasher(blob.digest.algorithm), 0
        async with await self.place.registry.open_blob(self.call, self.place.repository, blob.digest) as stream:
            async for chunk in stream.chunks:
                hasher.update(chunk)
                received += len(chunk)
        if (received, hasher.hexdigest()) != (blob.size, blob.digest.hex):
            return f"{received} bytes came back that are not this blob of {blob.size} bytes"
        self.watch(BlobMoved(blob.digest, blob.size, blob.size, "checked"))
        return ""

    async def _manifest(self, link: Link) -> str:
        assert link.manifest is not None
        digest = link.descriptor.digest
        found = await self.place.registry.get_manifest(self.call, self.place.repository, str(digest))
        same = found.content == link.manifest.content and found.media_type == link.manifest.media_type
        return "" if same else "other bytes came back"

    async def _listed(self, link: Link) -> str:
        assert link.manifest is not None and link.parent is not None
        listed = await referrers_of(self.place, self.call, link.parent)
        missing = {each.digest for each in link.manifest.children} - listed
        return f"{len(missing)} referrers are not listed" if missing else ""
