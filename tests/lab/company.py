"""A company on the lab's hosts: its topology, its secrets, and the command line that its operator types."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

from sites.state import Runs, StateFolder
from tests.lab.lab import Lab, LabError
from topology.load import load
from towpath.first_secrets import create_missing

# sandbox stands apart; what CI built crosses to prod, which lives in four failure domains at two sites.
ACME = """\
apiVersion: towpath/v1
kind: Topology
metadata: {name: acme}
sites:
  eu: {hosts: {eu-1: {ssh: deploy@10.91.1.11, failureDomain: eu-a}, eu-2: {ssh: deploy@10.91.1.12, failureDomain: eu-b}}}
  us: {hosts: {us-1: {ssh: deploy@10.92.1.11, failureDomain: us-a}, us-2: {ssh: deploy@10.92.1.12, failureDomain: us-b}}}
users:
  dev: {password: {file: secrets/dev.bcrypt}}
  ci-runner: {robot: true, token: {file: secrets/ci-runner.token}}
  k8s-us: {robot: true, token: {file: secrets/k8s-us.token}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
scopes:
  sandbox:
    class: dev
    grants: [{to: dev, allow: [pull, push, delete]}]
    quota: {bytes: 1GiB, onExceed: reject}
    cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}
  ci:
    class: ci
    grants: [{to: ci-runner, allow: [pull, push]}]
    cleanup: {every: 6h, keep: [{pushedWithin: 7d}]}
  prod:
    class: prod
    write: promotion-only
    immutableTags: ['v*']
    grants: [{to: k8s-us, allow: [pull], sites: [us]}, {to: ci-runner, allow: [pull]}]
nodes:
  sandbox-eu: {kind: local, scope: sandbox, site: eu, host: eu-1, port: 5001}
  ci-eu: {kind: local, scope: ci, site: eu, host: eu-1, port: 5002}
  prod-eu-1: {kind: local, scope: prod, role: primary, site: eu, host: eu-1, port: 5003}
  prod-eu-2: {kind: local, scope: prod, role: replica, site: eu, host: eu-2, port: 5003}
  prod-us-1: {kind: local, scope: prod, role: replica, site: us, host: us-1, port: 5003}
  prod-us-2: {kind: local, scope: prod, role: replica, site: us, host: us-2, port: 5003}
trust:
  release-key: {type: key, file: trust/release.pub}
gates:
  signed: {type: signature, by: [release-key]}
promotions:
  - {id: to-prod, from: ci, to: prod, by: [ci-runner], gates: [signed], tags: ['{tag}']}
replications:
  - {id: prod-everywhere, from: prod-eu-1, to: [prod-eu-2, prod-us-1, prod-us-2], on: event, deletes: trash}
"""
# One node on one host, for faults.
SMALL = """\
apiVersion: towpath/v1
kind: Topology
metadata: {{name: small}}
sites:
  eu: {{hosts: {{{host}: {{ssh: deploy@{address}}}}}}}
users:
  dev: {{password: {{file: secrets/dev.bcrypt}}}}
tls: {{ca: {{cert: pki/ca.crt, key: {{file: secrets/ca.key}}}}}}
scopes:
  sandbox:
    class: dev
    grants: [{{to: dev, allow: [pull, push, delete]}}]
    quota: {{bytes: 1GiB, onExceed: reject}}
    cleanup: {{every: 1h, keep: [{{pushedWithin: 3d}}]}}
nodes:
  sandbox-1: {{kind: local, scope: sandbox, site: eu, host: {host}, port: 5001}}
"""


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    exit: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it printed, with ``-o json``, but for what is said of all runs."""
        lines = [json.loads(line) for line in self.out.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("type") not in ("planned", "progress", "endpoint", "summary")]

    @property
    def codes(self) -> list[str]:
        """Of the errors that it ended with, with ``-o json``."""
        lines = [json.loads(line) for line in self.err.splitlines() if line.startswith("{")]
        return [str(line["error"]["code"]) for line in lines if "error" in line]


@dataclass(frozen=True)
class Company:
    """``folder`` holds topology.yaml, secrets/ and the state. ``known_hosts``: what ssh believes."""

    lab: Lab
    folder: Path
    known_hosts: Path

    @classmethod
    def found(cls, lab: Lab, folder: Path, topology: str) -> Company:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "topology.yaml").write_text(topology)
        loaded = load(folder / "topology.yaml").topology
        assert loaded is not None, "the topology of a test is valid"
        create_missing(loaded)
        authority = trustme.CA()
        (folder / "pki").mkdir()
        authority.cert_pem.write_to_path(str(folder / "pki" / "ca.crt"))
        authority.private_key_pem.write_to_path(str(folder / "secrets" / "ca.key"))
        state = StateFolder(folder / ".towpath")
        state.claim(loaded.metadata.name, folder / "topology.yaml", Runs.HOSTS)
        (lab.folder / "releases").mkdir(exist_ok=True)
        state.releases.symlink_to(lab.folder / "releases")  # the same release in every test: packed once
        return cls(lab, folder, lab.known_hosts)

    @classmethod
    def small(cls, lab: Lab, folder: Path, host: str) -> Company:
        """One node, ``sandbox-1``, on one host."""
        return cls.found(lab, folder, SMALL.format(host=host, address=lab.hosts[host].address))

    @property
    def file(self) -> Path:
        return self.folder / "topology.yaml"

    def edit(self, old: str, new: str) -> None:
        """Changes the topology's text, where ``old`` stands once."""
        text = self.file.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the topology"
        self.file.write_text(text.replace(old, new))

    def secret(self, name: str) -> str:
        return (self.folder / "secrets" / name).read_text().strip()

    def words(self, *words: str) -> list[str]:
        """A command as it is typed, with how its hosts are known where it asks hosts."""
        about_hosts = ("--known-hosts", str(self.known_hosts)) if words[0] in _ASK_HOSTS else ()
        return [sys.executable, "-P", "-m", "towpath", *words, *about_hosts]

    def towpath(
        self, *words: str, expect: int | None = 0, env: dict[str, str] | None = None, timeout: float = 110
    ) -> Said:
        """Types one command; ``expect`` None: any exit status."""
        done = self.lab.run(self.words(*words), cwd=self.folder, check=False, env=env, timeout=timeout)
        if expect is not None and done.returncode != expect:
            said = f"{done.stdout}\n{done.stderr}"
            raise LabError(f"towpath {' '.join(words)}: exit {done.returncode}, not {expect}\n{said}")
        return Said(done.returncode, done.stdout, done.stderr)

    def begin(self, *words: str, env: dict[str, str] | None = None, at: str = "") -> subprocess.Popen[str]:
        """A command that goes on while the test does something, at the operator or on a host's network; a process group of
        its own."""
        return subprocess.Popen(
            self.lab.argv([*self.lab.network_of(at), *self.words(*words)], cwd=self.folder),
            env=self.lab.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def skopeo(self, *words: str, at: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """At the operator, or on a host's network; it believes the company's authority."""
        believed = {"SSL_CERT_FILE": str(self.folder / "pki" / "ca.crt")}
        return self.lab.run(["skopeo", *words], at=at, check=check, cwd=self.folder, env=believed)

    def active(self, host: str, node: str = "sandbox-1") -> bool:
        """Whether the node's unit runs, as systemd on the host says."""
        done = self.lab.on(host, f"systemctl is-active towpath-{node}", check=False)
        return done.stdout.strip() == "active"


_ASK_HOSTS = ("plan", "apply", "drift", "unlock", "status")
