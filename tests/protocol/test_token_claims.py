"""What a token must say to be taken. These are signed with the node's own key, which lies in its folder."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from tests.nodes import RunningNode
from tests.protocol.target import Target, challenge_of, refused
from tests.protocol.test_tokens import ask, bearing

Sign = Callable[..., str]


@pytest.fixture(scope="module")
def repository(target: Target) -> str:
    name = target.repository()
    target.image(name, "1.0")
    return name


@pytest.fixture
def key(node: RunningNode) -> ECKey:
    return ECKey.import_key((node.data / "keys" / "token.pem").read_bytes())


@pytest.fixture
def sign(target: Target, key: ECKey, realm: dict[str, str], repository: str) -> Sign:
    """``sign(header={...}, with_key=..., claim=value)``: a token of the node but for what is said; None leaves out."""
    issued = jwt.decode(ask(target.http, realm, f"repository:{repository}:pull")["token"], key, algorithms=["ES256"])

    def signed(header: dict[str, Any] | None = None, with_key: Any = None, **changes: Any) -> str:
        claims = {name: value for name, value in {**issued.claims, **changes}.items() if value is not None}
        return jwt.encode({**issued.header, **(header or {})}, claims, with_key or key, algorithms=["ES256", "ES384"])

    return signed


@pytest.fixture
def taken(nobody: httpx.Client, repository: str) -> Callable[[str], bool]:
    """Whether a token opens the repository; a refusal must be a whole one."""

    def asked(token: str) -> bool:
        answer = nobody.get(f"/v2/{repository}/manifests/1.0", headers=bearing(token))
        if answer.status_code == 200:
            return True
        refused(answer, 401, "UNAUTHORIZED")
        assert challenge_of(answer)["error"] == "invalid_token"
        assert token not in answer.text
        return False

    return asked


@pytest.mark.protocol("token.issuer")
def test_issuer(sign: Sign, taken: Callable[[str], bool]) -> None:
    assert taken(sign())
    for issuer in ("another", "", None, ["box"]):
        assert not taken(sign(iss=issuer))


@pytest.mark.protocol("token.audience")
def test_audience(sign: Sign, taken: Callable[[str], bool]) -> None:
    assert taken(sign())
    for audience in ("another", "", None, ["another"]):
        assert not taken(sign(aud=audience))


@pytest.mark.protocol("token.expired")
def test_expired(sign: Sign, taken: Callable[[str], bool]) -> None:
    now = time.time()
    assert taken(sign(exp=now + 5))
    for ends in (now - 70, 0, None, "never"):
        assert not taken(sign(exp=ends))


@pytest.mark.protocol("token.not-before")
def test_not_before(sign: Sign, taken: Callable[[str], bool]) -> None:
    now = time.time()
    for starts in (now + 90, now + 10_000, None, "soon"):
        assert not taken(sign(nbf=starts, exp=now + 20_000))


@pytest.mark.protocol("token.leeway")
def test_leeway(sign: Sign, taken: Callable[[str], bool]) -> None:
    now = time.time()
    assert taken(sign(exp=now - 20))
    assert taken(sign(nbf=now + 40))


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@pytest.mark.attack("A-jwt-algorithm")
@pytest.mark.protocol("token.algorithm")
def test_algorithm(sign: Sign, taken: Callable[[str], bool], key: ECKey) -> None:
    """CVE-2022-29217: the public key is no secret."""
    assert taken(sign())
    assert not taken(sign({"alg": "ES384"}, ECKey.generate_key("P-384")))
    head, claims, _ = sign().split(".")
    public = key.as_pem(private=False)
    for algorithm in ("HS256", "HS384", "none", "None", "ES256"):
        other = _part(json.dumps({"alg": algorithm, "kid": key.thumbprint(), "typ": "JWT"}).encode())
        for secret in (public, public.strip(), key.thumbprint().encode(), b""):
            mark = hmac.new(
                secret, f"{other}.{claims}".encode(), hashlib.sha384 if "384" in algorithm else hashlib.sha256
            )
            assert not taken(f"{other}.{claims}.{_part(mark.digest())}")
        assert not taken(f"{other}.{claims}.")
    assert not taken(f"{head}.{claims}.")


@pytest.mark.protocol("token.key-id")
def test_key_id(sign: Sign, taken: Callable[[str], bool]) -> None:
    assert taken(sign())
    for kid in ("another", "", "../token.pem"):
        assert not taken(sign({"kid": kid}))


@pytest.mark.attack("A-jwt-own-key")
@pytest.mark.protocol("token.signature")
def test_signature(sign: Sign, taken: Callable[[str], bool], key: ECKey) -> None:
    """CVE-2025-24976: a key that a token brings along says nothing."""
    assert taken(sign())
    theirs = ECKey.generate_key("P-256")
    assert not taken(sign(with_key=theirs))
    assert not taken(sign({"jwk": theirs.as_dict(private=False)}, theirs))
    assert not taken(sign({"jwk": theirs.as_dict(private=False), "kid": theirs.thumbprint()}, theirs))
    assert not taken(sign({"x5c": ["MIIB"], "jku": "http://127.0.0.1:1/keys"}, theirs))
    head, _, mark = sign().split(".")
    assert not taken(f"{head}.{sign(sub='towpath-engine').split('.')[1]}.{mark}")
