"""A stream that proves itself: its last chunk comes only once digest and size match.

So whoever copies it to a place of known length never completes wrong bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from oci_wire.digest import Digest, new_hasher
from oci_wire.errors import DigestInvalid, SizeInvalid
from oci_wire.registry import Chunks
from oci_wire.streams import Owned, close


def verified(chunks: Chunks, digest: Digest, size: int | None = None) -> Owned:
    """The same bytes, one chunk late. ``size`` None: only the digest is checked.

    Raises SizeInvalid when there are more or fewer bytes, DigestInvalid when they hash to something else; in either
    case the last chunk has not been given out. Closing it closes ``chunks``."""
    return Owned(_verified(chunks, digest, size), partial(close, chunks))


async def _verified(chunks: Chunks, digest: Digest, size: int | None) -> AsyncIterator[bytes]:
    hasher = new_hasher(digest.algorithm)
    held, received = b"", 0
    async for chunk in chunks:
        if not chunk:
            continue
        received += len(chunk)
        if size is not None and received > size:
            raise SizeInvalid(f"{digest} has {size} bytes, and more came")
        hasher.update(chunk)
        if held:
            yield held
        held = bytes(chunk)
    if size is not None and received < size:
        raise SizeInvalid(f"{digest} has {size} bytes, only {received} came")
    if hasher.hexdigest() != digest.hex:
        raise DigestInvalid(f"the {received} bytes that came are not {digest}")
    if held:
        yield held
