"""Layers at addresses that the maker of an image wrote down: which are asked, what is said to them, what is believed."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from oci_wire.descriptor import OCTET_STREAM, Descriptor
from oci_wire.digest import Digest
from oci_wire.errors import BlobUnknown, UpstreamFailed
from oci_wire.registry import ByteRange, Call
from tests.registry_node.registries.upstreams.conftest import Over
from tests.upstreams import faults
from tests.upstreams.holdings import Holdings, blob
from tests.upstreams.internet import Internet
from tests.upstreams.serving import Reply, Request, Server, refusal

LAYER = os.urandom(900_000)
DIGEST = Digest.of(LAYER)
CALL = Call("tests", via=("us",))
URL = "http://layers.example/ok/base"
NOWHERE = {"name": "nowhere", "url": "http://127.0.0.1:9"}


def layer(*urls: str) -> Descriptor:
    return Descriptor(OCTET_STREAM, DIGEST, len(LAYER), urls=urls or (URL,))


def honest(request: Request) -> Reply:
    return blob(request, LAYER, str(DIGEST))


def leads(location: str) -> Reply:
    return Reply(302, {"location": location})


@pytest.fixture
def origin() -> Any:
    """A registry that has the manifest, and none of its foreign layers."""
    holdings = Holdings()
    holdings.image("win/base", b"own layer")
    with Server(holdings.answer, "127.0.0.1") as server:
        yield server


Opened = Callable[..., Any]


@pytest.fixture
def opened(over: Over, origin: Server) -> Opened:
    """What comes of a layer with such urls, under such an allow-list."""

    async def open_(*urls: str, allow: str = "http://layers.example/ok/**", span: ByteRange | None = None) -> bytes:
        upstreams = over({"name": "origin", "url": origin.url}, foreign_layers=[allow])
        found = await upstreams.open_blob(CALL, "win/base", DIGEST, span, prefer="origin", layer=layer(*urls))
        content: bytes = await found.value.read()
        return content

    return open_


async def test_it_comes_from_its_url_when_no_upstream_has_it(internet: Internet, over: Over, origin: Server) -> None:
    internet.pages["layers.example/ok/base"] = honest
    upstreams = over({"name": "origin", "url": origin.url}, foreign_layers=["http://layers.example/ok/**"])
    found = await upstreams.open_blob(CALL, "win/base", DIGEST, layer=layer())
    assert (found.upstream, await found.value.read()) == ("layers.example", LAYER)
    assert (await upstreams.stat_blob(CALL, "win/base", DIGEST, layer=layer())).value.size == len(LAYER)
    part = await upstreams.open_blob(CALL, "win/base", DIGEST, ByteRange(800_000), layer=layer())
    assert (part.value.start, await part.value.read()) == (800_000, LAYER[800_000:])
    told = upstreams.status()[-1]
    assert (told.name, told.requests["answered"], told.received) == ("(urls)", 3, len(LAYER) + 100_000)
    heads = {name for each in internet.server.seen for name in each.headers}
    assert heads <= {"host", "user-agent", "accept-encoding", "range"}


async def test_an_upstream_that_has_it_is_asked_alone(internet: Internet, over: Over) -> None:
    holdings = Holdings()
    holdings.image("win/base", LAYER)
    with Server(holdings.answer, "127.0.0.1") as server:
        upstreams = over({"name": "origin", "url": server.url}, foreign_layers=["**"])
        assert (await upstreams.open_blob(CALL, "win/base", DIGEST, layer=layer())).upstream == "origin"
    assert internet.asked == []


async def test_off_by_default(internet: Internet, over: Over, origin: Server) -> None:
    internet.pages["layers.example/ok/base"] = honest
    upstreams = over({"name": "origin", "url": origin.url})
    with pytest.raises(BlobUnknown):
        await upstreams.open_blob(CALL, "win/base", DIGEST, layer=layer())
    assert internet.connected == []


async def test_it_comes_from_its_url_when_the_upstream_is_away_and_a_404_there_hides_no_outage(
    internet: Internet, over: Over
) -> None:
    internet.pages["layers.example/ok/base"] = honest
    upstreams = over(NOWHERE, foreign_layers=["http://layers.example/**"])
    assert (await upstreams.open_blob(CALL, "win/base", DIGEST, layer=layer())).upstream == "layers.example"
    with pytest.raises(UpstreamFailed) as failed:
        await upstreams.open_blob(CALL, "win/base", DIGEST, layer=layer("http://layers.example/absent"))
    assert failed.value.upstream == "nowhere"


async def test_the_next_url_is_asked_when_one_has_it_not(internet: Internet, opened: Opened) -> None:
    internet.pages["layers.example/ok/base"] = honest
    internet.pages["layers.example/ok/broken"] = refusal(500, "UNKNOWN")
    urls = ("http://other.example/x", "http://layers.example/ok/broken", "http://layers.example/ok/absent", URL)
    assert await opened(*urls) == LAYER
    assert not any(each.startswith("other.example") for each in internet.asked)


@pytest.mark.attack("A-allow-list-tricks")
@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/ok/base",
        "http://layers.example@evil.example/ok/base",
        "http://evil.example\\@layers.example/ok/base",
        "http://evil.example#layers.example/ok/base",
        "http://layers.example./ok/base",
        "http://LAYERS.example.evil.example/ok/base",
        "http://layerſ.example/ok/base",
        "http://layers.example:81/ok/base",
        "https://layers.example/ok/base",
        "http://layers.example/ok/../secret",
        "http://layers.example/ok/%2e%2e/secret",
        "http://layers.example/ok/..%2fsecret",
        "http://layers.example/ok/%252e%252e%252fsecret",
        "http://layers.example//ok/base",
        "http://layers.example/secret?/ok/base",
        "file:///etc/passwd",
        "//layers.example/ok/base",
        "http://layers.example/ok/a\r\nHost: evil.example",
        "",
    ],
)
async def test_what_is_not_on_the_list_is_not_connected_to(internet: Internet, opened: Opened, url: str) -> None:
    internet.pages |= dict.fromkeys(("layers.example/secret", "evil.example/ok/base", "layers.example/ok/base"), honest)
    with pytest.raises(BlobUnknown):
        await opened(url)
    assert internet.connected == []


@pytest.mark.attack("A-foreign-redirect")
async def test_redirects_are_followed_within_the_list(internet: Internet, opened: Opened) -> None:
    internet.pages["layers.example/ok/base"] = leads("/ok/really/base?sig=a%2Fb")
    internet.pages["layers.example/ok/really/base"] = honest
    assert await opened() == LAYER
    assert internet.server.seen[-1].query == {"sig": "a/b"}


@pytest.mark.attack("A-foreign-redirect")
@pytest.mark.parametrize(
    "location",
    [
        "http://evil.example/ok/base",
        "//evil.example/ok/base",
        "http://layers.example@evil.example/ok/base",
        "/secret",
        "../secret",
        "/ok/%2e%2e/secret",
        "http://169.254.169.254/ok/base",
        "http://127.0.0.1/ok/base",
        "file:///etc/passwd",
        "http://[",
        "",
        "/ok/base",
    ],
)
async def test_a_redirect_that_leaves_the_list_ends_there(internet: Internet, opened: Opened, location: str) -> None:
    internet.pages["layers.example/ok/base"] = leads(location)
    internet.pages |= dict.fromkeys(("layers.example/secret", "evil.example/ok/base"), honest)
    with pytest.raises(UpstreamFailed) as failed:
        await opened()
    assert (failed.value.status, failed.value.reason, failed.value.upstream) == (502, "bad-answer", "layers.example")
    assert set(internet.asked) == {"layers.example/ok/base"} and len(internet.asked) <= 6


@pytest.mark.attack("A-upstream-addresses")
@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0"]
)
@pytest.mark.parametrize("led", [False, True])
async def test_private_addresses_are_never_connected_to(
    internet: Internet, opened: Opened, address: str, led: bool
) -> None:
    """Neither as an address, nor as a name, nor after a redirect; whatever the list allows."""
    internet.addresses["inside.example"] = [address]
    for host in ("inside.example", address):
        internet.pages["layers.example/ok/base"] = leads(f"http://{host}/x")
        with pytest.raises(UpstreamFailed) as failed:
            await opened(URL if led else f"http://{host}/x", allow="**")
        assert (failed.value.status, failed.value.reason) == (502, "private")
    assert {each[0] for each in internet.connected} <= {"93.184.215.14"}


@pytest.mark.attack("A-upstream-addresses")
async def test_a_name_that_moves_inside_is_left(internet: Internet, opened: Opened) -> None:
    """DNS rebinding: each connection looks the name up, and goes to what was judged."""
    internet.addresses["layers.example"] = ["93.184.215.14", "169.254.169.254"]
    internet.pages["layers.example/ok/base"] = honest
    assert await opened() == LAYER
    with pytest.raises(UpstreamFailed) as failed:
        await opened()
    assert failed.value.reason == "private" and len(internet.connected) == 1


@pytest.mark.attack("A-foreign-realm")
async def test_credentials_are_not_sent_there(
    internet: Internet, over: Over, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor asked for: a challenge is a refusal, and no token service of its is heard of."""
    basic = f"Basic {base64.b64encode(b'ana:secret').decode()}"
    holdings = Holdings()
    holdings.image("win/base", b"own")
    challenge = {"www-authenticate": 'Bearer realm="http://layers.example/ok/token",service="x"', "set-cookie": "a=b"}
    internet.pages["layers.example/ok/base"] = Reply(401, challenge)

    def answer(request: Request) -> Reply:
        if request.headers.get("authorization") != basic:
            return refusal(401, "UNAUTHORIZED", www_authenticate='Basic realm="origin"')
        return holdings.answer(request)

    monkeypatch.setenv("ORIGIN", "ana:secret")
    (tmp_path / "netrc").write_text("machine layers.example login ana password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://evil.example")
    with Server(answer, "127.0.0.1") as server:
        origin = {"name": "origin", "url": server.url, "credentials": {"env": "ORIGIN"}}
        upstreams = over(origin, foreign_layers=["http://layers.example/ok/**"])
        for _ in range(2):
            with pytest.raises(UpstreamFailed) as failed:
                await upstreams.open_blob(CALL, "win/base", DIGEST, layer=layer())
            assert (failed.value.status, failed.value.reason) == (502, "refused")
        assert server.seen[-1].headers["authorization"] == basic
    assert set(internet.asked) == {"layers.example/ok/base"}
    assert not any({"authorization", "cookie"} & set(each.headers) for each in internet.server.seen)


@pytest.mark.attack("A-decompression")
@pytest.mark.parametrize(
    "fault", [faults.shortened, faults.too_long, faults.endless, faults.gzipped, faults.gzip_bomb, faults.no_http]
)
async def test_another_size_than_the_manifest_says_is_refused_before_a_byte_is_read(
    internet: Internet, opened: Opened, fault: faults.Fault
) -> None:
    internet.pages["layers.example/ok/base"] = lambda request: fault(request, honest(request), Random(1))
    with pytest.raises(UpstreamFailed) as failed:
        await opened()
    assert failed.value.status in (502, 503) and failed.value.upstream == "layers.example"


async def test_hosts_fail_each_for_itself(internet: Internet, over: Over) -> None:
    """Whoever makes images could else write a dead address into one, to keep the layers of all others from being had."""
    internet.pages["layers.example/ok/base"] = honest
    internet.pages["dead.example/x"] = refusal(500, "UNKNOWN")
    upstreams = over(NOWHERE, foreign_layers=["**"])
    for _ in range(12):
        with pytest.raises(UpstreamFailed):
            await upstreams.open_blob(CALL, "win/base", DIGEST, layer=layer("http://dead.example/x"))
    assert internet.asked.count("dead.example/x") == 5
    assert (await upstreams.open_blob(CALL, "win/base", DIGEST, layer=layer())).upstream == "layers.example"


async def test_a_host_whose_bytes_were_wrong_is_asked_last(internet: Internet, over: Over) -> None:
    internet.pages |= {"layers.example/ok/base": honest, "copies.example/base": honest}
    upstreams, both = over(NOWHERE, foreign_layers=["**"]), layer(URL, "http://copies.example/base")
    assert (await upstreams.open_blob(CALL, "win/base", DIGEST, layer=both)).upstream == "layers.example"
    upstreams.blame("layers.example", DIGEST)
    assert (await upstreams.open_blob(CALL, "win/base", DIGEST, layer=both)).upstream == "copies.example"


def test_settings_say_what_is_no_pattern(over: Over) -> None:
    with pytest.raises(ValueError, match=r"layers\.example.*write https://HOST/PATH"):
        over(NOWHERE, foreign_layers=["layers.example"])
