"""Ranges: of a download (RFC 9110 section 14, one range), and of an upload's chunk (distribution-spec 1.1)."""

from __future__ import annotations

from oci_wire.errors import RangeInvalid, RequestInvalid
from oci_wire.registry import ByteRange

_DIGITS = 18  # no blob has more


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def download(header: str | None) -> ByteRange | None:
    """The part asked for; None for all of it, which RFC 9110 allows for what we do not read: other units, several
    ranges (so many small ranges cost one read). Raises RangeInvalid for a range that runs backwards."""
    if header is None:
        return None
    unit, _, ranges = header.partition("=")
    if unit.strip().lower() != "bytes" or "," in ranges:
        return None
    first, dash, last = (part.strip() for part in ranges.partition("-"))
    start, end = _number(first), _number(last)
    if not dash or (first and start is None) or (last and end is None) or (start is None and end is None):
        return None
    if start is None:
        if not end:
            raise RangeInvalid("the last 0 bytes are no range")
        return ByteRange(-end)
    if end is not None and end < start:
        raise RangeInvalid(f"the range {first}-{last} runs backwards")
    return ByteRange(start, None if end is None else end + 1)


def upload(header: str | None) -> ByteRange | None:
    """A chunk's ``Content-Range: <start>-<end>``, end inclusive; clients that write RFC 9110's form
    (``bytes a-b/total``) are understood. Raises RequestInvalid."""
    if header is None:
        return None
    first, dash, last = header.strip().removeprefix("bytes").strip().partition("/")[0].partition("-")
    start, end = _number(first), _number(last)
    if not dash or start is None or end is None or end < start - 1:
        raise RequestInvalid("Content-Range must be <first byte>-<last byte>")
    return ByteRange(start, end + 1)
