"""docs/guides/deploying.md, typed command by command: from three bare hosts to a running topology, and on from there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import releases
from tests.lab.deployed import image
from tests.lab.guide import ON_HOSTS, OPERATOR, Reader, blocks
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
GUIDE = Path(__file__).resolve().parent.parent.parent / "docs" / "guides" / "deploying.md"
FIRST = "From three bare hosts to a running topology"
HOSTS = ("eu-1", "eu-2", "us-1")
THEIRS = ("10.1.0.11", "10.1.0.12", "10.2.0.11")


def test_each_of_the_guide_s_commands_is_typed_by_a_test() -> None:
    """A block that names no place would be passed over."""
    text = GUIDE.read_text()
    for heading in (FIRST, "Upgrade and rollback", "Replacing a host"):
        section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        assert len(blocks(GUIDE, heading)) == section.count("\n```") / 2 > 0


@pytest.fixture(scope="module")
def reader(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Three machines on which nobody has ever done anything, and somebody with a key and an image."""
    lab.reset(*HOSTS)
    _bare(lab, *HOSTS)
    instead = {theirs: lab.hosts[name].address for theirs, name in zip(THEIRS, HOSTS, strict=True)}
    instead["ssh-ed25519 AAAA... you@laptop"] = lab.key.with_suffix(".pub").read_text().strip()
    reader = Reader(lab, tmp_path_factory.mktemp("guide"), instead)
    image(reader.folder / "image")
    yield reader
    lab.trust_host_keys()
    lab.reset(*HOSTS)


def _bare(lab: Lab, *hosts: str) -> None:
    """As Debian's installer leaves them, without the account that the lab's hosts come with."""
    for host in hosts:
        lab.on(host, "loginctl terminate-user deploy; userdel --remove deploy && rm /etc/sudoers.d/deploy", timeout=30)


def test_three_bare_hosts_become_a_running_topology(reader: Reader) -> None:
    said = [reader.does(block, *HOSTS) for block in blocks(GUIDE, FIRST)]
    prints = [set(re.findall(r"SHA256:\S+", each)) for each in said[:2]]
    assert len(prints[0]) == 3
    assert prints[0] == prints[1], "what the consoles print is what ssh-keyscan finds"
    assert "Plan: " in said[3] and "Done: every node serves." in said[3]
    assert "PROMOTED" in said[4]
    assert '"Os": "linux"' in said[4]


@pytest.mark.slow
def test_an_upgrade_and_the_way_back(reader: Reader, tmp_path: Path) -> None:
    newer = releases.added(tmp_path / "newer", "registry_node/app.py", "# the next release")
    there, back = blocks(GUIDE, "Upgrade and rollback")
    before = _releases(reader.lab)
    assert "Done: every node serves." in reader.does(there, installed=newer)
    upgraded = _releases(reader.lab)
    assert len(set(upgraded.values())) == 1 and not set(upgraded.values()) & set(before.values())
    assert "Done: every node serves." in reader.does(back)
    assert _releases(reader.lab) == before


def _releases(lab: Lab) -> dict[str, str]:
    """By host."""
    return {host: lab.on(host, "readlink /opt/towpath/nodes/* | sort -u").stdout.strip() for host in HOSTS}


@pytest.mark.slow
def test_a_host_is_replaced(reader: Reader) -> None:
    lab = reader.lab
    lab.reset("eu-2")
    lab.change_host_key("eu-2")
    _bare(lab, "eu-2")
    preparing = next(block for block in blocks(GUIDE, FIRST) if block.where == ON_HOSTS)
    reader.does(preparing, "eu-2")
    (replacing,) = blocks(GUIDE, "Replacing a host")
    assert replacing.where == OPERATOR
    said = reader.does(replacing)
    assert "Done: every node serves." in said
    assert re.search(r"apps/api -> prod-eu-2: [1-9]\d* tags moved", said)
