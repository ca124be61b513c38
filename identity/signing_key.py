"""The key that signs a node's tokens, and what it signs: JWS in compact form, ES256 alone (RFC 7515; RFC 7518 section 3.4).

The algorithm is never the token's choice and no key that it brings along is read. joserfc, which does more than that,
would load all of JOSE into each node (decision 0013); the tests hold both to the same tokens, either way round.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

ALGORITHM = "ES256"
_NUMBER = 32  # bytes of each of the two numbers of a signature
_ECDSA = ec.ECDSA(SHA256())


class SignatureInvalid(Exception):
    """No token, or not signed by this key."""


class SigningKey:
    """A private P-256 key. ``kid``: its thumbprint (RFC 7638)."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key, self._public = key, key.public_key()
        point = self._public.public_numbers()
        x, y = (_text(number.to_bytes(_NUMBER, "big")) for number in (point.x, point.y))
        members = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
        self.kid = _text(hashlib.sha256(members.encode()).digest())

    @classmethod
    def new(cls) -> SigningKey:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """The node's key: a PEM file that its owner alone can read, made at the first start.

        Raises OSError when the folder cannot be written, ValueError when the file is no P-256 key."""
        if not path.exists():
            _write_new(path, cls.new().content(Encoding.PEM))
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise ValueError(f"{path}: other users can read this key (mode {mode:o}); make it 600, or remove it")
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(f"{path}: not an EC private key in PEM form; remove it to get a new one") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ValueError(f"{path}: not a private P-256 key; remove it to get a new one")
        return cls(key)

    def content(self, encoding: Encoding) -> bytes:
        """The key itself, as PKCS 8: secret."""
        return self._key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())

    def signed(self, typ: str, claims: dict[str, Any]) -> str:
        head = {"alg": ALGORITHM, "kid": self.kid, "typ": typ}
        said = f"{_text(json.dumps(head).encode())}.{_text(json.dumps(claims).encode())}"
        numbers = utils.decode_dss_signature(self._key.sign(said.encode(), _ECDSA))
        return f"{said}.{_text(b''.join(each.to_bytes(_NUMBER, 'big') for each in numbers))}"

    def verified(self, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Header and claims of what this key has signed; both are still to be looked at. Raises SignatureInvalid."""
        said, _, encoded = text.rpartition(".")
        head, _, claims = said.partition(".")
        header, signature = _object(head), _bytes(encoded)
        if header.get("alg") != ALGORITHM or "crit" in header or len(signature) != 2 * _NUMBER:
            raise SignatureInvalid
        r, s = int.from_bytes(signature[:_NUMBER], "big"), int.from_bytes(signature[_NUMBER:], "big")
        try:
            self._public.verify(utils.encode_dss_signature(r, s), said.encode(), _ECDSA)
        except InvalidSignature:
            raise SignatureInvalid from None
        return header, _object(claims)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Base64url without padding, in its one spelling: two texts are two tokens. Raises SignatureInvalid."""
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise SignatureInvalid from None
    if _text(content) != text:
        raise SignatureInvalid
    return content


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(text))
    except (ValueError, RecursionError):
        raise SignatureInvalid from None
    if not isinstance(found, dict):
        raise SignatureInvalid
    return found


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
