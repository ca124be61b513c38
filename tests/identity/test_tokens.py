"""Forged tokens: each of these was a hole in some registry or token library."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from identity.signing_key import SigningKey
from identity.tokens import TokenInvalid, TokenSigner
from oci_wire.auth import TokenScope

SCOPE = TokenScope("repository", "apps/api", frozenset({"pull", "push"}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "token.pem"


@pytest.fixture
def signer(file: Path) -> TokenSigner:
    return TokenSigner(SigningKey.load_or_create(file), "box", ttl=300, leeway=60)


@pytest.fixture
def key(file: Path, signer: TokenSigner) -> ECKey:
    """The signer's key, as another library reads it."""
    return ECKey.import_key(file.read_bytes())


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {"iss": "box", "sub": "dev", "aud": "box", "nbf": now, "exp": now + 300, "access": []}
    return {name: value for name, value in {**given, **changes}.items() if value is not None}


def signed(key: ECKey, body: dict[str, Any], **header: Any) -> str:
    return jwt.encode({"alg": "ES256", "kid": key.thumbprint(), **header}, body, key)


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def test_another_library_reads_what_we_sign_and_we_what_it_signs(signer: TokenSigner, key: ECKey) -> None:
    """RFC 7515, RFC 7518 section 3.4, RFC 7638: header, claims, signature and thumbprint, either way round."""
    read = jwt.decode(signer.issue("dev", [SCOPE]).text, key, algorithms=["ES256"])
    assert read.header == {"alg": "ES256", "kid": key.thumbprint(), "typ": "JWT"}
    assert (read.claims["sub"], read.claims["aud"], read.claims["access"][0]["name"]) == ("dev", "box", "apps/api")
    assert signer.verify(
        signed(key, claims(access=[{"type": "repository", "name": "apps/api", "actions": ["pull"]}]))
    ) == (
        signer.verify(
            _unchecked(
                key, {"kid": key.thumbprint()}, access=[{"type": "repository", "name": "apps/api", "actions": ["pull"]}]
            )
        )
    )


@pytest.mark.attack("A-key-files")
@pytest.mark.parametrize("curve", ["P-384", "secp256k1"])
def test_a_key_of_another_curve_is_refused(file: Path, curve: str) -> None:
    file.parent.mkdir()
    file.touch(mode=0o600)
    file.write_bytes(ECKey.generate_key(curve, private=True).as_pem(private=True))
    with pytest.raises(ValueError, match="not a private P-256 key"):
        SigningKey.load_or_create(file)


@pytest.mark.attack("A-jwt-signature")
def test_a_token_has_one_spelling(signer: TokenSigner) -> None:
    """Whoever keeps a list of tokens by their text must not miss one: padding, other letters, bits beyond the bytes."""
    text = signer.issue("dev", [SCOPE]).text
    head, body, signature = text.split(".")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    sibling = signature[:-1] + letters[letters.index(signature[-1]) + 1]  # the same 64 bytes: four bits are left over
    for other in (
        f"{text}==",
        f" {text}",
        f"{text}\n",
        f"{head}.{body}.{sibling}",
        f"{head}.{body}.{signature}.",
        f".{text}",
    ):
        with pytest.raises(TokenInvalid):
            signer.verify(other)


def test_what_was_issued_is_verified(signer: TokenSigner) -> None:
    issued = signer.issue("dev", [SCOPE])
    read = signer.verify(issued.text)
    assert (read.subject, read.scopes, issued.expires_in) == ("dev", (SCOPE,), 300)
    assert signer.verify(signer.issue("", []).text).subject == ""


@pytest.mark.attack("A-key-files")
def test_the_key_survives_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "token.pem"
    first = SigningKey.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load_or_create(path).kid == first.kid
    path.chmod(0o644)
    with pytest.raises(ValueError, match="make it 600"):
        SigningKey.load_or_create(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(ValueError, match=r"token\.pem: not an EC private key"):
        SigningKey.load_or_create(path)


@pytest.mark.attack("A-jwt-algorithm")
def test_no_algorithm_is_no_signature(signer: TokenSigner) -> None:
    for name in ("none", "None", "NONE"):
        head = b64(json.dumps({"alg": name, "typ": "JWT"}).encode())
        with pytest.raises(TokenInvalid):
            signer.verify(f"{head}.{b64(json.dumps(claims()).encode())}.")


@pytest.mark.attack("A-jwt-algorithm")
def test_the_public_key_is_no_hmac_secret(signer: TokenSigner, key: ECKey) -> None:
    """CVE-2022-29217"""
    for secret in (key.as_pem(private=False), key.as_der(private=False)):
        head = b64(json.dumps({"alg": "HS256", "kid": key.thumbprint()}).encode())
        body = b64(json.dumps(claims()).encode())
        mac = hmac.new(secret, f"{head}.{body}".encode(), hashlib.sha256).digest()
        with pytest.raises(TokenInvalid):
            signer.verify(f"{head}.{body}.{b64(mac)}")
    with pytest.raises(TokenInvalid):
        signer.verify(jwt.encode({"alg": "HS256"}, claims(), OctKey.generate_key(256)))


@pytest.mark.attack("A-jwt-own-key")
def test_a_key_that_the_token_brings_along_is_not_read(signer: TokenSigner, key: ECKey) -> None:
    """CVE-2025-24976"""
    mine = ECKey.generate_key("P-256")
    public = mine.as_dict(private=False)
    chain = [base64.b64encode(mine.as_der(private=False)).decode()]
    ours = {"kid": key.thumbprint()}
    for header in (
        {"jwk": public},
        {**ours, "jwk": public},
        {**ours, "x5c": chain},
        {**ours, "x5u": "http://evil.test/chain"},
        {**ours, "jku": "http://evil.test/keys"},
        {"kid": mine.thumbprint(), "jwk": public},
        {"kid": "../../dev/null"},
        {"kid": "x' UNION SELECT 'key"},
        ours,
    ):
        with pytest.raises(TokenInvalid):
            signer.verify(_unchecked(mine, header))
    assert signer.verify(_unchecked(key, {**ours, "jwk": public})).subject == "dev"  # signed by ours: the rest is noise


def _unchecked(key: ECKey, header: dict[str, Any], **changes: Any) -> str:
    """Signed with any header, also one that a library would refuse to write."""
    signer = key.raw_value
    head = b64(json.dumps({"alg": "ES256", "typ": "JWT", **header}).encode())
    body = b64(json.dumps(claims(**changes)).encode())
    der = signer.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(der)
    return f"{head}.{body}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@pytest.mark.attack("A-jwt-algorithm")
@pytest.mark.parametrize(
    "header",
    [
        {"kid": None},
        {"kid": ""},
        {"typ": "refresh+jwt"},
        {"typ": None},
        {"alg": "ES384"},
        {"alg": "none"},
        {"alg": ["ES256"]},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
    ],
)
def test_odd_headers_under_our_own_signature_are_refused(
    signer: TokenSigner, key: ECKey, header: dict[str, Any]
) -> None:
    with pytest.raises(TokenInvalid):
        signer.verify(_unchecked(key, {"kid": key.thumbprint(), **header}))


@pytest.mark.attack("A-jwt-signature")
def test_a_signature_of_zeros_or_of_another_length_is_none(signer: TokenSigner) -> None:
    """CVE-2022-21449: r = s = 0 verified for any message."""
    head, body, signature = signer.issue("dev", [SCOPE]).text.split(".")
    for forged in (b64(bytes(64)), b64(bytes(63)), b64(bytes(72)), "", signature[:-4], signature + "AAAA"):
        with pytest.raises(TokenInvalid):
            signer.verify(f"{head}.{body}.{forged}")
    with pytest.raises(TokenInvalid):
        signer.verify(f"{head}.{b64(json.dumps(claims(sub='admin')).encode())}.{signature}")


@pytest.mark.attack("A-jwt-claims")
@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"nbf": int(time.time()) + 3600},
        {"nbf": None},
        {"aud": "other"},
        {"aud": ["box", "other"]},
        {"iss": "other"},
        {"sub": None},
        {"sub": 7},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"aud": None},
        {"aud": ["box"]},
        {"aud": "box/refresh"},
        {"aud": "BOX"},
        {"aud": ""},
        {"iss": None},
        {"cred": 7},
    ],
)
def test_claims_that_do_not_hold(signer: TokenSigner, key: ECKey, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenInvalid):
        signer.verify(signed(key, claims(**changes)))


@pytest.mark.attack("A-jwt-claims")
@pytest.mark.parametrize(("late", "early", "holds"), [(59, 59, True), (62, 0, False), (0, 62, False), (-300, 0, True)])
def test_the_leeway_is_sixty_seconds(signer: TokenSigner, key: ECKey, late: int, early: int, holds: bool) -> None:
    now = int(time.time())
    text = signed(key, claims(exp=now - late, nbf=now + early))
    if holds:
        assert signer.verify(text).subject == "dev"
    else:
        with pytest.raises(TokenInvalid, match="at this time"):
            signer.verify(text)


@pytest.mark.attack("A-token-kinds")
def test_the_two_kinds_are_no_substitute_for_each_other(signer: TokenSigner) -> None:
    access, refresh = signer.issue("dev", [SCOPE], binding="x").text, signer.issue_refresh("dev", binding="x").text
    assert signer.verify(access).binding == signer.verify_refresh(refresh).binding == "x"
    for verify, text in ((signer.verify, refresh), (signer.verify_refresh, access)):
        with pytest.raises(TokenInvalid):
            verify(text)


def test_a_binding_is_of_name_and_credential_and_needs_the_key(signer: TokenSigner, tmp_path: Path) -> None:
    other = TokenSigner(SigningKey.load_or_create(tmp_path / "other.pem"), "box")
    found = [
        signer.binding("dev", "a"),
        signer.binding("dev", "b"),
        signer.binding("ci", "a"),
        other.binding("dev", "a"),
    ]
    assert len(set(found)) == 4
    assert signer.binding("dev", "a") == found[0]
    assert (
        TokenSigner(SigningKey.load_or_create(tmp_path / "keys" / "token.pem"), "box").binding("dev", "a") == found[0]
    )


def test_clocks_may_differ_by_the_leeway(signer: TokenSigner, key: ECKey) -> None:
    now = int(time.time())
    assert signer.verify(signed(key, claims(exp=now - 30, nbf=now + 30))).subject == "dev"


@pytest.mark.parametrize("text", ["", "a.b.c", "..", "x" * 9000, "eyJhbGciOiJFUzI1NiJ9.e30.", "é.é.é", "a.b.c.d.e"])
def test_noise_is_refused(signer: TokenSigner, text: str) -> None:
    with pytest.raises(TokenInvalid):
        signer.verify(text)


@pytest.mark.attack("A-fails-closed")
@pytest.mark.parametrize(
    "access", [None, "all", [1], [{}], [{"type": "repository"}], [{"type": "repository", "name": "a", "actions": 5}]]
)
def test_an_access_list_that_cannot_be_read_grants_nothing(signer: TokenSigner, key: ECKey, access: Any) -> None:
    assert signer.verify(signed(key, claims(access=access))).scopes == ()
