"""How a host's record is read there, and which nodes its folders show."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sites.desired.hosts import recorded
from sites.on_host.records import MOST_BYTES, machine_id, nodes_there, read_record
from tests.sites import deployed


def read(tmp_path: Path, content: bytes) -> tuple[Any, str]:
    (tmp_path / "inventory.json").write_bytes(content)
    return read_record(str(tmp_path / "inventory.json"))


def test_a_record_is_read_as_apply_writes_it(tmp_path: Path) -> None:
    base = deployed.folder(tmp_path)
    for host in deployed.hosts(deployed.topology(base), base).values():
        assert read(tmp_path, recorded(host)) == (json.loads(recorded(host)), "")
    assert read_record(str(tmp_path / "none")) == read_record(str(tmp_path / "inventory.json" / "none")) == (None, "")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"files": []}',
        b'{"files": {"/etc/x": 7}}',
        b'{"files": {"/etc/\\u0000x": {}}}',
        b'{"units": {"towpath-x.service": {}}}',
        b'{"units": {"towpath-x.service": "a\\u0000b"}}',
        b'{"parts": {"logs": {}}}',
        b'{"parts": {"logs": {"unit": "", "files": {"/x": 1}}}}',
        b'{"releases": {"../../..": {}}}',
        b'{"nodes": {"x": null}}',
        b" " * (MOST_BYTES + 1),
    ],
    ids=range(17),
)
def test_what_is_no_record_is_said_and_never_a_trace(tmp_path: Path, content: bytes) -> None:
    found, why = read(tmp_path, content)
    assert found is None and why


def test_a_record_that_is_no_file_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    for name in ("fifo", "link", "."):
        assert read_record(str(tmp_path / name)) == (None, "it is no plain file")


def test_nodes_are_found_by_settings_link_or_unit_and_nothing_else(tmp_path: Path) -> None:
    places = {each: str(tmp_path / each) for each in ("settings", "links", "units")}
    settings, links, units = (Path(each) for each in places.values())
    for folder in (settings / "one" / "credentials", settings / ".proxy", settings / "empty", links, units):
        folder.mkdir(parents=True)
    for name in ("one/settings.json", "one/pending", "one/credentials/tls.key", ".proxy/settings.json"):
        (settings / name).write_text("x")
    (links / "two").symlink_to("../releases/r")
    (units / "towpath-three.service").write_text(f"[Service]\nEnvironment=PYTHONPATH={links}/three\n")
    (units / "towpath-control.service").write_text("[Service]\nExecStart=/usr/bin/towpath control\n")
    (units / "towpath-firewall.service").write_text("[Service]\nExecStart=/usr/sbin/nft\n")
    assert nodes_there(places) == {
        "one": [str(settings / "one/credentials/tls.key"), str(settings / "one/settings.json")],
        "three": [str(units / "towpath-three.service")],
        "two": [str(links / "two")],
    }
    assert nodes_there({each: str(tmp_path / "none") for each in places}) == {}


def test_a_machine_is_known_by_a_hash_of_its_id_and_not_by_the_id(tmp_path: Path) -> None:
    file = tmp_path / "machine-id"
    said = []
    for content in ("0" * 32, "1" * 32, f"{'1' * 32}\n", "uninitialized\n", ""):
        file.write_text(content)
        said.append(machine_id(str(file)))
    assert said[1] == said[2] != said[0] and said[3:] == ["", ""]
    assert len(said[0]) == 32 and said[0] != "0" * 32
    assert machine_id(str(tmp_path / "none")) == ""
