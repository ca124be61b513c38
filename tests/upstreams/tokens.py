"""A token service for registries of others, as distribution wants one: real keys, real signatures, a host of its own.

Two ways for a registry to know the key: a JWKS file (ES256, distribution 3) or a bundle of certificates, one of which
is in every token (RS256 and x5c: all versions).

Source: distribution's token authentication specification and configuration reference (auth: token); RFC 7515, 7517.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.upstreams.serving import Reply, Request, Server

SERVICE, ISSUER = "registry.of.others", "tokens.of.others"


def _packed(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Signer:
    """``header``: of its tokens; ``trust``: what the registry's ``auth: token`` says of the key."""

    header: dict[str, Any]
    trust: dict[str, Any]
    sign: Callable[[bytes], bytes]

    def token(self, claims: Mapping[str, Any]) -> str:
        parts = ".".join(_packed(json.dumps(each).encode()) for each in ({**self.header, "typ": "JWT"}, claims))
        return f"{parts}.{_packed(self.sign(parts.encode()))}"


def by_jwks(folder: Path) -> Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    x, y = (_packed(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
    known = {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "first", "alg": "ES256", "use": "sig"}
    file = folder / "jwks.json"
    file.write_text(json.dumps({"keys": [known]}))

    def sign(content: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(content, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return Signer({"alg": "ES256", "kid": "first"}, {"jwks": str(file), "signingalgorithms": ["ES256"]}, sign)


def by_certificate(folder: Path) -> Signer:
    key = rsa.generate_private_key(65537, 2048)
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)]), datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    certificate = built.sign(key, SHA256())
    file = folder / "bundle.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM))
    chain = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
    header = {"alg": "RS256", "x5c": chain}
    return Signer(
        header, {"rootcertbundle": str(file)}, lambda content: key.sign(content, padding.PKCS1v15(), SHA256())
    )


class TokenIssuer:
    """Gives tokens to ``users`` (name to password) by Basic, for all that they ask; to others 401. ``audience``: whom it
    signs for, which may be another registry than the one that sent the client. ``seen`` has every request."""

    def __init__(self, signer: Signer, users: Mapping[str, str], address: str = "127.0.0.2") -> None:
        self._signer, self._users, self.audience = signer, dict(users), SERVICE
        self.server = Server(self._answer, address)
        self.seen = self.server.seen

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    @property
    def auth(self) -> dict[str, Any]:
        """The registry's configuration."""
        realm = f"{self.server.url}/token"
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, **self._signer.trust}}

    def _answer(self, request: Request) -> Reply:
        kind = {"content-type": "application/json"}
        scheme, _, basic = request.headers.get("authorization", "").partition(" ")
        name, _, password = base64.b64decode(basic).decode().partition(":") if scheme == "Basic" else ("", "", "")
        if not name or self._users.get(name) != password:
            return Reply(401, kind, b'{"details": "who are you?"}')
        now = int(time.time())
        who = {"iss": ISSUER, "sub": name, "aud": self.audience, "jti": secrets.token_hex(8)}
        claims = {
            **who,
            "iat": now,
            "nbf": now - 5,
            "exp": now + 300,
            "access": _access(request.query.get("scope", "")),
        }
        token = self._signer.token(claims)
        return Reply(200, kind, json.dumps({"token": token, "access_token": token, "expires_in": 300}).encode())


def _access(scopes: str) -> list[dict[str, Any]]:
    """What ``repository:a/b:pull,push`` asks for."""
    found = []
    for scope in scopes.split():
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        found.append({"type": kind, "name": name, "actions": actions.split(",")})
    return found
