"""What goes wrong at a host while it is deployed to: told with a code, nothing half done, and the same command goes on.

The first part never lays anything down: what is wrong is seen before anything changes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.company import ACME, Company
from tests.lab.lab import Lab
from tests.test_house import ROOMS

pytestmark = pytest.mark.lab
TOP = Path(__file__).resolve().parent.parent.parent
HOST = "us-2"


@pytest.fixture
def small(lab: Lab, tmp_path: Path) -> Company:
    """Not applied yet."""
    return Company.small(lab, tmp_path / "small", HOST)


@pytest.fixture
def empty(lab: Lab) -> Iterator[None]:
    """The host is an empty machine, before and after."""
    lab.reset(HOST)
    yield
    lab.mend()
    lab.reset(HOST)


def untouched(lab: Lab, host: str = HOST) -> bool:
    """Whether nothing of ours was ever laid down there."""
    found = lab.on(host, "ls -d /opt/towpath /etc/towpath /var/lib/towpath /etc/systemd/system/towpath-*", check=False)
    return found.stdout == ""


def refused(company: Company, code: str, *, exit: int = 1) -> str:
    """apply is refused with this code, before anything changes; what it said."""
    said = company.towpath("apply", "-o", "json", expect=exit)
    assert said.codes == [code]
    return said.err


# -- seen before anything changes


@pytest.mark.usefixtures("empty")
class TestAnEmptyHost:
    """One machine for all of them: none of them leaves anything."""

    def test_hosts_that_are_down_are_told_together_and_the_others_stay_as_they_are(
        self, lab: Lab, tmp_path: Path
    ) -> None:
        lab.reset("eu-2")
        company = Company.found(lab, tmp_path / "acme", ACME)
        lab.kill("us-1")
        lab.unplug(HOST)
        said = company.towpath("apply", "-o", "json", expect=1)
        assert sorted(said.codes) == ["host-unreachable", "host-unreachable"]
        assert "us-1" in said.err and HOST in said.err
        assert untouched(lab, "eu-2")
        lab.mend()
        assert untouched(lab)

    def test_a_changed_host_key_ends_it_with_both_fingerprints(self, lab: Lab, small: Company, tmp_path: Path) -> None:
        former = lab.known_hosts.read_text()
        lab.change_host_key(HOST)
        try:
            told = refused(small, "host-key-changed")
            assert told.count("SHA256:") == 2
            assert untouched(lab)
        finally:
            lab.trust_host_keys()
        assert lab.known_hosts.read_text() != former

    def test_an_unknown_host_key_ends_it_and_the_line_to_pin_it_works(
        self, lab: Lab, small: Company, tmp_path: Path
    ) -> None:
        stranger = Company(lab, small.folder, tmp_path / "nobody")
        told = json.loads(refused(stranger, "host-key-unknown").splitlines()[-1])["error"]
        pin = told["next"].split("hostKey: ")[1].split("'")[1]
        assert pin in lab.known_hosts.read_text()
        address = f"deploy@{lab.hosts[HOST].address}"
        stranger.edit(f"ssh: {address}", f"ssh: {address}, hostKey: '{pin}'")
        assert stranger.towpath("plan", "-o", "json").rows

    def test_a_user_who_may_not_become_root_is_told(self, lab: Lab, small: Company) -> None:
        lab.on(HOST, "mv /etc/sudoers.d/deploy /srv/sudoers")
        try:
            assert "NOPASSWD" in refused(small, "sudo-refused")
        finally:
            lab.on(HOST, "mv /srv/sudoers /etc/sudoers.d/deploy")
        assert untouched(lab)

    def test_a_key_that_is_not_let_in_is_told(self, lab: Lab, small: Company, tmp_path: Path) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
        said = small.towpath("apply", "-o", "json", "--ssh-key", str(tmp_path / "other"), expect=1)
        assert said.codes == ["ssh-refused"]
        assert untouched(lab)

    def test_a_port_that_is_taken_is_told_with_who_took_it(self, lab: Lab, small: Company) -> None:
        lab.on(HOST, "systemd-run --unit=squatter python3 -m http.server 5001")
        lab.on(HOST, "until ss -ltn | grep -q :5001; do sleep 0.1; done")
        try:
            assert "python3" in refused(small, "port-in-use")
        finally:
            lab.on(HOST, "systemctl stop squatter")
        assert untouched(lab)

    def test_a_clock_that_is_off_is_told(self, lab: Lab, small: Company) -> None:
        try:
            lab.skew(HOST, 90)
            assert re.search(r"its clock is (89|90|91) s ahead of this machine's", refused(small, "host-unfit"))
            lab.skew(HOST, -12)
            warned = small.towpath("plan").err
            assert re.search(rf"warning\[clock-off\]: the clock of host {HOST} is 1[123] s behind", warned)
        finally:
            lab.skew(HOST, 0)
        assert "clock" not in small.towpath("plan").err
        assert untouched(lab)

    def test_a_full_disk_is_told(self, lab: Lab, small: Company) -> None:
        lab.reset(HOST, size=128 * 2**20)
        assert "MiB are free" in refused(small, "host-unfit")
        assert untouched(lab)


# -- cut off in the middle


@pytest.mark.usefixtures("empty")
class TestInTheMiddle:
    def test_a_line_that_is_cut_ends_it_and_the_next_run_goes_on(self, lab: Lab, small: Company) -> None:
        lab.cut("operator", "us", after=3_000_000)  # in the middle of the release
        said = small.towpath("apply", "-o", "json", expect=7, timeout=280)
        assert said.rows[-1]["host"] == HOST
        assert said.rows[-1]["code"] == "host-lost"
        assert not small.active(HOST)
        lab.mend()
        _apply_after_unlock(small)
        assert small.active(HOST)

    def test_an_apply_that_is_killed_is_gone_on_with(self, lab: Lab, small: Company) -> None:
        running = small.begin("apply")
        lab.on(HOST, "until [ -e /opt/towpath ]; do sleep 0.05; done", timeout=100)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
        _apply_after_unlock(small)
        assert small.active(HOST)
        assert small.towpath("plan", "-o", "json", "--detailed-exitcode").rows == []
        leftovers = lab.on(HOST, "find /opt/towpath /etc/towpath /etc/systemd/system -name '*.towpath-new'").stdout
        assert leftovers == ""

    def test_of_two_operators_at_once_one_waits(self, lab: Lab, small: Company, tmp_path: Path) -> None:
        """Each with a state folder of its own: only the host knows of both."""
        second = Company(lab, tmp_path / "second", lab.known_hosts)
        shutil.copytree(small.folder, second.folder)
        first = small.begin("apply")
        lab.on(HOST, "until [ -e /var/lib/towpath/.lock ]; do sleep 0.05; done", timeout=100)
        said = second.towpath("apply", "-o", "json", expect=None)
        out, err = first.communicate(timeout=200)
        assert first.returncode == 0, f"{out}{err}"
        assert said.codes == ["host-locked"], "the second came while the first one held the host"
        assert small.active(HOST)


def _apply_after_unlock(company: Company) -> None:
    """A killed run leaves its lock; its id is in the refusal."""
    again = company.towpath("apply", "-o", "json", expect=None)
    if again.exit == 0:
        return
    assert again.codes == ["host-locked"]
    lock = json.loads(again.err.splitlines()[-1])["error"]["next"].rsplit(" ", 1)[1]
    company.towpath("unlock", lock)
    company.towpath("apply")


@pytest.mark.usefixtures("empty")
def test_a_saved_plan_holds_on_an_empty_host_and_an_edited_release_is_mended(lab: Lab, small: Company) -> None:
    small.towpath("plan", "--out", "plan.json")
    small.towpath("apply", "plan.json", timeout=200)
    assert small.active(HOST)
    assert small.towpath("apply", "plan.json", "-o", "json", expect=6).codes == ["plan-stale"], "it was carried out"
    module = "/opt/towpath/nodes/sandbox-1/registry_node/app.py"
    lab.on(HOST, f"echo '# by hand' >> {module}")
    unit = "/etc/systemd/system/towpath-sandbox-1.service.d"
    lab.on(HOST, f"mkdir {unit}; printf '[Service]\\nNice=5\\n' > {unit}/nice.conf; systemctl daemon-reload")
    drifted = small.towpath("drift", "-o", "json", expect=3).rows
    assert [row["operation"] for row in drifted] == ["release", "drop-in"]
    assert "registry_node/app.py" in drifted[0]["change"]
    assert f"warning[unit-drop-in]: {HOST}: {unit}/nice.conf" in small.towpath("apply", timeout=200).err
    assert lab.on(HOST, f"tail -1 {module}; ls {unit}").stdout.splitlines()[-1] == "nice.conf"
    assert "by hand" not in lab.on(HOST, f"tail -1 {module}").stdout
    assert [row["operation"] for row in small.towpath("drift", "-o", "json", expect=3).rows] == ["drop-in"]


# -- a host that was deployed to


@pytest.fixture(scope="module")
def deployed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Company:
    """The host with its node: its tests leave it serving."""
    lab.reset(HOST)
    company = Company.small(lab, tmp_path_factory.mktemp("deployed"), HOST)
    company.towpath("apply")
    return company


class TestADeployedHost:
    def test_a_stopped_node_is_drift_and_apply_starts_it(self, lab: Lab, deployed: Company) -> None:
        lab.on(HOST, "systemctl stop towpath-sandbox-1")
        (row,) = deployed.towpath("drift", "-o", "json", expect=3).rows
        assert "inactive" in row["change"]
        deployed.towpath("apply")
        assert deployed.active(HOST)

    def test_a_node_that_dies_is_started_again_by_systemd(self, lab: Lab, deployed: Company) -> None:
        pid = lab.on(HOST, "systemctl show -P MainPID towpath-sandbox-1").stdout.strip()
        lab.on(HOST, f"kill -9 {pid}")
        lab.on(HOST, f"until systemctl is-active towpath-sandbox-1 && ! kill -0 {pid}; do sleep 0.2; done")
        assert lab.on(HOST, "systemctl show -P MainPID towpath-sandbox-1").stdout.strip() != pid

    def test_a_saved_plan_holds_as_long_as_nothing_moved(self, lab: Lab, deployed: Company) -> None:
        deployed.edit("bytes: 1GiB", "bytes: 2GiB")
        deployed.towpath("plan", "--save", "plan.json")
        lab.on(HOST, "chmod 0600 /etc/systemd/system/towpath-sandbox-1.service")
        said = deployed.towpath("apply", "plan.json", "-o", "json", expect=6)
        assert said.codes == ["plan-stale"]
        assert f"host {HOST}" in said.err
        deployed.towpath("plan", "--save", "plan.json")
        deployed.towpath("apply", "plan.json")
        assert deployed.towpath("plan", "-o", "json").rows == []

    def test_a_release_that_does_not_serve_is_taken_back(self, lab: Lab, deployed: Company, tmp_path: Path) -> None:
        """The node runs as before, on its former release; the next apply of a good one has nothing to do."""
        for room in ROOMS:
            shutil.copytree(TOP / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
        server = tmp_path / "registry_node" / "server.py"
        server.write_text(server.read_text() + "\nraise RuntimeError('a release with a fault')\n")
        link = "readlink /opt/towpath/nodes/sandbox-1"
        before = lab.on(HOST, link).stdout
        said = deployed.towpath("apply", "-o", "json", expect=7, env={"PYTHONPATH": str(tmp_path)}, timeout=280)
        assert said.rows[-1]["outcome"] == "rolled back"
        assert lab.on(HOST, link).stdout == before
        assert deployed.active(HOST)
        deployed.towpath("status")

    def test_a_host_that_was_lost_and_replaced_by_an_empty_one_is_brought_back(
        self, lab: Lab, deployed: Company
    ) -> None:
        lab.reset(HOST)
        assert untouched(lab)
        deployed.towpath("apply")
        assert deployed.active(HOST)
