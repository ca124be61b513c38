"""Credentials: Basic and Bearer headers, our tokens with changes, and what /auth/token is asked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from random import Random
from typing import Any
from urllib.parse import quote_plus

from tests.fuzz.mutation import changed_json, mutated, written_json
from tests.fuzz.targets import REPOSITORY, Target, basic, request, require
from tests.fuzz.wire import Answer
from tests.nodes import PASSWORD, SECRETS

_PROTECTED = f"/v2/{REPOSITORY}/tags/list".encode()
_WORDS = (
    *(
        b"Basic ",
        b"Bearer ",
        b"basic",
        b"Digest ",
        b"Negotiate ",
        b".",
        b"..",
        b"=",
        b"==",
        b"e30",
        b"eyJhbGciOiJub25lIn0",
    ),
    *(b":", b"\xff", b"\x00", b" ", b",", b"A" * 9000, b"null", b"+", b"/", b"-", b"_"),
)
_SCOPES = (
    *(b"repository:fuzz/api:pull", b"repository:fuzz/api:*"),
    *(b"repository:**:*", b"registry:catalog:*", b"repository:a:pull,push"),
    *(b"", b":", b"::", b":::", b"repository", b"repository:a"),
    *(b"repository(plugin):a:pull", b"a" * 3000, b"repository::pull"),
    *(b"repository:a b:pull", b"x" * 300 + b":a:b", b"\xff:\xff:\xff"),
)  # fmt: skip
_FIELDS = (
    b"grant_type",
    b"username",
    b"password",
    b"scope",
    b"service",
    b"client_id",
    b"refresh_token",
    b"access_type",
)


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _forged(random: Random, token: str) -> str:
    """Our token with another header or other claims, signed by whoever."""
    head, claims, signature = token.split(".")
    parts: list[Any] = [json.loads(base64.urlsafe_b64decode(each + "==")) for each in (head, claims)]
    at = random.randrange(2)
    odd = ({"alg": "none"}, {"alg": "HS256"}, {"jwk": {"kty": "oct", "k": "AA"}}, {"x5c": ["AA"]}, {"jku": "http://a"})
    more = (
        {"crit": ["b64"], "b64": False},
        {"kid": "../x"},
        {"alg": "ES256K"},
        {"zip": "DEF"},
        {"sub": "towpath-engine"},
    )
    parts[at] = changed_json(random, parts[at]) if random.random() < 0.5 else {**parts[at], **random.choice(odd + more)}
    texts = [_encoded(written_json(random, each)) for each in parts]
    signed = ".".join(texts).encode()
    signatures = (signature, "", _encoded(hmac.new(b"", signed, hashlib.sha256).digest()), _encoded(bytes(64)), "AA")
    return f"{texts[0]}.{texts[1]}.{random.choice(signatures)}"


def _header(random: Random, token: str) -> bytes:
    match random.randrange(4):
        case 0:
            value = b"Bearer " + _forged(random, token).encode()
        case 1:
            value = mutated(random, b"Bearer " + token.encode(), _WORDS)
        case 2:
            value = b"Basic " + base64.b64encode(
                mutated(random, b"dev:" + PASSWORD.encode(), (b"\0", b":", b"\xff", b"a" * 80))
            )
        case _:
            value = mutated(random, basic(random.choice(("dev", "ci", "reader"))), _WORDS)
    return value.translate(None, b"\r\n")


def _asked(random: Random) -> bytes:
    """A request for a token."""
    pairs = [(random.choice(_FIELDS), random.choice(_SCOPES)) for _ in range(random.randrange(5))]
    pairs += [(b"scope", random.choice(_SCOPES)) for _ in range(random.choice((0, 1, 2, 150)))]
    good = [(b"grant_type", b"password"), (b"username", b"dev"), (b"password", PASSWORD.encode()), (b"service", b"box")]
    form = "&".join(
        f"{quote_plus(key)}={quote_plus(value)}" for key, value in (good if random.random() < 0.6 else []) + pairs
    )
    text = (
        mutated(random, form.encode(), (b"&", b"=", b"%", b"+", b"%00", b"%ff", b";", b"scope="))
        if random.random() < 0.5
        else form.encode()
    )
    if random.random() < 0.5:
        kind = (b"Content-Type", b"application/x-www-form-urlencoded")
        return request(b"POST", b"/auth/token", kind, body=text)
    clean = bytes(each for each in text if 32 < each < 127 and each != 35)
    return request(b"GET", b"/auth/token?" + clean, auth=random.choice((basic(), None)))


def _make(random: Random, token: str) -> bytes:
    if random.random() < 0.3:
        return _asked(random)
    return request(b"GET", _PROTECTED, auth=_header(random, token))


def _check(wire: bytes, answers: Sequence[Answer]) -> None:
    """Nobody gets in with what is not a secret of theirs: a signature is checked over exactly what was issued, so what
    lets a mutated token in is that it still decodes to the very same bytes."""
    if not wire.startswith(b"GET " + _PROTECTED + b" "):
        return
    let_in = [answer for answer in answers if answer.status == 200]
    value = wire.partition(b"\r\nAuthorization: ")[2].partition(b"\r\n")[0].strip(b" \t")
    scheme, _, rest = value.partition(b" ")
    if let_in and scheme.lower() == b"basic":
        require(_is_a_login(rest), "let in with another secret")
    elif let_in:
        require(scheme.lower() == b"bearer", f"let in with the scheme {scheme[:20]!r}")
        claims = json.loads(base64.urlsafe_b64decode(rest.strip().split(b".")[1] + b"=="))
        require(claims.get("sub") == "dev" and claims.get("aud") == "box", "let in with other claims")


def _is_a_login(encoded: bytes) -> bool:
    try:
        name, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return SECRETS.get(name) == secret


TARGET = Target("token", _make, answered=True, check=_check)
