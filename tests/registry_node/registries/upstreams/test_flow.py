"""Bytes on their way: a cap that streams share, a limit to what slowness is borne, lies that stay lies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from oci_wire.digest import Digest
from oci_wire.errors import RegistryError, TimedOut
from oci_wire.registry import Call
from registry_node.registries.upstreams.failures import ABSENT
from registry_node.registries.upstreams.flow import Pace, Patience, flowing
from registry_node.registries.upstreams.secrets import Credential, CredentialsUnreadable
from registry_node.settings.mirror import Secret
from tests.registry_node.registries.upstreams.conftest import Over
from tests.upstreams import faults
from tests.upstreams.lying import LyingUpstream, Plan


def test_streams_share_a_pace() -> None:
    now = 0.0
    pace = Pace(1000, clock=lambda: now)
    assert [pace.wait_for(500), pace.wait_for(500)] == [0.5, 1.0]
    now = 10.0
    assert pace.wait_for(100) == pytest.approx(0.1)
    assert Pace(None).wait_for(10**9) == 0


def test_patience_ends_with_a_trickle_and_not_with_a_slow_stream() -> None:
    steady = Patience(30, 1000)
    for _ in range(100):
        steady.note(29, 1000)
    dripping = Patience(30, 1000)
    with pytest.raises(TimedOut):
        for _ in range(31):
            dripping.note(1, 1)


async def test_a_stream_that_stands_still_is_left() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(3600)

    got = []
    with pytest.raises(TimedOut):
        async for chunk in flowing(silent(), Pace(None), Patience(0.05, 1000)):
            got.append(chunk)
    assert got == [b"first"]


def test_credentials_that_changed_on_disk_are_taken(tmp_path: object) -> None:

    file = Path(str(tmp_path)) / "secret"
    file.write_text("ci:one\n")
    credential = Credential(Secret(file=file))
    assert (credential().username, credential().password) == ("ci", "one")
    file.write_text("ci:another:with colon\n")
    assert credential().password == "another:with colon"
    file.write_text("no colon")
    with pytest.raises(CredentialsUnreadable) as bad:
        credential()
    assert "no colon" not in str(bad.value)
    file.unlink()
    with pytest.raises(CredentialsUnreadable):
        credential()


@pytest.mark.attack("A-cache-wrong-bytes")
@pytest.mark.parametrize("fault", faults.QUICK, ids=lambda each: each.__name__)
async def test_of_a_lying_upstream_come_the_right_bytes_or_an_error(over: Over, fault: faults.Fault) -> None:
    """A manifest by its digest: nothing else is ever given. Errors are those of the port, and name no address."""
    with LyingUpstream(Plan(7, among=(fault,), slow=0)) as upstream:
        image = upstream.holdings.image("team/app", os.urandom(2000), tags=("1",))
        upstreams = over({"name": "liar", "url": upstream.server.url})
        for _ in range(3):
            try:
                answer = await upstreams.get_manifest(Call("tests"), "team/app", image.digest)
            except ABSENT:
                raise AssertionError("a lie was taken for `not there`") from None
            except RegistryError as error:
                assert error.status in (502, 503, 504)
                assert "127.0.0.1" not in error.message
            else:
                assert Digest.of(answer.value.content) == Digest.parse(image.digest)
