"""Signing keys: public keys in PEM, private keys in PEM (PKCS 8) or as cosign writes them (encrypted).

Source: sigstore/cosign ``pkg/cosign/keys.go``; secure-systems-lab/go-securesystemslib ``encrypted`` (scrypt and
NaCl secretbox).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s*([A-Za-z0-9+/=\s]*?)-----END \1-----")
ENCRYPTED = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
PLAIN = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
MIN_RSA_BITS = 2048
_MAX_SCRYPT = {"N": 2**20, "r": 16, "p": 4}  # a hostile key file must not take the machine's memory
_CURVE_HASH: dict[str, hashes.HashAlgorithm] = {"secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}

AnyPublic = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
AnyPrivate = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class KeyInvalid(Exception):
    """The bytes are no key that can be used; the message says why, without any of the bytes."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    key: AnyPublic

    @property
    def der(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def pem(self) -> bytes:
        return self.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def hint(self) -> str:
        """As sigstore bundles name a key: base64 of the SHA-256 of its DER."""
        return base64.b64encode(hashlib.sha256(self.der).digest()).decode()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature over exactly this message. Never raises."""
        for algorithm in _hashes_of(self.key):
            try:
                _verify(self.key, signature, message, algorithm)
                return True
            except (InvalidSignature, ValueError):
                continue
        return False


@dataclass(frozen=True, slots=True)
class PrivateKey:
    key: AnyPrivate

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        """A signature; of ECDSA keys a new one each time."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(message, ec.ECDSA(_hashes_of(self.key.public_key())[0]))


def _hashes_of(key: AnyPublic) -> tuple[hashes.HashAlgorithm, ...]:
    """The curve's own hash first; older cosign signed with SHA-256 whatever the curve."""
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return (hashes.SHA256(),)
    own = _CURVE_HASH.get(key.curve.name)
    return (own, hashes.SHA256()) if own else (hashes.SHA256(),)


def _verify(key: AnyPublic, signature: bytes, message: bytes, algorithm: hashes.HashAlgorithm) -> None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, message)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, message, padding.PKCS1v15(), algorithm)
    else:
        key.verify(signature, message, ec.ECDSA(algorithm))


def load_public(content: bytes) -> PublicKey:
    """One PEM public key. A certificate is refused, never read as a key: its own validity would be skipped.

    Raises KeyInvalid."""
    kind, _ = _one_block(content)
    if "CERTIFICATE" in kind:
        raise KeyInvalid("this is a certificate, not a public key; give the key alone (PEM, BEGIN PUBLIC KEY)")
    if "PRIVATE" in kind:
        raise KeyInvalid("this is a private key; a trust entry names the public one")
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyInvalid("this is no public key that can be read (PEM, BEGIN PUBLIC KEY)") from None
    return PublicKey(_usable(key))


def load_private(content: bytes, password: bytes = b"") -> PrivateKey:
    """A cosign key pair's private half, or plain PKCS 8. Raises KeyInvalid."""
    kind, body = _one_block(content)
    if kind in ENCRYPTED:
        return PrivateKey(_private(serialization.load_der_private_key, _decrypt(body, password), None))
    if kind == "ENCRYPTED PRIVATE KEY":
        return PrivateKey(_private(serialization.load_pem_private_key, content, password))
    if kind in PLAIN:
        return PrivateKey(_private(serialization.load_pem_private_key, content, None))
    raise KeyInvalid(f"BEGIN {kind} is no private key")


def generate(password: bytes = b"") -> tuple[bytes, bytes]:
    """A new ECDSA P-256 pair as ``cosign generate-key-pair`` writes it: (private PEM, encrypted; public PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return _armour(ENCRYPTED[0], _encrypt(der, password)), PublicKey(key.public_key()).pem


def _one_block(content: bytes) -> tuple[str, bytes]:
    blocks = _PEM.findall(content)
    if len(blocks) != 1:
        raise KeyInvalid(f"a key file must hold one PEM block, this one holds {len(blocks)}")
    return blocks[0][0].decode(), blocks[0][1]


def _usable(key: object) -> Any:
    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise KeyInvalid(f"an RSA key needs {MIN_RSA_BITS} bits, this one has {key.key_size}")
    if not isinstance(key, AnyPublic | AnyPrivate):
        raise KeyInvalid("the key is none of ECDSA, Ed25519 and RSA")
    return key


def _private(load: Any, content: bytes, password: bytes | None) -> Any:
    try:
        return _usable(load(content, password))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyInvalid("the private key cannot be read: damaged, or another password") from None


def _decrypt(body: bytes, password: bytes) -> bytes:
    try:
        box = json.loads(base64.b64decode(body))
        params, salt = box["kdf"]["params"], base64.b64decode(box["kdf"]["salt"])
        nonce, sealed = base64.b64decode(box["cipher"]["nonce"]), base64.b64decode(box["ciphertext"])
        known = box["kdf"]["name"] == "scrypt" and box["cipher"]["name"] == "nacl/secretbox"
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise KeyInvalid("the encrypted key is damaged") from None
    if not known or any(not isinstance(params.get(k), int) or not 0 < params[k] <= m for k, m in _MAX_SCRYPT.items()):
        raise KeyInvalid("the encrypted key asks for a key derivation that is not scrypt within its usual bounds")
    try:
        return SecretBox(_stretch(password, salt, params)).decrypt(sealed, nonce)
    except (CryptoError, ValueError, TypeError):
        raise KeyInvalid("the private key cannot be opened: wrong password (COSIGN_PASSWORD), or damaged") from None


def _encrypt(der: bytes, password: bytes) -> bytes:
    params, salt, nonce = {"N": 65536, "r": 8, "p": 1}, os.urandom(32), os.urandom(SecretBox.NONCE_SIZE)
    sealed = SecretBox(_stretch(password, salt, params)).encrypt(der, nonce).ciphertext
    box = {
        "kdf": {"name": "scrypt", "params": params, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(sealed).decode(),
    }
    return json.dumps(box).encode()


def _stretch(password: bytes, salt: bytes, params: dict[str, int]) -> bytes:
    n, r, p = params["N"], params["r"], params["p"]
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r + 2**20, dklen=32)


def _armour(kind: str, content: bytes) -> bytes:
    encoded = base64.b64encode(content).decode()
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""]).encode()


def password() -> bytes:
    """The password of encrypted keys, where cosign takes it from too: the environment's COSIGN_PASSWORD."""
    return os.environ.get("COSIGN_PASSWORD", "").encode()
