"""Content digests (OCI image-spec 1.1, "Digests"): ``sha256:<64 hex>`` and ``sha512:<128 hex>``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from oci_wire.errors import DigestInvalid

HEX_LENGTH = {"sha256": 64, "sha512": 128}
_SHAPE = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX = re.compile(r"[0-9a-f]+")


class Hasher(Protocol):
    """The part of a hashlib object that we use."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


_NEW: dict[str, Callable[[], Hasher]] = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}


def new_hasher(algorithm: str) -> Hasher:
    """A running hash; raises DigestInvalid for an algorithm that we do not compute."""
    try:
        return _NEW[algorithm]()
    except KeyError:
        raise DigestInvalid(f"digest algorithm {algorithm!r} is not one of {', '.join(HEX_LENGTH)}") from None


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """One digest. ``str()`` gives back exactly what ``parse`` took."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Raises DigestInvalid when the text is no digest of an algorithm that we compute."""
        algorithm, colon, encoded = text.partition(":")
        length = HEX_LENGTH.get(algorithm)
        if not colon or length is None or len(encoded) != length or not _HEX.fullmatch(encoded):
            raise DigestInvalid(f"{text[:160]!r} is not a digest such as sha256:<64 lower-case hex digits>")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of these bytes."""
        hasher = new_hasher(algorithm)
        hasher.update(content)
        return cls(algorithm, hasher.hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def short(self) -> str:
        """Twelve hex digits, as people write them."""
        return self.hex[:12]

    @property
    def fallback_tag(self) -> str:
        """The tag of the referrers tag schema: 64 of the digits (distribution-spec 1.1, "Referrers Tag Schema")."""
        return f"{self.algorithm}-{self.hex[:64]}"


def looks_like_digest(text: str) -> bool:
    """Whether a reference is meant as a digest: a tag can hold no colon (distribution-spec 1.1)."""
    return ":" in text


def is_digest_shaped(text: str) -> bool:
    """Whether the text fits the image-spec's general digest grammar, known algorithm or not."""
    return _SHAPE.fullmatch(text) is not None
