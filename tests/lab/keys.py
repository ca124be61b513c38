"""Key pairs for sshd and for the account that deploys, as OpenSSH writes them."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PRIVATE = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
_PUBLIC = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)


def make(file: Path) -> str:
    """Writes a new ed25519 key to ``file`` (0600) and beside it as ``.pub``; the public line, without a comment."""
    private = Ed25519PrivateKey.generate()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(private.private_bytes(*_PRIVATE))
    public = private.public_key().public_bytes(*_PUBLIC).decode()
    file.with_name(f"{file.name}.pub").write_text(f"{public}\n")
    return public
