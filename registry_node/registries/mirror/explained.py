"""Why a reference means what it means at a mirror: which upstream said so, when, and how long that is believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Protocol

from oci_wire.digest import Digest, looks_like_digest
from oci_wire.errors import RegistryError, UpstreamFailed
from oci_wire.extension import Asked, Explanation
from oci_wire.manifest import Manifest
from oci_wire.registry import Call
from registry_node.registries.mirror.cache import Cache
from registry_node.registries.mirror.context import Place
from registry_node.registries.mirror.neighbours import Neighbours
from registry_node.registries.mirror.sources import ABSENT
from registry_node.registries.mirror.tags import Tags
from registry_node.registries.upstreams.routing import Routing
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
        return told.model_copy(update={"asked": tuple(_unanswered(error, place, settings, tag))})
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


def _unanswered(error: RegistryError, place: Place, settings: Mirror, tag: str | None) -> Iterator[Asked]:
    """What became of each upstream when none has answered: in order, up to the one that failed."""
    routed = [each.upstream.name for each in Routing(settings).routes(place.repository, place.call.ns)]
    failed = error.upstream if isinstance(error, UpstreamFailed) else ""
    goes_on = tag is None or settings.on_outage == "next"
    heard = routed if failed not in routed or goes_on else routed[: routed.index(failed) + 1]
    for each in settings.upstreams:
        if each.name not in routed:
            yield Asked(member=each.name, outcome="not asked", reason=f"it is not asked for {place.repository}")
        elif each.name not in heard:
            yield Asked(member=each.name, outcome="not asked", reason=f"{failed} before it could not answer")
        elif isinstance(error, ABSENT) or (failed in routed and each.name != failed):
            yield Asked(member=each.name, outcome="absent", reason="it did not give it")
        else:
            yield Asked(member=each.name, outcome="failed", reason=error.message)


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
