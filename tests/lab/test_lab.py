"""The lab itself: hosts that are hosts, faults that are faults, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab import sealed
from tests.lab.lab import Lab, LabError
from tests.lab.places import OPERATOR_ADDRESS

pytestmark = pytest.mark.lab
TOP = Path(__file__).resolve().parent.parent.parent

NOTIFYING = """\
[Service]
Type=notify
DynamicUser=yes
StateDirectory=noted
ProtectSystem=strict
NoNewPrivileges=yes
SystemCallFilter=@system-service
WatchdogSec=30
ExecStart=/usr/bin/python3 -c "import os, socket, time; open('/var/lib/noted/user', 'w').write(str(os.getuid())); \\
  n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); n.sendto(b'READY=1', os.environ['NOTIFY_SOCKET']); time.sleep(600)"
"""
# Connects from where it runs; prints what came of it, and the seconds that it took.
KNOCK = """\
import socket, sys, time
began = time.monotonic()
try:
    socket.create_connection((sys.argv[1], 22), timeout=3).close()
    print("open", time.monotonic() - began)
except OSError as error:
    print(type(error).__name__, time.monotonic() - began)
"""


def knock(lab: Lab, source: str, address: str) -> str:
    """What a host (or the ``operator``) finds at port 22 of an address: open, or the name of an error."""
    return _knock(lab, source, address)[0]


def _knock(lab: Lab, source: str, address: str) -> tuple[str, float]:
    if source == "operator":
        said = lab.run([sys.executable, "-c", KNOCK, address]).stdout
    else:
        said = lab.on(source, f"python3 - {address}", stdin=KNOCK).stdout
    found, seconds = said.split()
    return found, float(seconds)


def test_four_hosts_answer_as_the_deployer_who_may_do_all(lab: Lab) -> None:
    for name in lab.hosts:
        assert lab.ssh(name, "hostname; id -un; sudo -n id -u").stdout.split() == [name, "deploy", "0"]


def test_systemd_runs_each_of_them_and_nothing_has_failed(lab: Lab) -> None:
    for name in lab.hosts:
        state = lab.on(name, "systemctl is-system-running --wait; systemctl --failed --no-legend", check=False)
        assert state.stdout.strip() == "running"
        assert lab.on(name, "readlink /proc/1/exe; cat /etc/debian_version").stdout.split()[0].endswith("/systemd")


def test_a_host_may_not_turn_this_machine_s_clock_nor_load_modules(lab: Lab) -> None:
    bound = int(lab.on("eu-1", "grep CapBnd /proc/1/status | cut -f2").stdout, 16)
    sys_admin, sys_time, sys_module = 21, 25, 16  # linux/capability.h
    assert bound >> sys_admin & 1
    assert not bound >> sys_time & 1
    assert not bound >> sys_module & 1


def test_hosts_are_four_machines_and_not_one(lab: Lab) -> None:
    facts = {
        lab.on(name, "hostname; cat /etc/machine-id; ip -4 -br addr show eth0; df --output=source /").stdout
        for name in lab.hosts
    }
    assert len(facts) == 4
    lab.on("eu-1", "touch /srv/mine")
    assert lab.on("eu-2", "ls /srv").stdout == ""


def test_a_notifying_unit_with_a_user_of_its_own_runs_confined(lab: Lab) -> None:
    lab.on("eu-1", "cat > /etc/systemd/system/noted.service", stdin=NOTIFYING)
    lab.on("eu-1", "systemctl daemon-reload && systemctl start noted")
    state, pid, uid, told = (
        lab.on("eu-1", line).stdout.strip()
        for line in (
            "systemctl is-active noted",
            "systemctl show noted -P MainPID",
            "systemctl show noted -P UID",
            "cat /var/lib/noted/user",
        )
    )
    assert (state, uid) == ("active", told)
    assert int(uid) > 60000
    assert lab.on("eu-1", f"grep -E '^(Seccomp|NoNewPrivs):' /proc/{pid}/status").stdout.split()[1::2] == ["1", "2"]
    lab.on("eu-1", "kill -9 $(systemctl show noted -P MainPID); sleep 0.2")
    assert lab.on("eu-1", "systemctl is-active noted", check=False).stdout.strip() == "failed"
    lab.on("eu-1", "rm /etc/systemd/system/noted.service; systemctl daemon-reload; systemctl reset-failed")


def _name(line: str) -> str:
    """Of a line of ``ip -br link``."""
    return line.split(maxsplit=1)[0].split("@", maxsplit=1)[0]


def test_nothing_leads_out_of_the_box(lab: Lab) -> None:
    links = lab.run(["ip", "-br", "link"]).stdout
    assert {_name(line) for line in links.splitlines()} == {"lo", "wan-operator"}
    assert [_name(line) for line in lab.on("eu-1", "ip -br link").stdout.splitlines()] == ["lo", "eth0"]
    for outside in ("192.0.2.1", "198.51.100.1"):
        assert knock(lab, "eu-1", outside) != "open"


def test_the_wan_takes_its_time_between_sites_and_none_within_one(lab: Lab) -> None:
    lab.delay(45)
    for source, target in (("eu-1", "us-1"), ("operator", "eu-2"), ("operator", "us-2")):
        assert _knock(lab, source, lab.hosts[target].address)[1] >= 0.090
    assert _knock(lab, "eu-1", lab.hosts["eu-2"].address)[1] < 0.090


def test_the_wan_has_a_width(lab: Lab) -> None:
    lab.delay(1, rate=16e6)
    began = time.monotonic()
    lab.ssh("us-1", "head -c 4000000 /dev/zero")
    assert time.monotonic() - began >= 4_000_000 * 8 / 16e6 * 0.8


def test_a_cut_line_is_cut_and_the_operator_sees_both_sides(lab: Lab) -> None:
    eu, us = lab.hosts["eu-1"].address, lab.hosts["us-1"].address
    lab.cut("eu", "us")
    assert knock(lab, "eu-1", us) == "TimeoutError"
    assert knock(lab, "us-1", eu) == "TimeoutError"
    assert [knock(lab, "operator", eu), knock(lab, "operator", us)] == ["open", "open"]
    lab.mend()
    assert [knock(lab, "eu-1", us), knock(lab, "us-1", eu)] == ["open", "open"]


LISTEN = """\
import socket
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("0.0.0.0", 7000)); heard.settimeout(2)
print("listening", flush=True)
try:
    print(heard.recv(100).decode())
except TimeoutError:
    print("nothing")
"""


@pytest.mark.parametrize(("source", "target", "heard"), [("eu-1", "us-1", "nothing"), ("us-1", "eu-1", "hello")])
def test_a_line_is_cut_one_way(lab: Lab, source: str, target: str, heard: str) -> None:
    lab.cut("eu", "us", one_way=True)
    command = lab.argv(lab.enter(target, ["python3", "-c", LISTEN]), cwd=Path("/"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "listening\n"
        send = (
            "import socket, sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hello', (sys.argv[1], 7000))"
        )
        lab.on(source, f'python3 -c "{send}" {lab.hosts[target].address}')
        assert listener.stdout.readline() == f"{heard}\n"


def test_a_line_is_cut_in_the_middle_of_a_stream(lab: Lab) -> None:
    lab.cut("eu", "operator", after=500_000)
    with pytest.raises(LabError, match="not done"):
        lab.ssh("eu-1", "head -c 5000000 /dev/zero", timeout=4)
    assert knock(lab, "operator", lab.hosts["eu-1"].address) != "open"
    assert knock(lab, "operator", lab.hosts["us-1"].address) == "open"


def test_an_unplugged_host_is_silent_and_runs_on(lab: Lab) -> None:
    lab.unplug("eu-2")
    assert knock(lab, "eu-1", lab.hosts["eu-2"].address) != "open"
    assert lab.on("eu-2", "systemctl is-active ssh").stdout.strip() == "active"
    lab.mend()
    assert knock(lab, "eu-1", lab.hosts["eu-2"].address) == "open"


def test_a_packet_filter_drops_what_it_is_told(lab: Lab) -> None:
    lab.drop("us-2", f"ip saddr {OPERATOR_ADDRESS} tcp dport 22")
    assert knock(lab, "operator", lab.hosts["us-2"].address) == "TimeoutError"
    assert knock(lab, "us-1", lab.hosts["us-2"].address) == "open"


def test_a_killed_host_is_gone_and_comes_back_with_its_disk(lab: Lab) -> None:
    lab.on("us-2", "echo kept > /srv/note")
    lab.kill("us-2")
    assert knock(lab, "us-1", lab.hosts["us-2"].address) != "open"
    assert not lab.is_up("us-2")
    with pytest.raises(LabError, match="us-2 does not run"):
        lab.on("us-2", "true")
    lab.start("us-2")
    assert lab.ssh("us-2", "cat /srv/note").stdout == "kept\n"


def test_a_reset_host_is_an_empty_machine_with_the_same_key(lab: Lab) -> None:
    lab.on("us-2", "echo lost > /srv/note; useradd stranger")
    lab.reset("us-2")
    assert lab.ssh("us-2", "ls -A /srv; id stranger", check=False).stdout == ""


def test_a_full_disk_is_full(lab: Lab) -> None:
    lab.reset("us-2", size=64 * 2**20)
    done = lab.ssh("us-2", "sudo -n dd if=/dev/zero of=/srv/fill bs=1M count=100", check=False)
    assert done.returncode != 0
    assert "No space left on device" in done.stderr
    lab.reset("us-2")
    lab.on("us-2", "dd if=/dev/zero of=/srv/fill bs=1M count=100 status=none && rm /srv/fill")


def test_a_changed_host_key_is_noticed(lab: Lab) -> None:
    lab.change_host_key("us-2")
    refused = lab.ssh("us-2", "true", check=False)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr
    lab.trust_host_keys()
    lab.ssh("us-2", "true")


def remains(traces: dict[str, Any]) -> list[str]:
    """What of a box is on this machine: its processes, its namespaces (nothing else holds one), its cgroup."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for kind in ("net", "mnt", "pid"):
            try:
                if str((process / "ns" / kind).readlink()) == traces[kind]:
                    found.append(f"{process.name} in {kind}")
            except OSError:
                continue
    keeper = [f"keeper {traces['keeper']}"] if sealed.runs(traces["keeper"]) else []
    return [*found, *keeper, *([traces["group"]] if Path(traces["group"]).exists() else [])]


def until_nothing(traces: dict[str, Any]) -> list[str]:
    until = time.monotonic() + 20
    while (left := remains(traces)) and time.monotonic() < until:
        time.sleep(0.1)
    return left


@contextmanager
def held(folder: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """Another process with a lab of its own, and what of it this machine would see."""
    command = [sys.executable, "-m", "tests.lab.hold", str(folder)]
    with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        try:
            yield holder, json.loads(holder.stdout.readline())
        finally:
            holder.kill()


def test_a_lab_is_gone_with_who_held_it(lab: Lab, tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    with held(tmp_path) as (holder, traces):
        assert len(remains(traces)) > 5
        holder.kill()
        holder.wait(30)
        assert until_nothing(traces) == []
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert lab.ssh("eu-1", "hostname").stdout == "eu-1\n", "another lab has ended, not this one"


def test_a_box_dies_with_its_keeper_and_the_next_one_sweeps(tmp_path: Path, lab: Lab) -> None:
    with held(tmp_path / "first") as (_, traces):
        os.kill(traces["keeper"], signal.SIGKILL)
        assert until_nothing({**traces, "group": "/nonexistent"}) == []
    with held(tmp_path / "second"):
        assert not Path(traces["group"]).exists()
