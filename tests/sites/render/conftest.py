"""A topology with every kind of node, and what `towpath render` says of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from towpath.main import run

DOLLARS = bcrypt.hashpw(b"a person's", bcrypt.gensalt(4)).decode()  # Compose reads $2b and $04 as variables
TOPOLOGY = """
apiVersion: towpath/v1
kind: Topology
metadata: {name: shapes, owner: platform}
sites:
  eu: {hosts: {eu-1: {address: 10.1.0.11, failureDomain: eu-a}, eu-2: {address: 10.1.0.12, failureDomain: eu-b}}}
  us: {hosts: {us-1: {address: 10.2.0.11, failureDomain: us-a}}}
users:
  ana: {password: {env: ANA}}
  ci: {robot: true, token: {env: CI_TOKEN}}
tls: {ca: {cert: ca.crt, key: {env: CA_KEY}}}
slas:
  gold: {availability: 99.95, pullP95: 150ms, rpo: 15m, rto: 30m, minFailureDomains: 2}
scopes:
  pool:
    class: ci
    grants: [{to: ci, allow: [pull, push]}, {to: ana, allow: [pull]}]
    quota: {bytes: 100GiB, onExceed: reject}
  prod: {class: prod, sla: gold, write: promotion-only, grants: [{to: ana, allow: [pull]}]}
nodes:
  hub: {kind: external, url: https://registry-1.docker.io, auth: {env: HUB}}
  pool-eu: {kind: local, scope: pool, site: eu, host: eu-1, port: 5001}
  prod-eu: {kind: local, scope: prod, role: primary, site: eu, host: eu-1, port: 5002}
  prod-us: {kind: local, scope: prod, role: replica, site: us, host: us-1, port: 5002}
  cache: {kind: mirror, upstreams: [hub], repositories: ['library/**'], maxBytes: 300GiB, site: eu, host: eu-1, port: 5003}
  all:
    kind: virtual
    members: [pool-eu, cache]
    owns: {'apps/**': [pool-eu], 'library/**': [cache]}
    pushTo: pool-eu
    site: eu
    host: eu-2
    port: 5004
trust: {release-key: {type: key, file: release.pub}}
gates: {signed: {type: signature, by: [release-key]}}
promotions: [{id: to-prod, from: pool, to: prod, by: [ci], gates: [signed], tags: ['{tag}']}]
replications: [{id: everywhere, from: prod-eu, to: [prod-us], on: event, deletes: trash}]
"""
PEM = f"-----BEGIN CERTIFICATE-----\n{base64.b64encode(b'an authority').decode()}\n-----END CERTIFICATE-----\n"
SECRETS = {"ANA": DOLLARS, "CI_TOKEN": "ci-token-of-a-robot-1", "HUB": "acme:canary-of-the-hub", "CA_KEY": "canary-key"}
Render = Callable[..., dict[str, str]]


def _public_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "topology.yaml").write_text(TOPOLOGY)
    (tmp_path / "ca.crt").write_text(PEM)
    (tmp_path / "release.pub").write_bytes(_public_key())
    return tmp_path


@pytest.fixture
def render(folder: Path, capsys: pytest.CaptureFixture[str]) -> Render:
    """Runs the verb; file name -> text."""

    def called(*words: str, expect: int = 0) -> dict[str, str]:
        assert run(["render", *words, "-f", str(folder / "topology.yaml"), "-o", "json"]) == expect
        said = capsys.readouterr()
        lines = [json.loads(line) for line in (said.err if expect else said.out).splitlines()]
        return lines[0]["error"] if expect else {each["file"]: each["content"] for each in lines}

    return called
