"""Lists of a remote registry, page by page along its Link headers (RFC 8288), which may not leave it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from oci_wire import routes
from oci_wire.client.fallback import Fallback
from oci_wire.client.tokens import CATALOG_NEED, Need
from oci_wire.client.transport import Answer, Ask
from oci_wire.client.uploads import Uploads
from oci_wire.descriptor import Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import Internal, ManifestUnknown, NameUnknown, Unsupported
from oci_wire.manifest import OCI_INDEX, Manifest
from oci_wire.registry import Call, Page

PAGE = 1000
_NEXT = re.compile(r'<([^>]*)>[^,]*?;\s*rel="?next"?(?:[;,\s]|$)', re.IGNORECASE)


class Listings(Uploads):
    async def repositories(self, call: Call, *, after: str = "", limit: int | None = None) -> Page[str]:
        """Those of the namespace. Where it is narrower than the registry, a page may be short and not the last."""
        last = self._where.there(after) if after and not after.startswith("/") else after
        found = await self._names(call, "repositories", CATALOG_NEED, last, lambda: routes.catalog(last, limit or PAGE))
        here = tuple(name for each in found.items if (name := self._where.here(each)) is not None)
        following = found.next and (found.next if found.next.startswith("/") else self._where.here(found.next))
        return Page(here, following or None)

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        name = self._where.there(repository)
        wanted = PAGE if limit is None else limit
        return await self._names(call, "tags", self._pull(name), after, lambda: routes.tags(name, after, wanted))

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        """From the API, or from the fallback tag where a registry has none."""
        if self._has_referrers is False:
            return Page(_of_type(await Fallback(self, call, repository).read(digest), artifact_type))
        name = self._where.there(repository)
        target = after or str(routes.referrers(name, digest, artifact_type))
        ask = Ask("GET", self._inside(target), self._pull(name), {"Accept": OCI_INDEX}, default=ManifestUnknown)
        try:
            answer = await self._transport.send(call, ask)
        except (ManifestUnknown, NameUnknown, Unsupported) as error:
            if self._has_referrers:  # it has the API, and not this repository
                return Page(())
            listed = await Fallback(self, call, repository).read(digest)
            self._has_referrers = None if isinstance(error, NameUnknown) else False
            return Page(_of_type(listed, artifact_type))
        self._has_referrers = True
        listed = Manifest.parse(answer.content, OCI_INDEX).children
        return Page(_of_type(listed, artifact_type), self._next(answer))

    async def _names(
        self, call: Call, key: str, wanted: Need, after: str, route: Callable[[], routes.Route]
    ) -> Page[str]:
        target = self._inside(after) if after.startswith("/") else str(route())
        answer = await self._transport.send(call, Ask("GET", target, wanted, default=NameUnknown))
        names = _strings(answer.json(), key, answer)
        following = self._next(answer)
        return Page(names, _plain(following, names) if following else None)

    def _inside(self, target: str) -> str | httpx.URL:
        """A path of ours, or one that a Link gave us (``/`` and the base path in front)."""
        return self._transport.follow(self._transport.locate("/v2/"), target) if target.startswith("/") else target

    def _next(self, answer: Answer) -> str | None:
        """Path and query of the next page. Raises Unsupported when it is elsewhere."""
        found = _NEXT.search(", ".join(answer.headers.get_list("link")))
        if found is None:
            return None
        url = self._transport.follow(answer.url, found[1])
        if not self._transport.is_home(url):
            raise Unsupported(f"{self._transport.home} goes on with its list at {url.host}: not followed")
        return url.raw_path.decode("ascii")


def _plain(following: str, names: Sequence[str]) -> str:
    """Most registries go on after the last name: then that name is the mark, as in every other registry here."""
    query = httpx.QueryParams(following.partition("?")[2])
    ordinary = set(query) <= {"n", "last"} and names and query.get("last") == names[-1]
    return names[-1] if ordinary else following


def _of_type(descriptors: Sequence[Descriptor], artifact_type: str) -> tuple[Descriptor, ...]:
    """Filtered here as well: a registry may ignore the filter (distribution-spec 1.1)."""
    return tuple(each for each in descriptors if artifact_type in ("", each.artifact_type))


def _strings(body: Any, key: str, answer: Answer) -> tuple[str, ...]:
    found = body.get(key) if isinstance(body, dict) else None
    if found is None and isinstance(body, dict):
        return ()
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise Internal(f"{answer.url.host} sent a list of {key} that is none")
    return tuple(found)
