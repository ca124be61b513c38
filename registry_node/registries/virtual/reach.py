"""Whether a tag that a caller may pull reaches a digest, asked of any registry through its port.

For grants that name tags (identity/grants.py). A local node asks its index; here tags are walked: what an image needs is
remembered by its digest, what refers to it is asked each time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from oci_wire.closure import Source, walk
from oci_wire.digest import Digest
from oci_wire.errors import ManifestUnknown, NameUnknown
from oci_wire.registry import Call
from registry_node.recent import Recent

MOST_TAGS = 1000  # beyond them it fails closed


class Reach:
    """Of one registry."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._needs: Recent[tuple[str, Digest], frozenset[Digest]] = Recent(512)

    async def reached(self, call: Call, repository: str, digest: Digest, wanted: Callable[[str], bool]) -> bool:
        """False for what is not there. Raises what the registry does that does not mean absent."""
        roots: list[Digest] = []
        async for tag in self._tags(call, repository, wanted):
            try:
                root = (await self._source.resolve(call, repository, tag)).digest
            except (ManifestUnknown, NameUnknown):
                continue
            if digest in await self._needed(call, repository, root):
                return True
            roots.append(root)
        for root in dict.fromkeys(roots):
            async for link in walk(self._source, call, repository, root):
                if link.descriptor.digest == digest:
                    return True
        return False

    async def _tags(self, call: Call, repository: str, wanted: Callable[[str], bool]) -> AsyncIterator[str]:
        after: str | None = ""
        given = 0
        while after is not None and given < MOST_TAGS:
            try:
                page = await self._source.tags(call, repository, after=after)
            except NameUnknown:
                return
            for tag in filter(wanted, page.items[: MOST_TAGS - given]):
                given += 1
                yield tag
            after = page.next

    async def _needed(self, call: Call, repository: str, root: Digest) -> frozenset[Digest]:
        known = self._needs.get((repository, root))
        if known is None:
            links = [each async for each in walk(self._source, call, repository, root, evidence=False)]
            known = frozenset(each.descriptor.digest for each in links)
            if not any(each.problem for each in links):
                self._needs.put((repository, root), known)
        return known
