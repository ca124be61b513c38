"""Long bodies of known length, straight from their connection.

After its first chunk the HTTP parser (h11) holds nothing back, and for each further 64 KiB it would cost five times the CPU
that the kernel does. A thread may read instead of the event loop: it reads for as long as bytes come, hands them to a sink
in large pieces, and goes; a slow server waits on the event loop, so that few threads are enough for any number of them.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import httpcore
import httpx

from oci_wire.client.sockets import SocketStream
from oci_wire.streams import Run, Sink, close

LONG_BODY, READ_BYTES = 256 * 1024, 256 * 1024
PIECE = 512 * 1024  # most bytes that a sink gets at once
_LEAST = 256 * 1024  # bytes that are worth a call of the sink, unless they come slowly:
_LATE = 0.01  # seconds after which fewer go on
_PAUSE = 0.02  # seconds without a byte until the thread goes
_SLICE = 0.25  # seconds until another body gets its turn
_KEPT_BUFFERS = 3
_free: list[mmap.mmap] = []


def told_length(response: httpx.Response) -> int:
    """Of a body that may be read past the parser; 0: of none."""
    told = response.headers.get("content-length", "")
    plain = "transfer-encoding" not in response.headers and "network_stream" in response.extensions
    return int(told) if plain and told.isdigit() else 0


def fits_a_thread(response: httpx.Response) -> bool:
    """Whether this body is worth one, and its connection can be lent to one."""
    return told_length(response) >= 2 * LONG_BODY and isinstance(response.extensions["network_stream"], SocketStream)


async def past_the_parser(response: httpx.Response, left: int) -> AsyncIterator[bytes]:
    """The last ``left`` bytes. Raises httpx.ReadError when they are cut, httpx.ReadTimeout."""
    connection = response.extensions["network_stream"]
    seconds = _read_timeout(response)
    with _as_httpx():
        while left:
            chunk = await connection.read(min(left, READ_BYTES), seconds)
            if not chunk:
                raise httpx.ReadError(f"{left} bytes before its end, the answer ended")
            left -= len(chunk)
            if not left:
                _answered(response)
            yield chunk


async def taken(response: httpx.Response, most: int, sink: Sink, run: Run) -> AsyncGenerator[int, None]:
    """The first ``most`` bytes, given to ``sink`` on a thread; yields how many there were each time, also none. Only of
    a response that ``fits_a_thread``. Raises what ``past_the_parser`` raises, OSError's, and what the sink raises."""
    stream: SocketStream = response.extensions["network_stream"]
    seconds, whole, came = _read_timeout(response), most == told_length(response), 0
    parsed = response.aiter_raw()  # closing it closes the answer
    try:
        first = memoryview(await anext(parsed))[:most]
        await run(partial(sink, first))
        came = len(first)
        yield came
        with _as_httpx():
            while came < most:
                count, ended = await run(partial(_slice, stream, most - came, sink))
                came += count
                if whole and came == most:
                    _answered(response)
                yield count
                if ended and came < most:
                    raise httpx.ReadError(f"{most - came} bytes before its end, the answer ended")
                if not count:
                    await stream.until_readable(seconds)
    finally:
        await close(parsed)


def _slice(stream: SocketStream, left: int, sink: Sink) -> tuple[int, bool]:
    """On a thread: bytes that the sink got, at most ``left``, and whether the connection has ended. Raises
    httpcore.ReadError (only when the sink got nothing: what it has must be counted), and what the sink raises."""
    until, came, ended = time.monotonic() + _SLICE, 0, False
    with _buffer() as buffer, memoryview(buffer) as whole:
        while came < left and not ended and time.monotonic() < until:
            with whole[: left - came] as view:
                try:
                    filled, ended = _filled(stream, view)
                except httpcore.ReadError:
                    if not came:
                        raise
                    return came, True
                if filled:
                    with view[:filled] as piece:
                        sink(piece)
            came += filled
            if not filled:
                break
    return came, ended


def _filled(stream: SocketStream, view: memoryview) -> tuple[int, bool]:
    """Bytes that are worth handing on, none when there are none for a while; whether the connection has ended."""
    filled, late = 0, 0.0
    while filled < len(view) and filled < _LEAST:
        wait = _PAUSE if not filled else late - time.monotonic()
        if wait <= 0:
            break
        try:
            with view[filled:] as room:
                count = stream.receive_into(room, wait)
        except TimeoutError:
            break
        except OSError as error:
            raise httpcore.ReadError(str(error)) from error
        if not count:
            return filled, True
        late = late or time.monotonic() + _LATE
        filled += count
    return filled, False


@contextmanager
def _buffer() -> Iterator[mmap.mmap]:
    """Of a thread's own; a few wait for the next one, others go back to the system (the allocator might keep them)."""
    try:
        buffer = _free.pop()
    except IndexError:
        buffer = mmap.mmap(-1, PIECE)
    try:
        yield buffer
    finally:
        if len(_free) < _KEPT_BUFFERS:
            _free.append(buffer)
        else:
            with suppress(BufferError):  # an error on its way up holds it; it goes with that
                buffer.close()


def _answered(response: httpx.Response) -> None:
    """All was read: the next request may go over the same connection, if the server lets it."""
    stream = response.extensions["network_stream"]
    goes_on = "close" not in response.headers.get("connection", "").lower()
    if isinstance(stream, SocketStream) and goes_on and response.http_version == "HTTP/1.1":
        stream.answered()


def _read_timeout(response: httpx.Response) -> float | None:
    seconds: float | None = response.request.extensions.get("timeout", {}).get("read")
    return seconds


@contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except httpcore.TimeoutException as error:
        raise httpx.ReadTimeout(str(error)) from error
    except httpcore.NetworkError as error:
        raise httpx.ReadError(str(error)) from error
