"""What Hypothesis makes of the grammars: values that are right, and text that is nearly right."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from oci_wire.auth import Challenge, TokenScope
from oci_wire.descriptor import Descriptor, Platform
from oci_wire.digest import HEX_LENGTH, Digest
from oci_wire.reference import NAME_LIMIT, Reference

_ALNUM = string.ascii_lowercase + string.digits
_TOKEN = string.ascii_lowercase + string.digits + "-_"

digests = st.sampled_from(sorted(HEX_LENGTH)).flatmap(
    lambda algorithm: st.text("0123456789abcdef", min_size=HEX_LENGTH[algorithm], max_size=HEX_LENGTH[algorithm]).map(
        lambda text: Digest(algorithm, text)
    )
)
_words = st.text(_ALNUM, min_size=1, max_size=8)
_separators = st.sampled_from([".", "_", "__", "-", "--", "-----"])
components = st.lists(st.tuples(_words, _separators), max_size=3).flatmap(
    lambda parts: _words.map(lambda last: "".join(word + separator for word, separator in parts) + last)
)
repositories = st.lists(components, min_size=1, max_size=4).map("/".join).filter(lambda name: len(name) <= NAME_LIMIT)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
hosts = st.one_of(
    st.sampled_from(["localhost", "127.0.0.1:5000", "registry.example", "[::1]:5000", "REG.example:443"]),
    st.tuples(_words, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    """As ``Reference.parse`` reads them: a first part that looks like a host is one."""
    registry = draw(st.one_of(st.just(""), hosts))
    name = draw(repositories)
    first, slash, _ = name.partition("/")
    if not registry and slash and ("." in first or first == "localhost"):
        name = f"plain/{name}"
    return Reference(registry, name, draw(st.one_of(st.just(""), tags)), draw(st.one_of(st.none(), digests)))


_plain = st.text(max_size=20)
descriptors = st.builds(
    Descriptor,
    media_type=_plain,
    digest=digests,
    size=st.integers(0, 2**63 - 1),
    annotations=st.dictionaries(_plain, _plain, max_size=3),
    artifact_type=_plain,
    platform=st.one_of(st.none(), st.builds(Platform, os=_plain, architecture=_plain, variant=_plain)),
    urls=st.lists(_plain, max_size=2).map(tuple),
)
challenges = st.builds(
    Challenge,
    scheme=st.text(string.ascii_lowercase, min_size=1, max_size=8),
    parameters=st.dictionaries(
        st.text(_TOKEN, min_size=1, max_size=8), st.text(st.characters(exclude_categories=["Cs", "Cc"])), max_size=4
    ),
)
actions = st.frozensets(st.sampled_from(["pull", "push", "delete", "*"]))
scopes = st.one_of(
    st.builds(TokenScope, kind=st.just("repository"), name=repositories, actions=actions),
    st.builds(TokenScope, kind=st.just("registry"), name=st.just("catalog"), actions=actions),
)
# Text made of the pieces that parsers stumble over.
crumbs = st.lists(
    st.one_of(
        st.sampled_from(
            ["sha256:", "sha512:", "/v2/", "/blobs/", "uploads", "/manifests/", "/tags/list", "/referrers/"]
        ),
        st.sampled_from(
            ["..", "//", "%2e%2e", "%2f", "%", "%zz", "?", "&" * 220, "=", "@", ":", "#", "\x00", "\n", ","]
        ),
        st.sampled_from(["Bearer ", "Basic ", 'realm="', "repository:", "registry:", "a" * 300, "é", "\ud800"]),
        st.text(max_size=6),
        digests.map(str),
    ),
    max_size=8,
).map("".join)
