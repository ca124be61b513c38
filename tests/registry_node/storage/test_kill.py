"""SIGKILL at every point of the storage: what was acknowledged is there, nothing is half done, work goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import BlobUploadUnknown, ManifestUnknown, NameUnknown
from oci_wire.registry import once
from registry_node.registries.local import LocalRegistry
from tests.registry_node.pushes import CI, manifest_of, put_blob
from tests.registry_node.storage.dying import POINTS, layer, push

pytestmark = pytest.mark.slow


def killed(folder: Path, point: str, count: int) -> list[list[str]]:
    """What the process had acknowledged when it died."""
    command = [sys.executable, "-m", "tests.registry_node.storage.dying", str(folder), point, str(count)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    return [line.split() for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("point", POINTS)
async def test_killed(tmp_path: Path, point: str, count: int) -> None:
    acknowledged = killed(tmp_path, point, count)
    registry = LocalRegistry.open(tmp_path)
    try:
        for line in acknowledged:
            await check_acknowledged(registry, line)
        await check_sessions(registry, acknowledged)
        await check_tags(registry, acknowledged)
        check_nothing_is_left(registry, acknowledged)
        await check_journal(registry)
        for number in range(3):
            if await named(registry, f"v{number + 1}") is None and await named(registry, "latest") in (
                None,
                manifest_of(layer(number - 1)).digest if number else None,
            ):
                await push(registry, number)
    finally:
        registry.close()


async def check_acknowledged(registry: LocalRegistry, line: list[str]) -> None:
    match line:
        case ["blob", number]:
            stream = await registry.open_blob(CI, "a", Digest.of(layer(int(number))))
            assert await stream.read() == layer(int(number))
        case ["tag", tag, digest]:
            assert str(await named(registry, tag)) == digest


async def check_sessions(registry: LocalRegistry, acknowledged: list[list[str]]) -> None:
    """The last session goes on where it was, unless its bytes were about to become a blob: then a client, whose last
    request got no answer, starts again."""
    sessions = [line for line in acknowledged if line[0] == "session"]
    if not sessions or acknowledged[-1][0] != "session":
        return
    number = sum(line[0] == "blob" for line in acknowledged)
    try:
        offset = (await registry.upload_status(CI, "a", sessions[-1][1])).offset
    except BlobUploadUnknown:
        assert await put_blob(registry, "a", layer(number)) == Digest.of(layer(number))
        return
    assert offset >= int(sessions[-1][2])
    content = layer(number)
    await registry.finish_upload(CI, "a", sessions[-1][1], Digest.of(content), once(content[offset:]), start=offset)


async def check_tags(registry: LocalRegistry, acknowledged: list[list[str]]) -> None:
    """A tag is old or new, its closure is whole, and both tags of a transaction moved together."""
    latest = await named(registry, "latest")
    assert latest == await named(registry, "newest")
    both = [line[1] for line in acknowledged if line[0] == "both"]
    allowed = {both[-1]} if both else {"None"}
    allowed.add(str(manifest_of(layer(len(both))).digest))  # committed, but killed before it could say so
    assert str(latest) in allowed
    states = await registry.tag_states(CI, "a")
    assert states is not None
    for state in states.tags:
        assert (await registry.closure(CI, "a", Digest.parse(state.digest), rehash=True)).complete


def check_nothing_is_left(registry: LocalRegistry, acknowledged: list[list[str]]) -> None:
    assert list(registry.folder.glob("temp/*")) == []
    assert len(list(registry.folder.glob("uploads/*"))) <= 1
    lines = [json.loads(line) for line in (registry.folder / "journal.ndjson").read_text().splitlines()]
    assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))


async def check_journal(registry: LocalRegistry) -> None:
    """It tells the same story as the index."""
    told: dict[str, str] = {}
    for line in (registry.folder / "journal.ndjson").read_text().splitlines():
        entry = json.loads(line)
        if entry["kind"] == "tag":
            told[entry["tag"]] = entry["digest"]
    states = await registry.tag_states(CI, "a")
    assert states is not None
    assert {state.tag: state.digest for state in states.tags} == told


async def named(registry: LocalRegistry, tag: str) -> Digest | None:
    try:
        return (await registry.resolve(CI, "a", tag)).digest
    except (ManifestUnknown, NameUnknown):
        return None
