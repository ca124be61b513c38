"""Attacks on secrets: guessing them by time, finding them lying about."""

from __future__ import annotations

import hmac
import time
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import psutil
import pytest
from pydantic import ValidationError

from identity import passwords
from identity.passwords import check_password, check_token, hash_password, hash_token
from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.settings import NodeSettings, User
from tests.nodes import SECRETS, RunningNode, log_lines
from tests.protocol.target import Target
from tests.registry_node.conftest import DEV, READER, asking, settings
from tests.registry_node.images import push_image


@pytest.mark.attack("A-constant-time")
def test_every_comparison_takes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every refusal of a password is the work of the dearest hash; a token is compared as a whole."""
    hashed: list[bytes] = []
    compared: list[tuple[Any, Any]] = []
    real_check, real_compare = bcrypt.checkpw, hmac.compare_digest

    def check(password: bytes, stored: bytes) -> bool:
        hashed.append(stored)
        return real_check(password, stored)

    def compare(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return real_compare(one, other)

    monkeypatch.setattr(passwords.bcrypt, "checkpw", check)
    monkeypatch.setattr(passwords.hmac, "compare_digest", compare)
    cheap, dear = hash_password("right", cost=5), hash_password("right", cost=7)
    assert check_password(dear, "right", cost=7)
    works = []
    for stored, secret in ((cheap, "wrong"), (dear, "wrong"), (None, "right"), (cheap, "x" * 100), (None, "")):
        hashed.clear()
        assert not check_password(stored, secret, cost=7)
        works.append(sum(2 ** int(each.split(b"$")[2]) for each in hashed))
    assert works == [2**7] * 5
    assert check_token(hash_token("t"), "t") and not check_token(hash_token("t"), "u")
    assert [len(one) == len(other) == 64 for one, other in compared] == [True, True]


@pytest.mark.attack("A-private-absent")
async def test_who_may_not_look_causes_no_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal answers would still tell by their time, were anything looked up for one of them."""
    registry = MemoryRegistry(node="box", scope="sandbox")
    app = build.app_of(settings(tmp_path), registry, log=False)
    async with asking(app, DEV) as dev:
        manifest = await push_image(dev, "secret/there", "1.0", b"layer")
    asked: list[str] = []
    for name in ("resolve", "get_manifest", "stat_blob", "open_blob", "tags", "referrers", "mount_blob", "delete_tag"):
        monkeypatch.setattr(MemoryRegistry, name, _noting(asked, name))
    digest = f"sha256:{'0' * 64}"
    shapes: dict[str, set[Any]] = {}
    for who in (READER, None):
        async with asking(app, who) as http:
            for repository in ("secret/there", "secret/gone"):
                for method, path in (
                    *(
                        ("GET", "manifests/1.0"),
                        ("HEAD", "manifests/1.0"),
                        ("GET", f"blobs/{digest}"),
                        ("GET", "tags/list"),
                    ),
                    *(("GET", f"referrers/{digest}"), ("DELETE", "manifests/1.0"), ("POST", "blobs/uploads/")),
                    *(("GET", "manifests/none"), ("PUT", "manifests/1.0")),
                ):
                    answer = await http.request(
                        method, f"/v2/{repository}/{path}", content=manifest if method == "PUT" else None
                    )
                    shape = (answer.status_code, answer.text.replace(repository, "-"), tuple(sorted(answer.headers)))
                    shapes.setdefault(f"{who} {method} {path}", set()).add(shape)
    assert [where for where, found in shapes.items() if len(found) != 1] == []
    assert asked == []


def _noting(asked: list[str], name: str) -> Any:
    async def method(*_arguments: Any, **_named: Any) -> Any:
        asked.append(name)
        raise AssertionError(f"{name} was asked")

    return method


@pytest.mark.attack("A-canary-secrets")
def test_no_secret_lies_about(node: RunningNode, target: Target) -> None:
    """Not in answers, metrics, log, argv or environment, whatever went wrong with it."""
    repository, canary = target.repository(), "canary-5e1f"
    target.image(repository, "1.0")
    token = target.http.get("/auth/token", params={"scope": f"repository:{repository}:pull"}).json()["token"]
    said = []
    with node.client(None) as http:
        for headers in (
            {"authorization": f"Bearer {canary}"},
            {"authorization": f"Basic {canary}"},
            {"authorization": f"{canary} {canary}"},
            {"authorization": f"Bearer {token}x"},
            {"cookie": canary, "x-api-key": canary},
        ):
            for path in ("/v2/", f"/v2/{repository}/manifests/1.0", "/_towpath/", "/auth/token", "/nothing"):
                said.append(http.get(path, headers=headers))
        form = {"grant_type": "password", "username": "dev", "password": canary}
        said.append(http.post("/auth/token", data=form))
        said.append(http.post("/auth/token", data={"grant_type": "refresh_token", "refresh_token": canary}))
        said.append(http.get(f"/v2/{repository}/tags/list", params={"access_token": canary}))
        said.append(http.get("/metrics"))
    assert node.process is not None
    process = psutil.Process(node.process.pid)
    end = time.monotonic() + 10
    while len(log_lines(node)) <= 20 and time.monotonic() < end:  # lines are written in bundles
        time.sleep(0.05)
    about = [answer.text + repr(answer.headers) for answer in said]
    about += [node.log.read_text(), " ".join(process.cmdline()), repr(process.environ())]
    assert len(log_lines(node)) > 20
    key = (node.data / "keys" / "token.pem").read_text().splitlines()[1]
    for secret in (canary, token, key, *SECRETS.values()):
        assert [text[:200] for text in about if secret in text] == []


@pytest.mark.attack("A-default-password")
def test_no_user_comes_with_the_node(node: RunningNode) -> None:
    for name, secret in (
        ("admin", "admin"),
        ("admin", "password"),
        ("admin", ""),
        ("admin", "Harbor12345"),
        ("root", "root"),
    ):
        with httpx.Client(base_url=node.url, auth=(name, secret), trust_env=False) as http:
            assert http.get("/v2/").status_code == 401
            assert http.get("/auth/token").status_code == 401
    for nothing in ({}, {"password_bcrypt": ""}, {"token_sha256": ""}, {"password_bcrypt": "plain"}):
        with pytest.raises(ValidationError):
            User.model_validate(nothing)
    with pytest.raises(ValidationError, match="beyond loopback"):
        NodeSettings.model_validate({"node": "n", "scope": "s", "listen": {"host": "0.0.0.0", "port": 1}, "data": "d"})
