"""A topology on hosts for tests of the deployer, and the facts of a host that is what it must be."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sites.desired import layout
from sites.desired.bundle import Release, here
from sites.desired.certificates import pairs_of
from sites.desired.files import Directory as DesiredDirectory
from sites.desired.files import File as DesiredFile
from sites.desired.hosts import DesiredHost, desired, recorded
from sites.desired.inventory import targets_of
from sites.desired.placement import Secrets, given
from sites.planning import deployment as planning
from sites.planning.facts import HostFacts
from sites.settings.credentials import users_of
from sites.settings.trust import authority_of
from sites.state import StateFolder
from topology.load import loads
from topology.model import Topology

TOPOLOGY = """\
apiVersion: towpath/v1
kind: Topology
metadata: {name: deployed}
sites:
  eu:
    hosts:
      eu-1: {ssh: deploy@10.1.0.11, failureDomain: a}
      eu-2: {ssh: 'deploy@10.1.0.12:2222', failureDomain: b}
users:
  dev: {password: {file: secrets/dev.bcrypt}}
  robot: {robot: true, token: {file: secrets/robot.token}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
scopes:
  sandbox:
    class: dev
    grants: [{to: dev, allow: [pull, push, delete]}]
    quota: {bytes: 2TiB}
    cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}
  ci: {class: ci, grants: [{to: robot, allow: [pull, push]}], cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}}
nodes:
  hub: {kind: external, url: https://registry.example}
  sandbox-1: {kind: local, scope: sandbox, role: primary, site: eu, host: eu-1, port: 5001}
  sandbox-2: {kind: local, scope: sandbox, role: replica, site: eu, host: eu-2, port: 5001}
  ci-2: {kind: local, scope: ci, site: eu, host: eu-2, port: 5002}
  all-2:
    {kind: virtual, site: eu, host: eu-2, port: 5020, members: [ci-2, hub-2],
     owns: {'apps/**': [ci-2], 'library/**': [hub-2]}, unmatched: deny}
  hub-2: {kind: mirror, site: eu, host: eu-2, port: 5010, upstreams: [hub], repositories: ['library/**']}
replications:
  - {id: everywhere, from: sandbox-1, to: [sandbox-2], on: event, deletes: trash}
"""
FIREWALL = (
    "  eu:\n    hosts:\n",
    "  eu:\n    firewall: {allow: [192.168.7.0/24, 'fd00::/8']}\n    hosts:\n",
)  # a change
RELEASE = "0123456789abcdef"
BCRYPT = "$2b$10$" + "a" * 53
_OWNED = {"owner": "root", "group": "root"}


def authority(
    folder: Path, name: str = "authority of tests", *, days: float = 3650, known_as: bytes | None = None
) -> None:
    """pki/ca.crt and secrets/ca.key below the folder. ``days``: that it lives on; ``known_as``: its key's identifier."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=30))
    made = made.not_valid_after(now + timedelta(days=days))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = made.add_extension(x509.SubjectKeyIdentifier(known_as) if known_as else identifier, critical=False)
    certificate = made.sign(key, hashes.SHA256())
    for part in ("pki", "secrets"):
        (folder / part).mkdir(exist_ok=True)
    (folder / "pki" / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "secrets" / "ca.key").write_bytes(private)


def folder(path: Path) -> Path:
    """With all secrets that TOPOLOGY names."""
    authority(path)
    (path / "secrets" / "dev.bcrypt").write_text(f"{BCRYPT}\n")
    (path / "secrets" / "robot.token").write_text("canary-token-of-the-robot\n")
    return path


def topology(base: Path, *changes: tuple[str, str]) -> Topology:
    text = TOPOLOGY
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    loaded = loads(text, base=base)
    assert loaded.topology is not None, loaded.findings
    return loaded.topology


def whole(base: Path) -> planning.Deployment:
    """All that apply knows before it asks a host; of the release the name alone: packing one takes seconds."""
    with patch.object(planning, "release", lambda kept: unpacked(kept, RELEASE)):
        return planning.deployment(topology(folder(base)), StateFolder(base / "state"))


def unpacked(folder: Path, identity: str) -> Release:
    return Release(identity, "0.1.0", here(), folder / f"{identity}.tar.gz")


def hosts(declared: Topology, base: Path, *, release: str = RELEASE) -> dict[str, DesiredHost]:
    targets = targets_of(declared)
    pairs = pairs_of(declared, targets, base / "issued", datetime.now(UTC))
    robots = {
        name: f"canary-token-of-{name}" for name, node in declared.nodes.items() if node.kind in ("mirror", "virtual")
    }
    secrets = Secrets(users_of(declared), "canary-token-of-the-engine", robots, {}, pairs)
    given_out = given(declared, secrets, authority_of(declared))
    return desired(declared, targets, given_out, unpacked(base, release))


def facts(host: DesiredHost | None = None, **changed: Any) -> HostFacts:
    """Of a host that is as ``host`` says; None: an empty machine. ``changed``: fields of ``look``'s answer."""
    told: dict[str, Any] = {
        "python": here().python,
        "machine": here().machine,
        "system": here().system,
        "systemd": True,
        "time": time.time(),
        "user": host is not None,
        "paths": {},
        "texts": {},
        "units": {},
        "releases": [],
        "inventory": None,
        "lock": None,
        "ports": {},
        "disk": {"total": 2**40, "free": 2**39},
    }
    if host is not None:
        told |= _told(host)
    return HostFacts.model_validate({**told, **changed})


def _told(host: DesiredHost) -> dict[str, Any]:
    paths: dict[str, Any] = {each.path: {"kind": "directory", "mode": each.mode, **_OWNED} for each in host.directories}
    inventory = DesiredFile(str(layout.INVENTORY), recorded(host), 0o600)
    paths[inventory.path] = {"kind": "file", "sha256": inventory.sha256, "mode": 0o600, **_OWNED}
    for each in (file for part in host.parts for file in part.files):
        paths[each.path] = {"kind": "file", "mode": each.mode, "sha256": each.sha256, **_OWNED}
    for each in (*host.proxy.directories, *host.proxy.files):
        paths[each.path] = _laid_down(each)
    for node in host.nodes:
        for each in (*node.directories, node.data, *node.files):
            paths[each.path] = _laid_down(each)
        paths[node.link[0]] = {"kind": "link", "target": node.link[1]}
    running = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}
    return {
        "paths": paths,
        "texts": {
            each.path: each.content.decode()
            for node in (*host.nodes, host.proxy)
            for each in node.files
            if not each.secret
        },
        "units": {
            **{node.unit: {**running, "MainPID": "7"} for node in host.nodes},
            **{part.unit: running for part in host.parts if part.unit},
        },
        "table": "".join(part.loaded for part in host.parts),
        "releases": [host.release.identity],
        "inventory": json.loads(inventory.content),
    }


def _laid_down(each: DesiredFile | DesiredDirectory) -> dict[str, Any]:
    kind = {"kind": "file", "sha256": each.sha256} if isinstance(each, DesiredFile) else {"kind": "directory"}
    return {**kind, "mode": each.mode, "owner": each.owner, "group": each.group}
