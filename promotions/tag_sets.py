"""All tags of a repository with their digests, in pages; and what one side has that the other has not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oci_wire.errors import ManifestUnknown, NameUnknown
from oci_wire.extension import TagState
from oci_wire.registry import Call, every
from promotions.place import Place
from promotions.transfer import current

TagSet = Mapping[str, TagState]


async def read_tags(place: Place, call: Call) -> TagSet | None:
    """Every tag; None when there is no such repository (or we may not know of it). Our nodes answer in pages with
    digests; elsewhere each tag is asked for, and its push time is unknown (0)."""
    try:
        if await place.registry.features(call) is not None:
            return await _states(place, call)
        return await _one_by_one(place, call)
    except NameUnknown:
        return None


async def _states(place: Place, call: Call) -> TagSet:
    found: dict[str, TagState] = {}
    after: str | None = ""
    while after is not None:
        page = await place.registry.tag_states(call, place.repository, after=after)
        assert page is not None  # only with known_rev
        found |= {each.tag: each for each in page.tags}
        after = page.next
    return found


async def _one_by_one(place: Place, call: Call) -> TagSet:
    found: dict[str, TagState] = {}
    async for tag in every(lambda after: place.registry.tags(call, place.repository, after=after)):
        try:
            digest = await current(place, call, tag)
        except ManifestUnknown:
            continue
        if digest is not None:
            found[tag] = TagState(tag=tag, digest=digest, rev=0, pushed=0.0)
    return found


@dataclass(frozen=True, slots=True)
class Difference:
    """``moved``: what the source has otherwise; ``gone``: what only the target has."""

    moved: tuple[TagState, ...]
    gone: tuple[TagState, ...]

    @classmethod
    def between(cls, source: TagSet, target: TagSet) -> Difference:
        moved = (each for tag, each in source.items() if tag not in target or target[tag].digest != each.digest)
        gone = (each for tag, each in target.items() if tag not in source)
        return cls(tuple(sorted(moved, key=_by_tag)), tuple(sorted(gone, key=_by_tag)))

    def only_new(self, target: TagSet) -> Difference:
        """Without the tags that the target has, whatever they mean there."""
        return Difference(tuple(each for each in self.moved if each.tag not in target), ())


def _by_tag(state: TagState) -> str:
    return state.tag
