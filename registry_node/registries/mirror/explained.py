"""Why a reference means what it means at a mirror: which upstream said so, when, and how long that is believed."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Protocol

from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import RegistryError
from oci_wire.extension import Asked, Explanation
from oci_wire.manifest import Manifest
from oci_wire.registry import Call
from registry_node.registries.mirror.cache import Cache
from registry_node.registries.mirror.context import Place
from registry_node.registries.mirror.neighbours import Neighbours
from registry_node.registries.mirror.sources import ABSENT
from registry_node.registries.mirror.tags import Tags
from registry_node.settings import Mirror
from registry_node.storage import cached


class Explained(Protocol):
    """The part of a mirror that is asked."""

    tags_known: Tags
    neighbours: Neighbours

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest: ...


async def explain(
    mirror: Explained, cache: Cache, place: Place, reference: str, settings: Mirror, *, node: str
) -> Explanation:
    """Asks as a pull would."""
    tag = None if looks_like_digest(reference) else reference
    before = await _here(cache, place, reference) if tag is None else None
    rule = "a digest is asked once" if tag is None else f"a tag is believed for {settings.tag_seconds:g} s"
    told = Explanation(node=node, repository=place.repository, reference=reference, rule=rule)
    try:
        found = await mirror.get_manifest(place.call, place.repository, reference)
    except RegistryError as error:
        outcome = "absent" if isinstance(error, ABSENT) else "failed"
        asked = [Asked(member=each.name, outcome=outcome, reason=error.message) for each in settings.upstreams]
        return told.model_copy(update={"asked": tuple(asked)})
    said = await _of_tag(mirror, place, tag) if tag is not None else before or Asked(member="", outcome="answered")
    upstream = said.member or await _giver(cache, place, found.digest)
    asked = [said.model_copy(update={"member": upstream})]
    asked += [Asked(member=each.name, outcome="not asked") for each in settings.upstreams if each.name != upstream]
    asked += await _beside(mirror.neighbours, cache, place, found)
    return told.model_copy(update={"digest": str(found.digest), "answered": upstream, "asked": tuple(asked)})


async def _beside(neighbours: Neighbours, cache: Cache, place: Place, manifest: Manifest) -> list[Asked]:
    """The neighbours of whose folders this caller would read blobs of an image."""
    blobs, read = {each.digest: each.size for each in (*manifest.blobs, *manifest.foreign)}, Counter[str]()
    for digest, size in blobs.items() if neighbours else ():
        copy = None if cache.blob(place.key, digest) else neighbours.find(place.call, digest, size)
        read.update([copy.neighbour] if copy is not None else [])
    reason = f"of {len(blobs)} blobs are read of its folder"
    return [Asked(member=name, outcome="cached", reason=f"{count} {reason}") for name, count in read.items()]


async def _here(cache: Cache, place: Place, digest: str) -> Asked | None:
    known = await cache.store.read(lambda tx: cached.cached_manifest(tx, place.key, str(Digest.parse(digest))))
    return None if known is None else Asked(member=known[0], outcome="cached", reason=f"here since {_date(known[1])}")


async def _giver(cache: Cache, place: Place, digest: Digest) -> str:
    known = await cache.store.read(lambda tx: cached.cached_manifest(tx, place.key, str(digest)))
    return known[0] if known is not None else ""


async def _of_tag(mirror: Explained, place: Place, tag: str) -> Asked:
    known, belief = await mirror.tags_known.known(place.key, tag), mirror.tags_known.belief
    if known is None:  # somebody has just removed it
        return Asked(member="", outcome="answered")
    checked = f"checked {_date(known.checked_at)}"
    if "warning" in place.call.notes:
        return Asked(member=known.upstream, outcome="stale", reason=f"{checked}; {place.call.notes['warning']}")
    return Asked(
        member=known.upstream, outcome="cached", reason=f"{checked}, fresh until {_date(belief.fresh_until(known))}"
    )


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
