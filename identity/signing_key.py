"""The key that signs a node's tokens, and what it signs: JWS in compact form, ES256 alone (RFC 7515; RFC 7518 section 3.4).

The algorithm is never the token's choice and no key that it brings along is read. Of joserfc its signatures alone are used:
``joserfc.jwt`` would load encryption as well, which no token of ours has.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

ALGORITHM = "ES256"


class SignatureInvalid(Exception):
    """No token, or not signed by this key."""


class SigningKey:
    """A private P-256 key. ``kid``: its thumbprint (RFC 7638)."""

    def __init__(self, key: ECKey) -> None:
        self._key, self.kid = key, key.thumbprint()

    @classmethod
    def new(cls) -> SigningKey:
        return cls(ECKey.generate_key("P-256", private=True))

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """The node's key: a PEM file that its owner alone can read, made at the first start.

        Raises OSError when the folder cannot be written, ValueError when the file is no P-256 key."""
        if not path.exists():
            _write_new(path, cls.new()._key.as_pem(private=True))
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise ValueError(f"{path}: other users can read this key (mode {mode:o}); make it 600, or remove it")
        try:
            key = ECKey.import_key(path.read_bytes())
        except (JoseError, ValueError, TypeError) as error:
            raise ValueError(f"{path}: not an EC private key in PEM form; remove it to get a new one") from error
        if key.curve_name != "P-256" or not key.is_private:
            raise ValueError(f"{path}: not a private P-256 key; remove it to get a new one")
        return cls(key)

    @property
    def secret(self) -> bytes:
        """The key itself, as DER."""
        return self._key.as_der(private=True)

    def signed(self, typ: str, claims: dict[str, Any]) -> str:
        head = {"alg": ALGORITHM, "kid": self.kid, "typ": typ}
        return jws.serialize_compact(head, json.dumps(claims), self._key, algorithms=[ALGORITHM])

    def verified(self, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Header and claims of what this key has signed; both are still to be looked at. Raises SignatureInvalid."""
        try:
            signed = jws.deserialize_compact(text, self._key, algorithms=[ALGORITHM])
            header, claims = signed.headers(), json.loads(signed.payload or b"")
        except (JoseError, ValueError, TypeError, RecursionError):
            raise SignatureInvalid from None
        if not isinstance(claims, dict):
            raise SignatureInvalid
        return dict(header), claims


def _write_new(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.rename(path)
