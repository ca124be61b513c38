"""Every denial leaves one line: who, what, and a word for why. And no secret is ever shown, wherever it was put."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from oci_wire.memory import MemoryRegistry
from registry_node import build
from registry_node.app import App
from tests.nodes import running, users
from tests.registry_node.conftest import DEV, READER, asking, settings
from tests.registry_node.test_access import token_for

NOBODY = ("nobody", DEV[1])


@pytest.fixture
def logged(tmp_path: Path, registry: MemoryRegistry) -> App:
    return build.app_of(settings(tmp_path), registry, log=True)


def lines(app: App, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert app.log is not None
    app.log.flush()
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_each_denial_says_who_what_and_why(logged: App, capsys: pytest.CaptureFixture[str]) -> None:
    bearer = await token_for(logged, READER, "repository:apps/api:pull")
    bad = {"authorization": "Bearer a.b.c"}
    table: list[tuple[Any, str, str, dict[str, str], tuple[int, str, str, str]]] = [
        (None, "GET", "/v2/", {}, (401, "UNAUTHORIZED", "anonymous", "-")),
        (None, "GET", "/v2/apps/api/tags/list", {}, (401, "UNAUTHORIZED", "anonymous", "-")),
        (("dev", "wrong"), "GET", "/v2/", {}, (401, "UNAUTHORIZED", "wrong-credentials", "-")),
        (("dev", "wrong"), "GET", "/auth/token", {}, (401, "UNAUTHORIZED", "wrong-credentials", "-")),
        (None, "GET", "/v2/", bad, (401, "UNAUTHORIZED", "token-invalid", "-")),
        (None, "GET", "/v2/apps/x/tags/list", bearer, (401, "UNAUTHORIZED", "token-scope", "reader")),
        (NOBODY, "GET", "/v2/apps/api/tags/list", {}, (404, "NAME_UNKNOWN", "no-grant", "nobody")),
        (READER, "POST", "/v2/apps/api/blobs/uploads/", {}, (403, "DENIED", "no-grant", "reader")),
        (READER, "DELETE", "/v2/apps/api/manifests/1", {}, (403, "DENIED", "no-grant", "reader")),
        (READER, "GET", "/_towpath/v1/r/apps/api/_/tags", {}, (403, "DENIED", "no-grant", "reader")),
        (READER, "GET", "/_towpath/v1/events", {}, (403, "DENIED", "no-grant", "reader")),
    ]
    lines(logged, capsys)
    for who, method, path, headers, (status, code, why, name) in table:
        async with asking(logged, who) as http:
            answer = await http.request(method, path, headers=headers)
        (line,) = lines(logged, capsys)
        assert (answer.status_code, line["status"], line["code"], line.get("why")) == (status, status, code, why), path
        assert (line["method"], line["path"], line["who"]) == (method, path, name)
        assert line["request_id"] == answer.headers["x-request-id"]
        assert "no-grant" not in answer.text


async def test_write_policies_and_limits_have_their_own_words(
    tmp_path: Path, registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = {"per_second": 0.001, "burst": 2}
    for changes, path, why in (
        ({"rules": {"write": "read-only"}}, "/v2/apps/api/blobs/uploads/", "write-policy"),
        ({"rules": {"write": "promotion-only"}}, "/v2/apps/api/blobs/uploads/", "write-policy"),
        ({"rules": {"write": "robots"}}, "/v2/apps/api/blobs/uploads/", "write-policy"),
        ({"rate_limits": {"address": rate}}, "/v2/", "rate-address"),
        ({"rate_limits": {"identity": rate}}, "/v2/", "rate-identity"),
        ({"rate_limits": {"failed_logins": rate}}, "/auth/token", "rate-logins"),
    ):
        app = build.app_of(settings(tmp_path, **changes), registry, log=True)
        async with asking(app, ("dev", "wrong") if why == "rate-logins" else DEV) as http:
            for _ in range(3):
                answer = await http.request("POST" if "uploads" in path else "GET", path)
        assert lines(app, capsys)[-1]["why"] == why
        assert answer.status_code == (429 if why.startswith("rate") else 403)


async def test_the_name_of_a_stranger_is_not_logged(logged: App, capsys: pytest.CaptureFixture[str]) -> None:
    """People type passwords into the field for the name. A declared name that failed is worth a word."""
    async with asking(logged, None) as http:
        for name in ("hunter2-canary", "dev", "ci"):
            await http.get("/v2/", auth=(name, "canary"))
    found = lines(logged, capsys)
    assert [line.get("tried") for line in found] == [None, "dev", "ci"]
    assert "canary" not in json.dumps(found)


@pytest.mark.attack("A-log-injection")
async def test_no_input_forges_a_line(logged: App, capsys: pytest.CaptureFixture[str]) -> None:
    forged = '\\n{"level": "info", "who": "dev"}\n'
    async with asking(logged, ("dev", forged)) as http:
        await http.get("/v2/", headers={"x-request-id": "a\tb"})
        await http.get("/v2/%0a%7b%22who%22%3a/manifests/x", headers={"user-agent": forged.strip()})
    assert len(lines(logged, capsys)) == 2


CANARIES = [f"canary-{where}" for where in ("password", "token", "query", "form", "header", "cookie", "bearer", "user")]


@pytest.mark.slow
@pytest.mark.attack("A-canary-secrets")
def test_canary_secrets_are_nowhere(tmp_path: Path) -> None:
    """In the log, metrics, answers, or the command line of the process."""
    shown: list[str] = []
    with running(tmp_path / "box") as node:
        with httpx.Client(base_url=node.url, trust_env=False) as http:
            good = http.get("/auth/token?offline_token=true", auth=node.auth("dev")).json()
            secrets = [*CANARIES, good["token"], good["refresh_token"], *node_secrets()]
            for answer in (
                http.get("/v2/", auth=("dev", "canary-password")),
                http.get("/v2/", auth=("canary-user", "canary-password")),
                http.get("/v2/a/manifests/x?token=canary-query", auth=("ci", "canary-token")),
                http.get("/auth/token?account=canary-query&password=canary-query", auth=("dev", "canary-password")),
                http.post("/auth/token", data={"grant_type": "password", "username": "dev", "password": "canary-form"}),
                http.post("/auth/token", data={"grant_type": "refresh_token", "refresh_token": "canary-form"}),
                http.post("/auth/token", data={"grant_type": "canary-form"}),
                http.get("/v2/", headers={"authorization": "Bearer canary-bearer"}),
                http.get("/v2/", headers={"authorization": "canary-bearer"}),
                http.get("/v2/", headers={"x-api-key": "canary-header", "cookie": "session=canary-cookie"}),
                http.put("/v2/a/manifests/x", content=b"canary-form", auth=node.auth("dev")),
                http.get("/v2/", headers={"authorization": f"Bearer {good['refresh_token']}"}),
                http.post("/auth/token", data={"grant_type": "refresh_token", "refresh_token": good["token"]}),
                http.get("/v2/", auth=node.auth("dev")),
                http.get("/v2/", auth=node.auth("ci")),
                http.get("/metrics"),
            ):
                shown += [answer.text, str(dict(answer.headers))]
        shown += [_raw(node.host, line) for line in BROKEN]
        assert node.process is not None
        shown += [
            Path(f"/proc/{node.process.pid}/{each}").read_bytes().decode("latin-1") for each in ("cmdline", "environ")
        ]
        assert node.stop() == 0
        shown.append(node.log.read_text())
    everything = "\n".join(shown)
    assert "wrong-credentials" in everything
    basic = [base64.b64encode(f"dev:{each}".encode()).decode() for each in secrets]
    assert [each for each in (*secrets, *basic) if each in everything] == []


BROKEN = (
    b"GET /v2/?token=canary-query HTTP/9.9\r\nhost: box\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nhost: box\r\nauthorization canary-header\r\n\r\n",
    b"GET http://canary-user:canary-password@box/v2/ HTTP/1.1\r\nhost: box\r\nhost: canary-header\r\n\r\n",
    b"GET /v2/ HTTP/1.1\r\nauthorization: Basic canary-header\r\nauthorization: Basic canary-header\r\nhost: box\r\n\r\n",
    b"PUT /v2/a/blobs/uploads/x?digest=canary-query HTTP/1.1\r\nhost: box\r\ntransfer-encoding: canary-header\r\n\r\n",
)


def node_secrets() -> list[str]:
    hashes = [user.get("password_bcrypt") or user["token_sha256"] for user in users().values()]
    return [*hashes, "correct-horse-battery", "tpr_ci-token-of-the-tests"]


def _raw(host: str, request: bytes) -> str:
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), timeout=10) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return client.makefile("rb").read().decode("latin-1")
