"""A stream that proves itself: its last chunk comes only once digest and size match.

So whoever copies it to a place of known length never completes wrong bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from oci_wire.digest import Digest, new_hasher
from oci_wire.errors import DigestInvalid, SizeInvalid
from oci_wire.registry import Chunks


async def verified(chunks: Chunks, digest: Digest, size: int | None = None) -> AsyncIterator[bytes]:
    """The same bytes, one chunk late. ``size`` None: only the digest is checked.

    Raises SizeInvalid when there are more or fewer bytes, DigestInvalid when they hash to something else; in either
    case the last chunk has not been given out. Closes ``chunks`` in the end."""
    hasher = new_hasher(digest.algorithm)
    held, received = b"", 0
    try:
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
    finally:
        await close(chunks)


async def close(chunks: Chunks) -> None:
    """Ends a stream early, so that what stands behind it is given back."""
    end = getattr(chunks, "aclose", None)
    if end is not None:
        await end()
