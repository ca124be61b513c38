"""Four hosts, every kind of node: a rollout, and what may go wrong with it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.deployed import PASSWORD, TOKEN, Deployment, image
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
TOP = Path(__file__).resolve().parent.parent.parent

FOUR = """\
sites:
  eu:
    hosts:
      eu-1: {ssh: deploy@10.91.1.11, failureDomain: eu-a}
      eu-2: {ssh: deploy@10.91.1.12, failureDomain: eu-b}
  us:
    hosts:
      us-1: {ssh: deploy@10.92.1.11, failureDomain: us-a}
      us-2: {ssh: deploy@10.92.1.12, failureDomain: us-b}
users:
  dev: {password: {file: secrets/dev.bcrypt}}
  robot: {robot: true, token: {file: secrets/robot.token}}
tls: {ca: {cert: pki/ca.crt, key: {file: secrets/ca.key}}}
slas: {gold: {availability: 99.9, minFailureDomains: 2}}
scopes:
  sandbox:
    class: dev
    sla: gold
    grants: [{to: dev, allow: [pull, push, delete]}, {to: robot, allow: [pull]}]
    naming: {repository: 'apps/[a-z0-9-]+'}
    quota: {bytes: 1GiB}
    cleanup: {every: 1h, keep: [{pushedWithin: 3d}]}
nodes:
  sandbox-eu-1: {kind: local, scope: sandbox, role: primary, site: eu, host: eu-1, port: 5001}
  sandbox-eu-2: {kind: local, scope: sandbox, role: replica, site: eu, host: eu-2, port: 5001}
  sandbox-us-1: {kind: local, scope: sandbox, role: replica, site: us, host: us-1, port: 5001}
  mirror-us-2:
    {kind: mirror, site: us, host: us-2, port: 5010, upstreams: [sandbox-eu-1], repositories: ['apps/**'], tagTtl: 1s}
  all-us-2:
    {kind: virtual, site: us, host: us-2, port: 5020, members: [mirror-us-2],
     owns: {'apps/**': [mirror-us-2]}, unmatched: deny}
replications:
  - {id: everywhere, from: sandbox-eu-1, to: [sandbox-eu-2, sandbox-us-1], on: event, reconcile: 1m, deletes: trash}
"""
HOSTS = ("eu-1", "eu-2", "us-1", "us-2")


@pytest.fixture(scope="module")
def four(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """All of it, applied once; the tests go on from there, in their order."""
    lab.reset(*HOSTS)
    deployment = Deployment(lab, tmp_path_factory.mktemp("four"), FOUR)
    applied = deployment.towpath("apply", timeout=200)
    served = [line.split()[1] for line in applied.stderr.splitlines() if line.endswith("runs and serves")]
    assert served[0] == "sandbox-eu-2", "the canary host; the others are idle and come together"
    assert sorted(served) == ["all-us-2", "mirror-us-2", "sandbox-eu-1", "sandbox-eu-2", "sandbox-us-1"]
    assert served.index("mirror-us-2") < served.index("all-us-2")
    yield deployment


def processes(lab: Lab) -> dict[str, str]:
    """The main processes of all units, by host."""
    line = "systemctl show -p MainPID --value 'towpath-*.service'"
    return {host: lab.on(host, line).stdout for host in HOSTS}


def test_an_image_is_pulled_through_mirror_and_virtual(four: Deployment, tmp_path: Path) -> None:
    source, target = f"oci:{image(tmp_path / 'image')}:1.0", "apps/hello:1.0"
    creds = ("--dest-creds", f"dev:{PASSWORD}", "--dest-cert-dir", four.certificates)
    four.skopeo("copy", *creds, source, f"docker://10.91.1.11:5001/{target}")
    four.towpath("replicate", "everywhere")  # or the primary would be left alone below
    words = ("--creds", f"robot:{TOKEN}", "--cert-dir", four.certificates)
    shown = four.skopeo("inspect", *words, f"docker://10.92.1.12:5020/{target}")
    assert json.loads(shown.stdout)["Os"] == "linux"
    rows = [json.loads(line) for line in four.towpath("status", "-o", "json").stdout.splitlines()]
    assert {row["state"] for row in rows} == {"active"} and len(rows) == 5


def test_a_saved_plan_holds_until_something_moves(four: Deployment) -> None:
    saved = str(four.folder / "plan.json")
    four.change("bytes: 1GiB", "bytes: 2GiB")
    four.towpath("plan", "--save", saved)
    assert PASSWORD not in Path(saved).read_text() and "PRIVATE" not in Path(saved).read_text()
    four.lab.on("us-1", "chmod 600 /etc/towpath/sandbox-us-1/settings.json")
    before = processes(four.lab)
    refused = four.towpath("apply", saved, check=False)
    assert refused.returncode == 6
    assert "plan-stale" in refused.stderr and "host us-1" in refused.stderr
    assert processes(four.lab) == before
    four.towpath("plan", "--save", saved)
    applied = four.towpath("apply", saved, timeout=200)
    served = [line.split()[1] for line in applied.stderr.splitlines() if line.endswith("runs and serves")]
    assert served == ["sandbox-eu-2", "sandbox-us-1", "sandbox-eu-1"], "one after the other, the primary last"
    assert four.towpath("plan", "--detailed-exitcode").returncode == 0


def test_every_host_that_cannot_be_changed_is_told_before_anything_is(four: Deployment) -> None:
    lab = four.lab
    lab.on("eu-1", "mv /etc/sudoers.d/deploy /var/tmp/deploy.sudo")
    lab.change_host_key("eu-2")
    lab.unplug("us-1")
    four.change("bytes: 2GiB", "bytes: 3GiB")
    before = lab.on("us-2", "cat /etc/towpath/inventory.json; ls /var/lib/towpath/.lock", check=False).stdout
    refused = four.towpath("apply", check=False)
    assert refused.returncode == 1
    for code in ("sudo-refused", "host-key-changed", "host-unreachable"):
        assert f"error[{code}]" in refused.stderr
    assert refused.stderr.count("SHA256:") == 2, "the key that it shows, and the one that is known"
    assert lab.on("us-2", "cat /etc/towpath/inventory.json; ls /var/lib/towpath/.lock", check=False).stdout == before
    lab.on("eu-1", "mv /var/tmp/deploy.sudo /etc/sudoers.d/deploy")
    lab.trust_host_keys()
    four.change("bytes: 3GiB", "bytes: 2GiB")


def test_a_release_that_does_not_work_is_taken_back_from_the_canary_host(four: Deployment) -> None:
    broken = four.folder / "broken"
    for room in (
        "oci_wire",
        "identity",
        "topology",
        "registry_node",
        "promotions",
        "sites",
        "control_plane",
        "towpath",
    ):
        shutil.copytree(TOP / room, broken / room, ignore=shutil.ignore_patterns("__pycache__"))
    with (broken / "registry_node" / "app.py").open("a") as module:
        module.write("\nraise SystemExit('this release does not work')\n")
    before = processes(four.lab)
    failed = four.towpath("apply", env={"PYTHONPATH": str(broken)}, check=False, timeout=200)
    assert failed.returncode == 7
    outcomes = {line.split()[0]: line for line in failed.stdout.splitlines() if line.split()[0] in HOSTS}
    assert sum("rolled back" in line for line in outcomes.values()) == 1
    assert sum("not reached" in line for line in outcomes.values()) == 3
    assert "this release does not work" in failed.stderr
    (canary,) = (host for host, line in outcomes.items() if "rolled back" in line)
    after = processes(four.lab)
    assert {host for host in HOSTS if after[host] != before[host]} == {canary}
    rows = [json.loads(line) for line in four.towpath("status", "-o", "json").stdout.splitlines()]
    assert {row["state"] for row in rows} == {"active"}
    four.towpath("apply", timeout=200)
    assert four.towpath("drift").returncode == 0


def test_a_killed_apply_leaves_a_lock_that_is_named_and_the_next_goes_on(four: Deployment) -> None:
    lab = four.lab
    four.change("bytes: 2GiB", "bytes: 4GiB")
    words = [
        sys.executable,
        "-P",
        "-m",
        "towpath",
        "apply",
        "-f",
        str(four.file),
        "--known-hosts",
        str(lab.known_hosts),
    ]
    with subprocess.Popen(
        lab.argv(words), env=lab.environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if "runs and serves" in line:
                break
        lab.run(["pkill", "--signal", str(int(signal.SIGKILL)), "-f", f"towpath apply -f {four.file}"])
    time.sleep(1)
    refused = four.towpath("apply", check=False)
    assert refused.returncode == 6
    assert "error[host-locked]" in refused.stderr
    lock = refused.stderr.partition("towpath unlock ")[2].split()[0]
    assert four.towpath("unlock", lock).returncode == 0
    four.towpath("apply", timeout=200)
    assert four.towpath("plan", "--detailed-exitcode").returncode == 0
    assert four.towpath("drift").returncode == 0
