"""Lists of several upstreams as one: what a pull would find. Each is read whole, as it comes in an order of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from oci_wire.errors import BadGateway, NameUnknown, UpstreamFailed
from oci_wire.registry import Page
from registry_node.registries.merging import Source, merged
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.upstreams.guarded import Guarded

T = TypeVar("T")
Fetch = Callable[[str], Awaitable[Page[T]]]  # the page after this name


class Asked(NamedTuple):
    """An upstream, and what its list is called there."""

    guarded: Guarded
    repository: str


async def merged_list(
    asked: Sequence[Asked],
    fetch: Callable[[Asked, str], Awaitable[Page[T]]],
    name: Callable[[T], str],
    after: str,
    limit: int | None,
    *,
    whole: bool,
) -> Page[T] | None:
    """None: none of them knows of it. ``whole``: one that fails fails the list, as what it has would be missing; else
    only when no other one has any. Raises UpstreamFailed."""
    failed: list[UpstreamFailed] = []
    sources = [_source(each, partial(fetch, each), name, None if whole else failed) for each in asked]
    found = await merged(sources, name, after, limit)
    if found is None and failed:
        raise failed[0]
    return found


def _source(asked: Asked, fetch: Fetch[T], name: Callable[[T], str], failed: list[UpstreamFailed] | None) -> Source[T]:
    upstream = asked.guarded

    async def page(after: str) -> Page[T]:
        try:
            return await upstream.ask(lambda: fetch(after))
        except ABSENT as error:
            raise NameUnknown(error.message) from None
        except UpstreamFailed as error:
            if failed is None:
                raise
            failed.append(error)
            raise NameUnknown(error.message) from None

    def refuse(text: str) -> BadGateway:
        return BadGateway(f"upstream {upstream.name}: {text}", upstream=upstream.name, reason="bad-answer")

    return Source(refuse, page, name, bool, ordered=False)
