"""The short way of a mirror's reads: copies that are fresh, as fast as a local node's. The rest is None: the long way
asks an upstream."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from registry_node.access import Access
from registry_node.known_heads import Asker, Target
from registry_node.prompt import Prompt, Reads, Rendered
from registry_node.recent import Recent
from registry_node.records import Records
from registry_node.registries.mirror.freshness import Belief, Check

_HALF = 16384  # repositories whose keys are remembered
_REGISTRIES = 64  # values of ?ns= that are


class Checked(Protocol):
    """What is remembered of tags (tags.py)."""

    belief: Belief

    def remembered(self, key: str, tag: str) -> Check | None: ...


class MirrorReads:
    """Satisfies ``prompt.Reads``, for requests that mean the registry ``ns`` ("": none said). ``key`` gives the name
    under which a repository's copies are kept; ``used`` is told of every digest that is read."""

    def __init__(
        self,
        inner: Reads,
        tags: Checked,
        key: Callable[[str, str], str],
        used: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        *,
        ns: str = "",
    ) -> None:
        self._inner, self._tags, self._key_of, self._used, self._clock = inner, tags, key, used, clock
        self._ns = ns
        self._keys: Recent[str, str] = Recent(_HALF)

    def named(self, repository: str, reference: str) -> tuple[str, str] | None:
        key = self._key(repository)
        if ":" not in reference:
            known = self._tags.remembered(key, reference)
            if known is None or not self._tags.belief.is_fresh(known, self._clock()):
                return None
            reference = known.digest
        found = self._inner.named(key, reference)
        if found is not None:
            self._used(found[1])
        return found

    def manifest_bytes(self, digest: str) -> bytes | None:
        return self._inner.manifest_bytes(digest)

    def blob_bytes(self, repository: str, digest: str, most: int) -> bytes | None:
        found = self._inner.blob_bytes(self._key(repository), digest, most)
        if found is not None:
            self._used(digest)
        return found

    def of(self, ns: str) -> MirrorReads:
        """The same for another ns."""
        return MirrorReads(self._inner, self._tags, self._key_of, self._used, self._clock, ns=ns)

    def _key(self, repository: str) -> str:
        """Raises NameUnknown."""
        found = self._keys.get(repository)
        if found is None:
            found = self._key_of(repository, self._ns)
            self._keys.put(repository, found)
        return found


class MirrorPrompt(Prompt):
    """Of one event loop, as ``Prompt``."""

    def __init__(self, reads: MirrorReads, access: Access, records: Records) -> None:
        super().__init__(reads, access, records)
        self._plain = reads
        self._of: Recent[str, MirrorReads] = Recent(_REGISTRIES)

    def found(self, target: Target, asker: Asker) -> Rendered | None:
        return self.read(self._within(target.ns) if target.ns else self._plain, target)

    def _within(self, ns: str) -> MirrorReads:
        found = self._of.get(ns)
        if found is None:
            found = self._plain.of(ns)
            self._of.put(ns, found)
        return found
