"""The deployer's speeds, to be repeated: ``make lab-figures``. It prints, and fails on no number.

The lab's four hosts stand 45 ms away, each way, behind 200 Mbit/s; a thousand hosts are planned from recorded facts alone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sites.planning.deployment import unfit
from sites.planning.plan import host_plan
from tests.lab import rootfs
from tests.lab.capability import require_programs, why_not
from tests.lab.company import ACME, Company
from tests.lab.lab import Lab
from tests.sites import deployed
from topology.load import loads

MANY, WAY = 1000, 45  # hosts; milliseconds
_HEAD = """\
apiVersion: towpath/v1
kind: Topology
metadata: {name: many}
users: {dev: {password: {file: secrets/dev.bcrypt}}, robot: {robot: true, token: {file: secrets/robot.token}}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
"""


@contextmanager
def timed(what: str, wanted: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what:<58} {time.monotonic() - began:6.1f} s   (wanted: {wanted})", flush=True)


def far_away(folder: Path) -> None:
    """What an operator waits for at a company of six nodes on four hosts."""
    lab = Lab(folder, rootfs.archive())
    try:
        lab.start()
        company = Company.found(lab, folder / "acme", ACME)
        lab.delay(WAY)
        with timed("first apply to 4 empty hosts, its release made too", "< 25 s"):
            company.towpath("apply", timeout=300)
        with timed("plan, nothing to do", "< 8 s"):
            company.towpath("plan")
        with timed("drift, none", "< 8 s"):
            company.towpath("drift")
        with timed("apply, nothing to do", "-"):
            company.towpath("apply")
    finally:
        lab.close()


def many(folder: Path) -> None:
    """Each host with a scope and a node of its own."""
    base = deployed.folder(folder)
    declared = loads(_text(MANY), base=base).topology
    assert declared is not None
    hosts = deployed.hosts(declared, base)
    empty = {name: deployed.facts() for name in hosts}
    right = {name: deployed.facts(host) for name, host in hosts.items()}
    for what, facts in (("empty", empty), ("as they should be", right)):
        with timed(f"plan of {MANY} hosts that are {what}, facts recorded", "< 10 s"):
            plans = [host_plan(host, facts[name]) for name, host in hosts.items() if not unfit(host, facts[name])]
        assert len(plans) == MANY
        assert all(each.changes is (what == "empty") for each in plans)
    with timed(f"all that {MANY} hosts must have, from the topology's text", "-"):
        again = loads(_text(MANY), base=base).topology
        assert again is not None
        deployed.hosts(again, base)


def _text(number: int) -> str:
    hosts, scopes, nodes = [], [], []
    for each in range(number):
        hosts.append(f"      h{each}: {{ssh: deploy@10.1.{each // 250}.{each % 250 + 1}}}")
        cleanup = "cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}"
        scopes.append(f"  s{each}: {{class: ci, grants: [{{to: robot, allow: [pull, push]}}], {cleanup}}}")
        nodes.append(f"  n{each}: {{kind: local, scope: s{each}, site: eu, host: h{each}, port: 5001}}")
    return "\n".join([f"{_HEAD}sites:\n  eu:\n    hosts:", *hosts, "scopes:", *scopes, "nodes:", *nodes, ""])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        many(Path(folder))
    if reason := why_not():
        print(f"no hosts here: {reason}")
        return 0
    require_programs()
    with tempfile.TemporaryDirectory() as folder:
        far_away(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
