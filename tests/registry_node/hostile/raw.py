"""Bytes to a socket and back, as a client sends them that keeps to no rule."""

from __future__ import annotations

import asyncio
import contextlib
import re

_STATUS = re.compile(rb"(?:^|\r\n|(?<=[^\r\n]))HTTP/1\.[01] (\d{3})[ \r]")


async def exchanged(host: str, wire: bytes, *, seconds: float = 5.0) -> tuple[bytes, bool]:
    """What a server says to these bytes until it ends the connection, and whether it did in this time."""
    name, _, port = host.rpartition(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    said = bytearray()
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(wire)
            await writer.drain()
        ended = await _read(reader, said, seconds)
    finally:
        writer.transport.abort()
    return bytes(said), ended


async def _read(reader: asyncio.StreamReader, said: bytearray, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            while content := await reader.read(65536):
                said += content
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def statuses(said: bytes) -> list[int]:
    """The status of each answer, 100 Continue left out."""
    return [status for each in _STATUS.findall(said) if (status := int(each)) != 100]
