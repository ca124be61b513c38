"""What users keep while releases, hosts and lines change beneath them: pulls go on, and what was answered 201 is there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab import releases
from tests.lab.company import Company
from tests.lab.lab import DISK, Lab
from topology.load import load

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(600)]
KEPT = """\
apiVersion: towpath/v1
kind: Topology
metadata: {name: kept}
sites:
  eu: {hosts: {eu-1: {ssh: deploy@10.91.1.11, failureDomain: eu-a}, eu-2: {ssh: deploy@10.91.1.12, failureDomain: eu-b}}}
  us: {hosts: {us-1: {ssh: deploy@10.92.1.11, failureDomain: us-a}}}
users:
  ci-runner: {robot: true, token: {file: secrets/ci-runner.token}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
slas: {gold: {availability: 99.9, minFailureDomains: 2, rto: 15m}}
scopes:
  ci:
    class: ci
    sla: gold
    grants: [{to: ci-runner, allow: [pull, push]}]
    cleanup: {every: 6h, keep: [{pushedWithin: 7d}]}
  prod:
    class: prod
    write: promotion-only
    grants: [{to: ci-runner, allow: [pull]}]
nodes:
  ci-eu-1: {kind: local, scope: ci, role: primary, site: eu, host: eu-1, port: 5002}
  ci-eu-2: {kind: local, scope: ci, role: replica, site: eu, host: eu-2, port: 5002}
  prod-eu: {kind: local, scope: prod, role: primary, site: eu, host: eu-1, port: 5003}
  prod-us: {kind: local, scope: prod, role: replica, site: us, host: us-1, port: 5003}
trust:
  release-key: {type: key, file: trust/release.pub}
gates:
  signed: {type: signature, by: [release-key]}
promotions:
  - {id: to-prod, from: ci, to: prod, by: [ci-runner], gates: [signed], tags: ['{tag}']}
replications:
  - {id: ci-twice, from: ci-eu-1, to: [ci-eu-2], on: event, deletes: trash}
  - {id: prod-everywhere, from: prod-eu, to: [prod-us], on: event, deletes: trash}
"""
HOSTS = ("eu-1", "eu-2", "us-1")
NODES = {"ci-eu-1": "eu-1", "ci-eu-2": "eu-2", "prod-eu": "eu-1", "prod-us": "us-1"}
TAGS = 500
BYTES = int(os.environ.get("TOWPATH_LAB_BYTES", "") or 256 * 2**20)  # that a lost host had
MIB = 2**20
SIZE = max(DISK, 2 * BYTES)  # of the hosts' disks
LONG = 400  # seconds, for what moves all of BYTES


@pytest.fixture(scope="module")
def kept(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Applied once with this checkout's release; the tests go on from there, in their order."""
    lab.reset(*HOSTS, size=SIZE)
    company = Company.found(lab, tmp_path_factory.mktemp("kept"), KEPT)
    company.towpath("apply", timeout=200)
    return company


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an operator who has the next version of towpath installed."""
    return {"PYTHONPATH": str(releases.with_next_schema(tmp_path_factory.mktemp("newer")))}


class Clients:
    """tests/lab/load.py at nodes of the company, about one repository."""

    def __init__(self, company: Company, repository: str) -> None:
        self.company, self.repository = company, repository

    def words(self, verb: str, nodes: tuple[str, ...], **asked: Any) -> list[str]:
        addresses = json.loads((self.company.folder / ".towpath" / "addresses.json").read_text())
        known = {"user": "ci-runner", "secret": self.company.secret("ci-runner.token")}
        known |= {"ca": str(self.company.folder / "pki" / "ca.crt"), "repository": self.repository}
        told = {**known, "nodes": [addresses[node]["url"] for node in nodes], **asked}
        return [sys.executable, "-m", "tests.lab.load", verb, json.dumps(told)]

    def fill(self, node: str, *, tags: int, size: int) -> dict[str, str]:
        """Tag -> digest of what was pushed."""
        done = self.company.lab.run(self.words("fill", (node,), tags=tags, bytes=size), timeout=LONG)
        return dict(json.loads(done.stdout))

    def missing(self, node: str, expected: dict[str, str]) -> list[str]:
        """What a node does not serve of these, byte for byte."""
        done = self.company.lab.run(self.words("verify", (node,), expected=expected), timeout=LONG)
        return list(json.loads(done.stdout))

    @contextmanager
    def at_work(self, *nodes: str, expected: dict[str, str], push: bool = False) -> Iterator[dict[str, Any]]:
        """Clients pull (and push) until the end of the block; then what they saw is in what it gave."""
        lab, seen = self.company.lab, dict[str, Any]()
        process = subprocess.Popen(
            lab.argv(self.words("run", nodes, expected=expected, push=push)),
            env=lab.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield seen
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            seen |= json.loads(out)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def schema_of(company: Company, node: str) -> str:
    index = f"/var/lib/towpath/{node}/index.db"
    opened = f"__import__('sqlite3').connect('file:{index}?mode=ro', uri=True)"
    asked = f"print(*{opened}.execute('SELECT version_num FROM alembic_version').fetchone())"
    return company.lab.on(NODES[node], "python3 -", stdin=asked).stdout.strip()


def test_an_upgrade_across_a_migration_fails_no_pull_and_loses_no_push(kept: Company, newer: dict[str, str]) -> None:
    clients = Clients(kept, "apps/api")
    tags = clients.fill("ci-eu-1", tags=12, size=3 * MIB)
    kept.towpath("replicate", "ci-twice", timeout=250)
    with clients.at_work("ci-eu-1", "ci-eu-2", expected=tags, push=True) as seen:
        kept.towpath("apply", env=newer, timeout=250)
    assert {schema_of(kept, node) for node in NODES} == {releases.NEXT_SCHEMA}
    assert seen["failed"] == []
    assert seen["broken"] == []
    assert seen["retried"] and seen["refused"], "the clients were there while nodes restarted"
    assert seen["pushed"], "some pushes came through"
    assert clients.missing("ci-eu-1", {**tags, **seen["pushed"]}) == []
    kept.towpath("replicate", "ci-twice", timeout=250)
    assert clients.missing("ci-eu-2", {**tags, **seen["pushed"]}) == []


def test_a_release_that_does_not_know_the_index_is_taken_back_and_told_why(kept: Company) -> None:
    said = kept.towpath("apply", expect=7, timeout=250)
    assert (said.out.count("rolled back"), said.out.count("not reached")) == (1, 2)
    assert "a newer towpath wrote this index" in said.err
    assert all(kept.active(host, node) for node, host in NODES.items())


def test_a_lost_host_is_rebuilt_on_an_empty_machine_while_its_sister_serves(
    kept: Company, newer: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    lab, clients = kept.lab, Clients(kept, "apps/many")
    tags = clients.fill("ci-eu-1", tags=TAGS, size=BYTES)
    kept.towpath("replicate", "ci-twice", timeout=LONG)
    with clients.at_work("ci-eu-1", "ci-eu-2", expected=tags) as seen:
        lost = time.monotonic()
        lab.reset("eu-2", size=SIZE)
        kept.towpath("apply", env=newer, timeout=250)
        kept.towpath("replicate", "ci-twice", timeout=LONG)
        seconds = time.monotonic() - lost
    assert clients.missing("ci-eu-2", tags) == []
    assert (seen["failed"], seen["broken"]) == ([], [])
    assert seen["retried"], "the clients were there while the host was gone"
    topology = load(kept.file).topology
    assert topology is not None
    with capsys.disabled():
        promised = topology.slas["gold"].rto
        print(f"\nRTO {seconds:.0f} s: {TAGS} tags, {BYTES / MIB:.0f} MiB, {seen['pulls']} pulls; promised {promised}")


def test_a_line_that_is_cut_in_a_replication_shows_nothing_half_and_goes_on(kept: Company) -> None:
    lab, clients = kept.lab, Clients(kept, "apps/big")
    robot = {"TOWPATH_USER": "ci-runner", "TOWPATH_TOKEN": kept.secret("ci-runner.token")}
    image = clients.fill("ci-eu-1", tags=1, size=24 * MIB)
    ((tag, _),) = image.items()
    kept.towpath("sign", "--key", "secrets/release.key", f"ci/apps/big:{tag}", env=robot)
    controller = kept.begin("control", at="eu-1")
    try:
        lab.cut("eu", "us", after=8 * MIB)
        promoting = kept.begin("promote", "--wait", "to-prod", f"apps/big:{tag}", at="eu-1", env=robot)
        assert promoting.stderr is not None
        waits = next((line for line in promoting.stderr if "waiting" in line), "")
        assert waits.startswith("prod-us: ")
        assert clients.missing("prod-eu", image) == []
        (shown,) = clients.missing("prod-us", image)
        assert "sha256" not in shown, "neither this digest nor another"
        lab.mend()
        out, err = promoting.communicate(timeout=250)
        assert promoting.returncode == 0, err
        assert "prod-us replicated" in out
        assert clients.missing("prod-us", image) == []
    finally:
        os.killpg(controller.pid, signal.SIGTERM)
        controller.communicate(timeout=60)
