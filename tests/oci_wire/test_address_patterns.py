"""An allow-list of addresses: each part is matched with its own part, and no two readers take one address for two."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oci_wire.address_patterns import Address, AddressPattern

PLAIN = "https://layers.example.com/ok/a/sha256:1"


def fits(pattern: str, address: str) -> bool:
    """What is no address fits nothing."""
    try:
        read = Address.parse(address)
    except ValueError:
        return False
    return AddressPattern.parse(pattern).fits(read)


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("https://layers.example.com/ok/**", PLAIN),
        ("https://**.example.com/ok/**", PLAIN),
        ("https://**.example.com/ok/**", "https://example.com/ok/x"),
        ("https://*.example.com/ok/*/sha256:?", PLAIN),
        ("https://lay*s.exa?ple.com/**/sha256:1", PLAIN),
        ("https://LAYERS.example.com/**", "HTTPS://Layers.EXAMPLE.com/x"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com/**", "https://example.com"),
        ("https://example.com/**", "https://example.com:443/x?token=a/b"),
        ("https://example.com:8443/**", "https://example.com:8443/x"),
        ("https://example.com:*/**", "https://example.com:8443/x"),
        ("**/example.com/**", "http://example.com/x"),
        ("**/example.com/**", "https://example.com/a/b/"),
        ("*://example.com/**", "http://example.com/x"),
        ("**", PLAIN),
        ("**", "http://[2606:4700::1111]/x"),
        ("https://example.com/a-b/**", "https://example.com/a%2Db/x"),
    ],
)
def test_what_fits(pattern: str, address: str) -> None:
    assert fits(pattern, address)


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("https://layers.example.com/ok/**", "http://layers.example.com/ok/x"),
        ("https://layers.example.com/ok/**", "https://layers.example.com/okay/x"),
        ("https://layers.example.com/ok/**", "https://layers.example.com/OK/x"),
        ("https://layers.example.com/ok/**", "https://layers.example.com.evil.example/ok/x"),
        ("https://layers.example.com/ok/**", "https://evil.example/layers.example.com/ok/x"),
        ("https://**.example.com/**", "https://evilexample.com/x"),
        ("https://*.example.com/**", "https://a.b.example.com/x"),
        ("https://*.example.com/**", "https://example.com/x"),
        ("**/example.com/**", "https://evil.example/example.com/x"),
        ("**/example.com/**", "https://evil.example/x?/example.com/x"),
        ("https://example.com/**", "https://example.com:8443/x"),
        ("https://example.com:443/**", "https://example.com:80/x"),
        ("https://example.com/", "https://example.com/x"),
        ("https://example.com/*", "https://example.com/x/y"),
        ("https://example.com/ok/*", "https://example.com/ok"),
    ],
)
def test_what_does_not_fit(pattern: str, address: str) -> None:
    assert Address.parse(address)
    assert not fits(pattern, address)


@pytest.mark.attack("A-allow-list-tricks")
@pytest.mark.parametrize(
    "address",
    [
        "https://layers.example.com@evil.example/ok/x",
        "https://layers.example.com:pw@evil.example/ok/x",
        "https://evil.example#@layers.example.com/ok/x",
        "https://evil.example\\@layers.example.com/ok/x",
        "https://layers.example.com./ok/x",
        "https://layers.example.com../ok/x",
        "https://.layers.example.com/ok/x",
        "https://layers%2eexample.com/ok/x",
        "https://layers。example.com/ok/x",
        "https://ⓛayers.example.com/ok/x",
        "https://\u212a.example.com/ok/x",  # lower() makes a plain k of it
        "https://layers.example.com/ok/../secret",
        "https://layers.example.com/ok/%2e%2e/secret",
        "https://layers.example.com/ok/.%2E/secret",
        "https://layers.example.com/ok/..;/secret",
        "https://layers.example.com/ok/%2e%2e;x=1/secret",
        "https://layers.example.com/ok/..%2fsecret",
        "https://layers.example.com/ok/..%5csecret",
        "https://layers.example.com/ok/..\\secret",
        "https://layers.example.com/ok/%252e%252e%252fsecret",
        "https://layers.example.com/ok//secret",
        "https://layers.example.com//ok/secret",
        "https://layers.example.com/ok/%00",
        "https://layers.example.com/ok/%0d%0aHost:%20evil",
        "https://layers.example.com/ok/\r\nHost: evil",
        "https://layers.example.com/ok/%c0%ae%c0%ae/secret",
        "https://layers.example.com/ok/%",
        "https://layers.example.com/ok/%zz",
        "https://layers.example.com:0/ok/x",
        "https://layers.example.com:99999/ok/x",
        "https://layers.example.com:/ok/x",
        "https://layers.example.com:443:80/ok/x",
        " https://layers.example.com/ok/x",
        "https:/layers.example.com/ok/x",
        "https:layers.example.com/ok/x",
        "//layers.example.com/ok/x",
        "file:///etc/passwd",
        "file://layers.example.com/ok/x",
        "ftp://layers.example.com/ok/x",
        "gopher://layers.example.com/ok/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://0177.0.0.1/x",
        "https://127.1/x",
        "https://[::1/x",
        "https://[::ffff:127.0.0.1%25eth0]/x",
        "https:///x",
        "",
        "https://" + "a" * 64 + ".example/x",
        "https://example.com/" + "a" * 5000,
    ],
)
def test_what_readers_could_take_for_two_things_is_no_address(address: str) -> None:
    with pytest.raises(ValueError):
        Address.parse(address)


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "*", "layers.example.com", "https://", "https://layers.example.com", "**/layers.example.com", "**/**"),
        *("file:///**", "ftp://example.com/**", "https://example.com/a/../b", "https://example.com/%2e/**"),
        *("https://user@example.com/**", "https://example.com/a//b", "https://bücher.example/**", "https://a**.b/**"),
        *("https://example.com/a b", "https://.example.com/**", "https://example.com./**", "https://exa mple.com/**"),
        *("https://example.com/x#y", "https://example.com:port/**", "**/**.example.com"),
    ],
)
def test_what_is_no_pattern_says_how_one_is_written(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"write https://|whole|labels"):
        AddressPattern.parse(pattern)


def test_steps_of_a_redirect() -> None:
    here = Address.parse("https://layers.example.com/ok/a?x=1")
    assert str(here.joined("../blobs/b")) == "https://layers.example.com/blobs/b"
    assert str(here.joined("//cdn.example/b")) == "https://cdn.example/b"
    for location in ("http://layers.example.com/ok/a", "file:///etc/passwd", "https://a@b/", "http://[", "https://é/"):
        with pytest.raises(ValueError):
            here.joined(location)


PIECES = st.sampled_from(
    [
        *("https://", "http://", "good.example", "evil.example", "GOOD", "ok", "K", "é", "::1", ":443", ":80"),
        *("@", ":", "/", "//", "\\", "..", ".", "%2e", "%2F", "%40", "%", "#", "?", ";", "&", "=", "*", "'", "~"),
        *("\t", "\n", " ", "[", "]"),
    ]
)


@pytest.mark.attack("A-allow-list-tricks")
@given(st.lists(PIECES, max_size=12).map("".join))
@example("https://good.example/ok/x?a=b")
def test_other_readers_see_the_same_host_and_path(text: str) -> None:
    """Whatever fits is, to the client that sends it and to the standard library, an address of that host and path."""
    if not fits("https://good.example/ok/**", text):
        return
    sent = httpx.URL(str(Address.parse(text)))
    for seen in (httpx.URL(text).host, urlsplit(text).hostname, sent.host):
        assert seen == "good.example"
    assert (sent.scheme, sent.port, sent.userinfo, sent.fragment) == ("https", None, b"", "")
    assert sent.raw_path.decode() == Address.parse(text).target
    assert (sent.path + "/").startswith("/ok/")
    assert not {".", ".."} & set(sent.path.split("/"))


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (Address.parse, AddressPattern.parse):
        try:
            found = read(text)
        except ValueError:
            continue
        if isinstance(found, Address):
            assert Address.parse(str(found)) == found


WORDS = st.text("ab*?", min_size=1, max_size=6).filter(lambda word: "**" not in word)
TOKENS = st.lists(st.one_of(WORDS, st.just("**")), min_size=1, max_size=5)
VALUES = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5)


def by_expression(tokens: list[str], values: list[str]) -> bool:
    """The same by a regular expression over the whole: each value ends with a slash."""
    parts = {"*": "[^/]*", "?": "[^/]"}
    words = ["(?:[^/]+/)*" if each == "**" else "".join(parts.get(c, c) for c in each) + "/" for each in tokens]
    return re.fullmatch("".join(words), "".join(f"{each}/" for each in values)) is not None


@given(TOKENS, VALUES)
def test_paths_and_hosts_fit_as_an_expression_says(tokens: list[str], values: list[str]) -> None:
    assert fits(f"https://h/{'/'.join(tokens)}", f"https://h/{'/'.join(values)}") == by_expression(tokens, values)
    assert fits(f"https://{'.'.join(tokens)}/**", f"https://{'.'.join(values)}/") == by_expression(tokens, values)


@pytest.mark.attack("A-redos")
def test_many_stars_take_no_longer_than_the_product_of_the_lengths() -> None:
    pattern = AddressPattern.parse(f"https://h/{'*a' * 120}b")
    assert not pattern.fits(Address.parse(f"https://h/{'a' * 4000}"))
    deep = AddressPattern.parse(f"https://h/{'**/a/' * 40}b")
    assert not deep.fits(Address.parse(f"https://h/{'a/' * 2000}"))
