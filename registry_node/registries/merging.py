"""Lists of several registries as one: in order, each item once, page by page, never more read than a page needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Generic, TypeVar

from oci_wire.errors import ManifestUnknown, NameUnknown, RegistryError
from oci_wire.registry import Page

T = TypeVar("T")
MOST_ITEMS, MOST_PAGES = 100_000, 10_000  # of a list that has to be read as a whole; of any list, for one page of ours
_PAGE = 1000


class Source(Generic[T]):
    """One registry's list from ``after`` on. ``fetch(after)`` gives a page; ``name`` is what items are ordered by; ``keep``
    says which of them are shown. ``ordered``: it comes in byte order of names; others are read whole. ``refuse`` makes
    the error for a list that is none. ``known``: whether it knows of this list at all; ``gave``: whether something of it
    is shown."""

    def __init__(
        self,
        refuse: Callable[[str], RegistryError],
        fetch: Callable[[str], Awaitable[Page[T]]],
        name: Callable[[T], str],
        keep: Callable[[str], bool],
        *,
        ordered: bool,
    ) -> None:
        self._refuse, self._fetch, self._name, self._keep, self._ordered = refuse, fetch, name, keep, ordered
        self._waiting: list[T] = []
        self._at = self._pages = 0
        self._next: str | None = None
        self.known = self.gave = False

    async def begin(self, after: str) -> None:
        """Raises what ``refuse`` makes, and what ``fetch`` raises."""
        self._after = self._last = after
        self._next = after if self._ordered else ""
        try:
            await (self._more() if self._ordered else self._all())
        except (NameUnknown, ManifestUnknown):
            self._next = None
        else:
            self.known = True

    async def peek(self) -> T | None:
        """The next item, None at the end. Raises the same."""
        while self._at >= len(self._waiting):
            if self._next is None:
                return None
            await self._more()
        return self._waiting[self._at]

    def advance(self) -> None:
        self._at += 1
        self.gave = True

    async def _more(self) -> None:
        assert self._next is not None
        page = await self._fetch(self._next)
        names = [self._last, *map(self._name, page.items)]
        if any(one >= other for one, other in pairwise(names)):
            raise self._refuse("its list is not in order")
        self._last, self._at = names[-1], 0
        self._waiting = [each for each in page.items if self._keep(self._name(each))]
        self._turn()
        self._next = page.next

    def _turn(self) -> None:
        """A page has been read: no list goes on for ever."""
        self._pages += 1
        if self._pages > MOST_PAGES:
            raise self._refuse(f"its list has more than {MOST_PAGES} pages")

    async def _all(self) -> None:
        found: dict[str, T] = {}
        after: str | None = ""
        while after is not None:
            page = await self._fetch(after)
            found |= {self._name(each): each for each in page.items}
            self._turn()
            if len(found) > MOST_ITEMS:
                raise self._refuse(f"its list has more than {MOST_ITEMS} items")
            after = page.next
        shown = sorted(name for name in found if name > self._after and self._keep(name))
        self._waiting, self._next = [found[name] for name in shown], None


async def merged(
    sources: Sequence[Source[T]], name: Callable[[T], str], after: str, limit: int | None
) -> Page[T] | None:
    """The first items of all sources after a name. None: no source knows of the list. Raises what the sources raise."""
    await asyncio.gather(*(each.begin(after) for each in sources))
    if not any(each.known for each in sources):
        return None
    wanted = _PAGE if limit is None else limit
    items: list[T] = []
    while True:
        heads = [(each, found) for each in sources if (found := await each.peek()) is not None]
        if not heads or len(items) >= wanted:
            break
        first = min(name(found) for _, found in heads)
        items.append(next(found for _, found in heads if name(found) == first))
        for each, found in heads:
            if name(found) == first:
                each.advance()
    return Page(tuple(items), name(items[-1]) if heads and items else None)
