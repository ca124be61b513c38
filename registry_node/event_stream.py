"""The events of a node as a stream of lines that waits for news (oci_wire/extension.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from oci_wire.errors import Denied
from oci_wire.extension import Event
from registry_node import parameters
from registry_node.exchange import Exchange
from registry_node.extension_routes import ExtensionRoute
from registry_node.messages import ClientGone, Response

_MAX_WAIT = 60.0  # seconds


async def events(exchange: Exchange, route: ExtensionRoute) -> Response:
    """The status is known only once the first event is there, or the wait is over: 410 must still be possible."""
    exchange.caller.require_name()
    if not exchange.caller.may_promote_something():
        raise Denied("the events of a node need a grant to promote", why="no-grant")
    after = parameters.whole(route, "after", 0)
    wait = min(parameters.seconds(route, "wait"), _MAX_WAIT)
    stream = _until_draining(exchange, exchange.registry.events(exchange.call, after=after, wait=wait))
    first = await _unless_gone(exchange, _next(stream))
    return Response(200, {"content-type": "application/x-ndjson"}, _lines(exchange, first, stream))


async def _unless_gone(exchange: Exchange, first: Coroutine[Any, Any, Event | None]) -> Event | None:
    """What is awaited before an answer begins: a client that hangs up meanwhile must not be waited for. Raises
    ClientGone."""
    wanted, gone = asyncio.create_task(first), asyncio.create_task(exchange.request.hung_up())
    try:
        await asyncio.wait({wanted, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            raise ClientGone
        return wanted.result()
    finally:
        for each in (wanted, gone):
            each.cancel()
        await asyncio.gather(wanted, gone, return_exceptions=True)


async def _until_draining(exchange: Exchange, stream: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """A node that shuts down ends the wait of those who listen."""
    stop = asyncio.create_task(exchange.node.draining.wait())
    try:
        while True:
            following = asyncio.ensure_future(_next(stream))
            await asyncio.wait({following, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                return
            event = following.result()
            if event is None:
                return
            yield event
    finally:
        stop.cancel()


async def _next(stream: AsyncIterator[Event]) -> Event | None:
    return await anext(stream, None)


async def _lines(exchange: Exchange, first: Event | None, rest: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    event = first
    while event is not None:
        if exchange.caller.may_promote(event.repository):
            yield event.model_dump_json().encode() + b"\n"
        event = await anext(rest, None)
