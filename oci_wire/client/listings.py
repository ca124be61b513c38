"""Lists of a remote registry, page by page along its Link headers (RFC 8288), which may not leave it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx

from oci_wire import routes
from oci_wire.client.fallback import Fallback
from oci_wire.client.tokens import CATALOG_NEED
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
        wanted = PAGE if limit is None else limit
        last = self._where.there(after) if after and not after.startswith("/") else ""
        ask = Ask("GET", self._inside(after) or str(routes.catalog(last, wanted)), CATALOG_NEED)
        names, following = await self._names(call, "repositories", ask)
        here = tuple(name for each in names if (name := self._where.here(each)) is not None)
        if following is None:
            return _window(here, after, limit)
        return Page(here, following if self._where.namespace else _plain(following, names))

    async def tags(self, call: Call, repository: str, *, after: str = "", limit: int | None = None) -> Page[str]:
        name = self._where.there(repository)
        wanted = PAGE if limit is None else limit
        target = self._inside(after) or str(routes.tags(name, after, wanted))
        names, following = await self._names(call, "tags", Ask("GET", target, self._pull(name), default=NameUnknown))
        return _window(names, after, limit) if following is None else Page(names, _plain(following, names))

    async def referrers(
        self, call: Call, repository: str, digest: Digest, *, artifact_type: str = "", after: str = ""
    ) -> Page[Descriptor]:
        """From the API, or from the fallback tag where a registry has none. ``after``: a mark that a page gave; or a
        digest, for a node of ours."""
        if self._has_referrers is False:
            return Page(_of_type(await Fallback(self, call, repository).read(digest), artifact_type))
        name = self._where.there(repository)
        first = routes.referrers(name, digest, artifact_type)
        first = replace(first, query=(*first.query, ("last", after))) if after else first
        target = self._inside(after) or str(first)
        ask = Ask("GET", target, self._pull(name), {"Accept": OCI_INDEX}, default=ManifestUnknown)
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

    async def _names(self, call: Call, key: str, ask: Ask) -> tuple[tuple[str, ...], str | None]:
        """One page, and where the next one is."""
        answer = await self._transport.send(call, ask)
        return _strings(answer.json(), key, answer), self._next(answer)

    def _inside(self, after: str) -> httpx.URL | None:
        """The URL of the next page when ``after`` is one that a Link gave us (it begins with a slash)."""
        return self._transport.follow(self._transport.locate("/v2/"), after) if after.startswith("/") else None

    def _next(self, answer: Answer) -> str | None:
        """Path and query of the next page. Raises Unsupported when it is elsewhere."""
        found = _NEXT.search(", ".join(answer.headers.get_list("link")))
        if found is None:
            return None
        url = self._transport.follow(answer.url, found[1])
        if not self._transport.is_home(url):
            raise Unsupported(f"{self._transport.home} goes on with its list at {url.host}: not followed")
        return url.raw_path.decode("ascii")


def _window(names: Sequence[str], after: str, limit: int | None) -> Page[str]:
    """The last page; or all names at once, in any order, from a registry that knows neither ``n`` nor ``last``."""
    rest = sorted(name for name in names if name > after or after.startswith("/"))
    if limit is None or len(rest) <= limit:
        return Page(tuple(rest))
    return Page(tuple(rest[:limit]), rest[limit - 1] if limit else None)


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
