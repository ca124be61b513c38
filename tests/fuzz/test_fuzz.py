"""What fuzzing found stays fixed, and a few hundred inputs of each target find nothing new (``make fuzz`` sends more)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.campaign import FOUND, SETTINGS, TARGETS, Campaign, Found
from tests.fuzz.heads import chunked_content
from tests.fuzz.wire import Wrong, answers_in
from tests.nodes import running


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_inputs_of_each_target(tmp_path: Path, name: str) -> None:
    with running(tmp_path, **SETTINGS) as node:
        campaign = Campaign(TARGETS[name], node, Random(7))

        async def run() -> None:
            await campaign.prepare()
            for path in sorted(FOUND.glob(f"{name}-*.json")):
                if what := await campaign.complaint(Found.load(path).wire):
                    campaign.found.append(Found(name, f"{path.name}: {what}", b""))
            await campaign.run(inputs=300)

        asyncio.run(run())
    assert campaign.sent >= 300
    assert [each.what for each in campaign.found] == []
    assert len(campaign.statuses) > 1, "all inputs were answered alike: they cannot be good ones"


@pytest.mark.parametrize(
    ("said", "method"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", "GET"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", "GET"),
        (b'HTTP/1.1 404 Not Found\r\ncontent-length: 30\r\n\r\n{"errors":[{"code":"SURPRISE"}]}', "GET"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", "GET"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5", "GET"),
        (b"HTTP/1.1 200 OK\r\nlocation: a\r\nlocation: b\r\ncontent-length: 0\r\n\r\n", "GET"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: a\nb\r\n\r\n", "GET"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabc", "HEAD"),
    ],
)
def test_the_oracle_sees_what_is_wrong(said: bytes, method: str) -> None:
    with pytest.raises(Wrong):
        answers_in(said, [method])


def test_the_oracle_reads_what_is_right() -> None:
    counted = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    assert [each.body for each in answers_in(counted + chunked, ["GET"])] == [b"abc", b"ab"]


@pytest.mark.parametrize(
    ("wire", "content"),
    [
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3 ;x\r\nabc\r\n0\r\nA: b\r\n\r\n", b"abc"),
        (b"3\r\nabcd\r\n0\r\n\r\n", None),
        (b"3 \r\nabc\r\n0\r\n\r\n", None),
        (b"3\r\nabc\r\n0\r\nA : b\r\n\r\n", None),
        (b"3\r\nabc\r\n0\r\n", None),
        (b"+3\r\nabc\r\n0\r\n\r\n", None),
    ],
)
def test_the_reading_of_chunked_bodies(wire: bytes, content: bytes | None) -> None:
    assert chunked_content(wire) == content
