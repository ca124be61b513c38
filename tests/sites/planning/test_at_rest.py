"""``atRest: encrypted`` of an SLA against what a host shows of its disk: by the facts, and how the host finds them."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sites.hosts import HostErrors
from sites.on_host.at_rest import at_rest, encryption
from sites.planning.at_rest import kept_encrypted, not_encrypted
from sites.planning.deployment import Deployment
from tests.sites import deployed
from tests.tools import require
from topology.model import Topology

SCOPES, SLA = "scopes:\n  sandbox:\n", "slas: {safe: {availability: 99, atRest: encrypted}}\n"
PROMISED = (SCOPES, f"{SLA}{SCOPES}    sla: safe\n")
LUKS = {"device": "/dev/mapper/data (ext4)", "encryption": "LUKS2"}
PLAIN = {"device": "/dev/vda1 (ext4)", "encryption": ""}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return deployed.folder(tmp_path)


@pytest.fixture
def promised(base: Path) -> Topology:
    return deployed.topology(base, PROMISED)


def everywhere(told: dict[str, str]) -> dict[str, dict[str, str]]:
    return {f"/var/lib/towpath/{node}": told for node in ("sandbox-1", "sandbox-2", "ci-2", "all-2", "hub-2")}


def test_a_host_that_does_not_show_it_is_refused_with_its_device(promised: Topology) -> None:
    (error,) = not_encrypted(promised, ("sandbox-1",), "eu-1", deployed.facts(at_rest=everywhere(PLAIN)))
    assert error.code == "at-rest-not-shown"
    assert "eu-1" in error.what and "sandbox-1" in error.what and "/dev/vda1" in error.where
    assert "SLA safe of scope sandbox" in error.why and "LUKS" in error.next


def test_a_folder_that_the_kernel_itself_encrypts_shows_it(tmp_path: Path) -> None:
    """A real ext4 with fscrypt; dm-crypt is in few kernels of small machines, and is shown by its names above."""
    with ext4(tmp_path) as top:
        encrypt(top, top / "towpath")
        (top / "plain").mkdir()
        node = top / "towpath" / "sandbox-1"
        assert at_rest(node)["encryption"] == "fscrypt", "a folder that is not there yet: what it will lie in"
        node.mkdir()
        assert at_rest(node)["encryption"] == "fscrypt"
        assert "ext4" in at_rest(node)["device"]
        assert at_rest(top / "plain")["encryption"] == ""
        assert at_rest(top)["encryption"] == ""


@contextmanager
def ext4(folder: Path) -> Iterator[Path]:
    """A file system that can encrypt, in a file; skips where this machine has none."""
    if os.geteuid() != 0:
        pytest.skip("to mount a file system needs root")
    disk, top = folder / "disk", folder / "mounted"
    top.mkdir()
    with disk.open("wb") as made:
        made.truncate(32 << 20)
    subprocess.run([require("mkfs.ext4"), "-q", "-O", "encrypt", str(disk)], check=True)
    done = subprocess.run(["mount", "-o", "loop", str(disk), str(top)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts no ext4 with encryption: {done.stderr.strip()}")
    try:
        yield top
    finally:
        subprocess.run(["umount", str(top)], check=True)


def encrypt(top: Path, folder: Path) -> None:
    """As ``fscrypt encrypt``: a new key, and a policy of version 2 (linux/fscrypt.h)."""
    key, folder_of_top = os.urandom(64), os.open(top, os.O_RDONLY)
    told = bytearray(struct.pack("<II32sII32s", 2, 0, b"", len(key), 0, b"") + key)
    folder.mkdir()
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(folder_of_top, 0xC0506617, told)  # FS_IOC_ADD_ENCRYPTION_KEY
        policy = struct.pack("<BBBBB3s16s", 2, 1, 4, 0, 0, b"", bytes(told[8:24]))  # AES-256-XTS, names AES-256-CTS
        fcntl.ioctl(opened, 0x800C6613, policy)  # FS_IOC_SET_ENCRYPTION_POLICY
    except OSError as error:
        pytest.skip(f"this machine's kernel has no fscrypt: {error}")
    finally:
        os.close(opened)
        os.close(folder_of_top)


def test_an_older_answer_without_the_fact_is_no_proof(promised: Topology) -> None:
    assert not_encrypted(promised, ("sandbox-1",), "eu-1", deployed.facts())


def test_a_host_that_shows_it_is_fine(promised: Topology) -> None:
    assert not_encrypted(promised, ("sandbox-1",), "eu-1", deployed.facts(at_rest=everywhere(LUKS))) == []


def test_a_node_whose_folder_is_a_mount_of_its_own_is_judged_by_that(promised: Topology) -> None:
    both = {**everywhere(LUKS), "/var/lib/towpath/sandbox-1": PLAIN}
    assert len(not_encrypted(promised, ("sandbox-1",), "eu-1", deployed.facts(at_rest=both))) == 1
    assert not_encrypted(promised, ("sandbox-2",), "eu-2", deployed.facts(at_rest=both)) == []


def test_other_scopes_do_not_ask_for_it(promised: Topology) -> None:
    assert not_encrypted(promised, ("ci-2", "all-2"), "eu-2", deployed.facts(at_rest=everywhere(PLAIN))) == []


def test_a_mirror_keeps_copies_of_what_its_upstreams_hold(base: Path) -> None:
    upstreams = (
        "upstreams: [hub], repositories: ['library/**']",
        "upstreams: [sandbox-1], repositories: ['library/**']",
    )
    declared = deployed.topology(base, PROMISED, upstreams)
    assert kept_encrypted(declared, "hub-2") == ("sandbox",)
    assert kept_encrypted(declared, "all-2") == (), "a virtual keeps nothing"


def test_the_plan_refuses_all_such_hosts_at_once(base: Path, promised: Topology) -> None:
    wanted = deployed.hosts(promised, base)
    targets = {name: host.target for name, host in wanted.items()}
    deployment = Deployment(promised, targets, wanted, wanted["eu-1"].release, "", {}, None)
    facts = {name: deployed.facts(host, at_rest=everywhere(PLAIN)) for name, host in wanted.items()}
    with pytest.raises(HostErrors) as refused:
        deployment.plans(facts)
    assert [each.code for each in refused.value.errors] == ["at-rest-not-shown"] * 2


# -- how a host finds it: /sys as the kernel shows it


def block(system: Path, number: str, uuid: str = "", on: tuple[str, ...] = ()) -> Path:
    device = system / "sys/dev/block" / number
    (device / "slaves").mkdir(parents=True)
    if uuid:
        (device / "dm").mkdir()
        (device / "dm/uuid").write_text(f"{uuid}\n")
    for each in on:
        (device / "slaves" / each.replace(":", "-")).symlink_to(system / "sys/dev/block" / each)
    return device


def test_a_luks_device(tmp_path: Path) -> None:
    block(tmp_path, "8:1")
    assert encryption(block(tmp_path, "253:0", "CRYPT-LUKS2-0123456789abcdef-data", on=("8:1",))) == "LUKS2"
    assert encryption(tmp_path / "sys/dev/block/8:1") == ""


def test_a_volume_on_a_luks_device_and_one_half_on_it(tmp_path: Path) -> None:
    block(tmp_path, "8:1")
    block(tmp_path, "253:0", "CRYPT-LUKS1-0123-data")
    assert encryption(block(tmp_path, "253:1", "LVM-abc", on=("253:0",))) == "LUKS1"
    assert encryption(block(tmp_path, "253:2", "LVM-def", on=("253:0", "8:1"))) == ""


def test_integrity_and_verity_are_no_encryption(tmp_path: Path) -> None:
    block(tmp_path, "8:1")
    block(tmp_path, "253:0", "CRYPT-LUKS2-0123-data")
    assert encryption(block(tmp_path, "253:1", "CRYPT-INTEGRITY-data", on=("8:1",))) == ""
    assert encryption(block(tmp_path, "253:2", "CRYPT-VERITY-0123-data", on=("8:1",))) == ""
    assert encryption(block(tmp_path, "253:3", "CRYPT-INTEGRITY-data", on=("253:0",))) == "LUKS2"


def mount(system: Path, line: str) -> None:
    (system / "proc/self").mkdir(parents=True, exist_ok=True)
    (system / "proc/self/mountinfo").write_text(f"1 0 0:1 / / rw - overlay overlay rw\n{line}\n")


def test_the_device_below_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    number = tmp_path.stat().st_dev
    if not os.major(number):
        pytest.skip("the tests' folder lies on no block device")
    mount(tmp_path, f"2 1 8:1 / {tmp_path} rw shared:1 - ext4 /dev/mapper/data rw")
    block(tmp_path, f"{os.major(number)}:{os.minor(number)}", "CRYPT-LUKS2-0123-data")
    assert at_rest(tmp_path / "var/lib/towpath", tmp_path) == LUKS


def test_ecryptfs_shows_itself_and_the_longest_mount_counts(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    escaped = str(tmp_path / "a b").replace(" ", "\\040")
    mount(tmp_path, f"2 1 0:9 / {escaped} rw - ecryptfs /srv/.secret rw")
    assert at_rest(tmp_path / "a b", tmp_path) == {"device": "/srv/.secret (ecryptfs)", "encryption": "eCryptfs"}
    assert at_rest(tmp_path, tmp_path)["encryption"] == ""


def test_what_is_mounted_inside_a_folder_counts_as_well(tmp_path: Path) -> None:
    (tmp_path / "node/blobs").mkdir(parents=True)
    inside = f"3 1 0:8 / {tmp_path}/node/blobs rw - tmpfs plain rw"
    mount(tmp_path, f"2 1 0:9 / {tmp_path}/node rw - ecryptfs /srv/.secret rw")
    assert at_rest(tmp_path / "node", tmp_path)["encryption"] == "eCryptfs"
    mount(tmp_path, f"2 1 0:9 / {tmp_path}/node rw - ecryptfs /srv/.secret rw\n{inside}")
    assert at_rest(tmp_path / "node", tmp_path) == {"device": "plain (tmpfs)", "encryption": ""}
