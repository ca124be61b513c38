"""Who asks behind a proxy: declared proxies are believed, nobody else, and what cannot be read changes nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from registry_node import build
from registry_node.forwarded import Header, Origin, Proxies
from registry_node.front import front_of
from registry_node.registries.local import LocalRegistry
from registry_node.settings import Limits
from tests.registry_node.conftest import asking, settings
from tests.registry_node.images import push_image
from tests.registry_node.test_front import served

OURS = ("10.0.0.0/8", "fd00::/8")
PEER = Origin("10.0.0.1", "http")


def proxies(headers: str = "x-forwarded", networks: Sequence[str] = OURS) -> Proxies:
    return Proxies([ipaddress.ip_network(each) for each in networks], headers)  # type: ignore[arg-type]


def sent(**headers: str) -> list[Header]:
    """``x_forwarded_for="..."``, each a header."""
    return [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("6.6.6.6, 192.0.2.7", "192.0.2.7"),  # what the client wrote itself stays unread
        ("192.0.2.7, 10.0.0.9", "192.0.2.7"),
        ("6.6.6.6,192.0.2.7 ,\t10.0.0.9 , 10.0.0.8", "192.0.2.7"),
        ("10.0.0.7, 10.0.0.9", "10.0.0.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:DB8::7", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, fd00::1", "192.0.2.7"),
        ("", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
        ("192.0.2.7, unknown", "10.0.0.1"),
        ("192.0.2.7, nonsense, 10.0.0.9", "10.0.0.9"),
        ("192.0.2.7,", "10.0.0.1"),
        ("fe80::1%eth0", "10.0.0.1"),
        ("192.0.2.7:port", "10.0.0.1"),
        ("[2001:db8::7", "10.0.0.1"),
        ("192.0.2.7\x00", "10.0.0.1"),
        ("192.0.2.7, " + "10.0.0.9, " * 40 + "10.0.0.8", "10.0.0.9"),  # sixteen hops are followed
    ],
)
def test_the_rightmost_address_that_is_no_proxy(line: str, address: str) -> None:
    assert proxies().origin(sent(x_forwarded_for=line), PEER).address == address


def test_several_lines_are_one_list() -> None:
    lines = [*sent(x_forwarded_for="6.6.6.6"), *sent(x_forwarded_for="192.0.2.7"), *sent(x_forwarded_for="10.0.0.9")]
    assert proxies().origin(lines, PEER).address == "192.0.2.7"


@pytest.mark.parametrize(
    ("addresses", "schemes", "scheme"),
    [
        ("192.0.2.7", "https", "https"),
        ("192.0.2.7", "HTTPS", "https"),
        ("192.0.2.7", "http, https", "https"),  # the left one is the client's own word
        ("192.0.2.7", "https, http", "http"),
        ("192.0.2.7, 10.0.0.9", "https, http", "https"),  # the inner proxy was asked in plain
        ("192.0.2.7, 10.0.0.9", "https", "https"),
        ("192.0.2.7", "gopher", "http"),
        ("", "https", "https"),
    ],
)
def test_the_scheme_of_the_outer_proxy(addresses: str, schemes: str, scheme: str) -> None:
    headers = sent(x_forwarded_for=addresses, x_forwarded_proto=schemes)
    assert proxies().origin(headers, PEER).scheme == scheme


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("registry.test", b"registry.test"),
        ("registry.test:5443", b"registry.test:5443"),
        ("[2001:db8::7]:5443", b"[2001:db8::7]:5443"),
        ("evil.test, registry.test", b"registry.test"),
        ("registry.test/path", None),
        ("a b", None),
        ('a"b', None),
        ("", None),
        ("a" * 300, None),
        ("user@registry.test", None),
    ],
)
def test_the_host_that_was_asked(given: str, host: bytes | None) -> None:
    assert proxies().origin(sent(x_forwarded_for="192.0.2.7", x_forwarded_host=given), PEER).host == host


@pytest.mark.parametrize(
    ("line", "origin"),
    [
        ("for=192.0.2.7;proto=https;host=registry.test", Origin("192.0.2.7", "https", b"registry.test")),
        ('For="[2001:db8::7]:4711"; Proto=https', Origin("2001:db8::7", "https")),
        ("for=6.6.6.6;host=evil.test, for=192.0.2.7;proto=https", Origin("192.0.2.7", "https")),
        ("for=192.0.2.7;proto=https, for=10.0.0.9;proto=http", Origin("192.0.2.7", "https")),
        ('for="6.6.6.6, for=192.0.2.7;proto=https', Origin("192.0.2.7", "https")),  # an open quote hides nothing
        ("for=_hidden;proto=https", Origin("10.0.0.1", "https")),
        ("for=unknown", PEER),
        (";;=;for", PEER),
        ("", PEER),
    ],
)
def test_rfc_7239(line: str, origin: Origin) -> None:
    assert proxies("forwarded").origin(sent(forwarded=line), PEER) == origin


def test_only_the_declared_family_is_read() -> None:
    """A proxy passes on what it does not set: there the client may write what it likes."""
    both = sent(forwarded="for=6.6.6.6;host=evil.test;proto=https", x_forwarded_for="192.0.2.7")
    assert proxies().origin(both, PEER) == Origin("192.0.2.7", "http")
    both = sent(x_forwarded_for="6.6.6.6", x_forwarded_proto="https", forwarded="for=192.0.2.7")
    assert proxies("forwarded").origin(both, PEER) == Origin("192.0.2.7", "http")


@given(st.lists(st.tuples(st.sampled_from([b"x-forwarded-for", b"x-forwarded-proto", b"forwarded"]), st.binary())))
def test_nothing_breaks_it(headers: list[Header]) -> None:
    for family in ("x-forwarded", "forwarded"):
        origin = proxies(family).origin(headers, PEER)
        assert ipaddress.ip_address(origin.address)
        assert origin.scheme in ("http", "https")


def test_who_is_a_proxy() -> None:
    assert proxies().declared("10.1.2.3")
    assert proxies().declared("::ffff:10.1.2.3")  # an IPv4 peer of a listener on [::]
    assert proxies().declared("fd00::1")
    assert not proxies().declared("192.0.2.7")
    assert not proxies().declared("")
    assert not Proxies().declared("127.0.0.1")


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy.test", "10.0.0.0/33", ""])
def test_settings_refuse_what_is_no_network(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValidationError, match="proxies"):
        settings(tmp_path, proxies=[wrong])


FORWARDED = ("X-Forwarded-For: 6.6.6.6, 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: registry.test")


async def asked(port: int, *lines: str) -> bytes:
    """All answers to these requests with forwarded headers; the last one ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for at, line in enumerate(lines, start=1):
        last = ["Connection: close"] if at == len(lines) else []
        writer.write("\r\n".join([line, "Host: inner.test", *FORWARDED, *last, "", ""]).encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("networks", "realm", "remote"),
    [
        (["127.0.0.0/8"], b"https://registry.test/auth/token", "192.0.2.7"),
        (["10.0.0.0/8"], b"http://inner.test/auth/token", "127.0.0.1"),
        ([], b"http://inner.test/auth/token", "127.0.0.1"),
    ],
)
async def test_realm_and_log_on_both_ways(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], networks: list[str], realm: bytes, remote: str
) -> None:
    given = settings(tmp_path)
    short: list[bool] = []

    def at_once(*request: Any) -> bytes | None:
        answer = app.at_once(*request)
        if answer is not None:
            short.append(True)
        return answer

    with closing(LocalRegistry.open(given.data)) as registry:
        app = build.app_of(given, registry, reads=registry.reads, log=True)
        async with asking(app) as http:
            await push_image(http, "public/api", "1.0", b"layer")
        assert app.log is not None
        app.log.flush()
        capsys.readouterr()
        async with served(app, front_of(at_once, Limits(), app.refused, proxies(networks=networks))) as port:
            answer = await asked(port, "GET /v2/public/api/manifests/1.0 HTTP/1.1", "GET /v2/ HTTP/1.1")
        app.log.flush()
    assert short == [True]
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'realm="' + realm + b'"' in answer
    lines = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert [line["remote"] for line in lines] == [remote, remote]
