"""Late evidence: what was attached to an image at the source after the image itself had come to the target.

No tag tells of it (cosign's own tags travel as tags). At our nodes the repository's rev grows with every manifest, so
while it stands still nothing is asked; when it has grown, the referrers of what both sides show are compared. Event
by event it is cheaper still: the event names the manifest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown, NameUnknown
from oci_wire.manifest import Manifest
from oci_wire.registry import Call
from promotions.bounded import for_each
from promotions.place import Place
from promotions.transfer import has_manifest, referrers_of

AT_ONCE = 8
MAX_DEPTH = 16  # referrers of referrers


@dataclass(frozen=True, slots=True)
class Attached:
    """What events told of one repository: every manifest that came to it from rev ``first`` to rev ``last``."""

    first: int
    last: int
    manifests: frozenset[str]

    def follows(self, compared: int | None) -> bool:
        """Whether nothing was left out between what was compared and this."""
        return compared is not None and self.first <= compared + 1


async def source_rev(place: Place, call: Call) -> int | None:
    """The rev of a repository; None where nobody counts, or there is no such repository."""
    if await place.registry.features(call) is None:
        return None
    try:
        state = await place.registry.tag_states(call, place.repository, limit=1)
    except NameUnknown:
        return None
    assert state is not None  # only with known_rev
    return state.rev


@dataclass(slots=True)
class Late:
    """Compares two places. What is found are subjects, of which something is attached at the source alone."""

    source: Place
    target: Place
    call: Call
    _seen: set[Digest] = field(default_factory=set)
    _found: set[Digest] = field(default_factory=set)

    async def about(self, images: Iterable[str]) -> set[Digest]:
        """Of images that both sides show: subjects among them, their platforms and what is attached to those."""
        await for_each(sorted(set(images)), self._image, at_once=AT_ONCE)
        return self._found

    async def named(self, manifests: Iterable[str]) -> set[Digest]:
        """Of manifests that came to the source: the subjects of those that are attached to what the target has."""
        for each in sorted(set(manifests)):
            manifest = await self._manifest(Digest.parse(each))
            subject = manifest.subject if manifest else None
            if manifest is None or subject is None or await has_manifest(self.target, self.call, manifest.digest):
                continue
            if await has_manifest(self.target, self.call, subject.digest):
                self._found.add(subject.digest)
        return self._found

    async def _image(self, text: str) -> None:
        digest = Digest.parse(text)
        manifest = await self._manifest(digest)
        if manifest is not None:
            for subject in (digest, *(each.digest for each in manifest.children)):
                await self._subject(subject, 0)

    async def _subject(self, subject: Digest, depth: int) -> None:
        if subject in self._seen or depth > MAX_DEPTH:
            return
        self._seen.add(subject)
        here = await referrers_of(self.source, self.call, subject)
        if not here:
            return
        if here - await referrers_of(self.target, self.call, subject):
            self._found.add(subject)
            return  # its whole evidence is copied, whatever hangs on it too
        for each in sorted(here, key=str):
            await self._subject(each, depth + 1)

    async def _manifest(self, digest: Digest) -> Manifest | None:
        try:
            return await self.source.registry.get_manifest(self.call, self.source.repository, str(digest))
        except (ManifestUnknown, NameUnknown):
            return None
