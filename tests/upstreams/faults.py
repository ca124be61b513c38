"""What can be wrong with an upstream's answer, by name: each takes a request, the honest reply and a Random, and gives
the faulty one. Nothing here is valid by chance: what a mirror may pass on of it are at most the honest bytes."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable
from functools import cache
from random import Random

from tests.upstreams.serving import Deliver, Reply, Request, refusal

Fault = Callable[[Request, Reply, Random], Reply]
BOMB_BYTES = 128 * 1024 * 1024
METADATA = "http://169.254.169.254/latest/meta-data/iam/"
_ENDLESS_CHUNKS = 2000  # of 64 KiB: no test waits for the end


def _some(reply: Reply, random: Random) -> int:
    return random.randrange(max(1, len(reply.body)))


def _cut_after(count: int) -> Deliver:
    async def deliver(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
        writer.write(head + body[:count])
        await writer.drain()
        await asyncio.sleep(0)
        return False

    return deliver


def _then_nothing(count: int) -> Deliver:
    async def deliver(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
        writer.write(head + body[:count])
        await writer.drain()
        await asyncio.sleep(3600)
        return False

    return deliver


async def _drip(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
    writer.write(head)
    for at in range(len(body)):
        writer.write(body[at : at + 1])
        await writer.drain()
        await asyncio.sleep(1)
    return False


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


async def _endless(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
    writer.write(head + (_chunk(body) if body else b""))
    for _ in range(_ENDLESS_CHUNKS):
        writer.write(_chunk(b"x" * 65536))
        await writer.drain()
    return False


def _unended(tail: bytes) -> Deliver:
    async def deliver(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
        writer.write(head + (_chunk(body) if body else b"") + tail)
        await writer.drain()
        return bool(tail)

    return deliver


async def _noise(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
    writer.write(b"\x16\x03\x01 SSH-2.0 this is no HTTP\r\n\r\n" + body)
    await writer.drain()
    return False


async def _nothing(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
    await asyncio.sleep(3600)
    return False


def _chunked(reply: Reply) -> Reply:
    headers = {name: value for name, value in reply.headers.items() if name != "content-length"}
    return reply.but(headers={**headers, "transfer-encoding": "chunked"})


def truncated(request: Request, reply: Reply, random: Random) -> Reply:
    """The right length is told, less comes, then the end."""
    return reply.but(deliver=_cut_after(_some(reply, random)))


def shortened(request: Request, reply: Reply, random: Random) -> Reply:
    """A part, with the part's length."""
    body = reply.body[: _some(reply, random)]
    return reply.but(body=body).with_headers(content_length=str(len(body)))


def changed_byte(request: Request, reply: Reply, random: Random) -> Reply:
    """The right length, one bit wrong; the digest header is right."""
    body = bytearray(reply.body)
    body[_some(reply, random)] ^= 1 << random.randrange(8)
    return reply.but(body=bytes(body))


def other_bytes(request: Request, reply: Reply, random: Random) -> Reply:
    """The right length and digest header, all bytes wrong."""
    return reply.but(body=bytes(each ^ 0x5A for each in reply.body))


def too_long(request: Request, reply: Reply, random: Random) -> Reply:
    body = reply.body + b"and more" * random.randrange(1, 5000)
    return reply.but(body=body).with_headers(content_length=str(len(body)))


def too_long_chunked(request: Request, reply: Reply, random: Random) -> Reply:
    return _chunked(reply).but(body=reply.body + b"x", deliver=_unended(b"0\r\n\r\n"))


def endless(request: Request, reply: Reply, random: Random) -> Reply:
    """Chunks, and no last one."""
    return _chunked(reply).but(deliver=_endless)


def unended(request: Request, reply: Reply, random: Random) -> Reply:
    """All of it in chunks, then the connection ends without the last chunk."""
    return _chunked(reply).but(deliver=_unended(b""))


def gzipped(request: Request, reply: Reply, random: Random) -> Reply:
    """Packed, though nobody asked for that."""
    body = gzip.compress(reply.body, 1)
    return reply.but(body=body).with_headers(content_encoding="gzip", content_length=str(len(body)))


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(BOMB_BYTES), 1)


def gzip_bomb(request: Request, reply: Reply, random: Random) -> Reply:
    """A little that unpacks to a lot."""
    body = _bomb()
    return reply.but(body=body).with_headers(content_encoding="gzip", content_length=str(len(body)))


def drip(request: Request, reply: Reply, random: Random) -> Reply:
    """A byte a second."""
    return reply.but(deliver=_drip)


def stall(request: Request, reply: Reply, random: Random) -> Reply:
    """It begins, then nothing comes, and the connection stays."""
    return reply.but(deliver=_then_nothing(_some(reply, random)))


def silence(request: Request, reply: Reply, random: Random) -> Reply:
    return reply.but(deliver=_nothing)


def no_http(request: Request, reply: Reply, random: Random) -> Reply:
    return reply.but(deliver=_noise)


def hang_up(request: Request, reply: Reply, random: Random) -> Reply:
    """The connection ends before a word is said."""
    return reply.but(deliver=_cut_before)


async def _cut_before(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> bool:
    writer.transport.abort()
    return False


def server_error(request: Request, reply: Reply, random: Random) -> Reply:
    return refusal(random.choice((500, 502, 503, 504)), "UNKNOWN", "the upstream is broken")


def too_many(request: Request, reply: Reply, random: Random) -> Reply:
    return refusal(429, "TOOMANYREQUESTS", "spent", retry_after="1")


def too_many_untold(request: Request, reply: Reply, random: Random) -> Reply:
    """It does not say for how long: a mirror leaves it alone for a minute."""
    return refusal(429, "TOOMANYREQUESTS", "spent", **random.choice(({}, {"retry_after": "soon"})))


def web_page(request: Request, reply: Reply, random: Random) -> Reply:
    """A captive portal: 200, and not what was asked for."""
    return Reply(200, {"content-type": "text/html"}, b"<html>please sign in</html>")


def other_media_type(request: Request, reply: Reply, random: Random) -> Reply:
    """The bytes are right, what they are said to be is not."""
    return reply.with_headers(content_type=random.choice(("text/html", "application/x", "")))


def other_manifest(request: Request, reply: Reply, random: Random) -> Reply:
    """Valid, and another one than its digest header says; for a blob, other bytes."""
    try:
        body = json.dumps({**json.loads(reply.body), "annotations": {"from": "elsewhere"}}).encode()
    except (ValueError, TypeError):
        return other_bytes(request, reply, random)
    return reply.but(body=body).with_headers(content_length=str(len(body)))


def other_digest(request: Request, reply: Reply, random: Random) -> Reply:
    """The header names another digest than the bytes have."""
    return reply.with_headers(docker_content_digest=f"sha256:{random.randrange(16**64):064x}")


def other_range(request: Request, reply: Reply, random: Random) -> Reply:
    """206 for another part than was asked for, or without having been asked."""
    size = len(reply.body)
    start = random.randrange(1, max(2, size))
    part = reply.body[start:] or b"x"
    told = reply.headers.get("content-range", f"bytes 0-{size - 1}/{size}")
    lie = random.choice((told, f"bytes {start}-{size - 1}/{size}", f"bytes 5-{size}/{size * 2}", "bytes */x"))
    return reply.but(status=206, body=part).with_headers(content_range=lie, content_length=str(len(part)))


def redirect_to_metadata(request: Request, reply: Reply, random: Random) -> Reply:
    """To where a cloud keeps a machine's secrets."""
    return Reply(307, {"location": METADATA})


def redirect_round(request: Request, reply: Reply, random: Random) -> Reply:
    return Reply(307, {"location": request.path})


def redirect_to_file(request: Request, reply: Reply, random: Random) -> Reply:
    return Reply(307, {"location": random.choice(("file:///etc/passwd", "ftp://127.0.0.1/x", "//", "http://", "::"))})


def many_headers(request: Request, reply: Reply, random: Random) -> Reply:
    return reply.but(headers={**reply.headers, "x-much": "x" * 1_000_000})


def two_lengths(request: Request, reply: Reply, random: Random) -> Reply:
    return reply.but(headers={**reply.headers, "content-length": str(len(reply.body)), "Content-Length": "7"})


# Those that a mirror has to wait for are few of a plan: each costs its patience.
QUICK: tuple[Fault, ...] = (
    *(truncated, shortened, changed_byte, other_bytes, too_long, too_long_chunked, endless, unended, gzipped),
    *(
        no_http,
        hang_up,
        server_error,
        too_many,
        too_many_untold,
        web_page,
        other_media_type,
        other_manifest,
        other_digest,
    ),
    *(other_range, redirect_to_metadata, redirect_round, redirect_to_file, many_headers, two_lengths, gzip_bomb),
)
SLOW: tuple[Fault, ...] = (drip, stall, silence)
