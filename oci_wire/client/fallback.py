"""The referrers tag schema (distribution-spec 1.1): where a registry has no referrers API, an index under the tag
``<algorithm>-<hex>`` lists what refers to a digest, and its clients keep that list."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Conflict, ManifestUnknown, NameUnknown
from oci_wire.manifest import OCI_INDEX, Manifest
from oci_wire.registry import Call

Entries = list[dict[str, Any]]
_ROUNDS = 5


class ManifestStore(Protocol):
    """What this needs of a registry."""

    async def get_manifest(self, call: Call, repository: str, reference: str) -> Manifest: ...

    async def put_manifest(
        self, call: Call, repository: str, manifest: Manifest, *, tags: Sequence[str] = ()
    ) -> Descriptor: ...


@dataclass(frozen=True, slots=True)
class Fallback:
    registry: ManifestStore
    call: Call
    repository: str

    async def read(self, subject: Digest) -> tuple[Descriptor, ...]:
        """What the fallback index lists; empty without one."""
        found = await self._index_of(subject)
        return found.children if found else ()

    async def add(self, subject: Digest, referrer: Descriptor) -> None:
        """Raises Conflict when other writers keep undoing it."""
        await self._change(subject, lambda old: old if _lists(old, referrer.digest) else [*old, referrer.to_json()])

    async def remove(self, subject: Digest, referrer: Digest) -> None:
        await self._change(subject, lambda old: [each for each in old if each.get("digest") != str(referrer)])

    async def _change(self, subject: Digest, change: Callable[[Entries], Entries]) -> None:
        """The protocol has no compare-and-swap here: write, look again, and repeat when another writer was between.
        The entries of others stay as they are, fields that we do not know included."""
        for _ in range(_ROUNDS):
            listed = await self._entries(subject)
            wanted = change(listed)
            if wanted == listed:
                return
            await self.registry.put_manifest(self.call, self.repository, _index(wanted), tags=(subject.fallback_tag,))
        raise Conflict(f"other writers keep changing {subject.fallback_tag} in {self.repository}")

    async def _entries(self, subject: Digest) -> Entries:
        found = await self._index_of(subject)
        entries: Entries = json.loads(found.content)["manifests"] if found else []
        return entries

    async def _index_of(self, subject: Digest) -> Manifest | None:
        try:
            found = await self.registry.get_manifest(self.call, self.repository, subject.fallback_tag)
        except (ManifestUnknown, NameUnknown):
            return None
        return found if found.is_index else None


def _lists(entries: Entries, digest: Digest) -> bool:
    return any(each.get("digest") == str(digest) for each in entries)


def _index(entries: Entries) -> Manifest:
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return Manifest.parse(json.dumps(body).encode(), OCI_INDEX)
