"""Request targets: paths of every endpoint with odd names, digests, encodings and parameters."""

from __future__ import annotations

from random import Random

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import DIGEST, REPOSITORY, Target, basic, request

_METHODS = (b"GET", b"GET", b"GET", b"HEAD", b"PUT", b"POST", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"PROPFIND")
_NAMES = (
    *(REPOSITORY.encode(), b"fuzz/api", b"a", b"a/b/c", b"a" * 255),
    *(b"a" * 256, b"a/" * 200 + b"a", b"A", b"a..b", b"a__b"),
    *(b"a___b", b"-a", b"a-", b".", b"..", b"a/../b", b"a//b", b"/a"),
    *(b"a%2Fb", b"a%2fb", b"%2e%2e", b"a%00b", b"a%", b"_"),
    *(b"%C3%A9", b"%ff", b"a%0d%0ab", b"a;b", b"a\\b", b"a'b", b'a"b'),
    *(b"{a}", b"$(id)", b"a" * 5000, b"tags", b"blobs/uploads"),
)  # fmt: skip
_REFERENCES = (
    *(b"latest", b"a" * 128, b"a" * 129, b".a", b"-a", b"a%2Fb", b"", b"%00", b"a:b", b"_", b"list", b"uploads"),
    *(DIGEST.encode(), DIGEST.upper().encode(), DIGEST.replace(":", "%3A").encode(), b"sha512:" + b"0" * 128),
    *(b"sha256:", b"sha256:" + b"0" * 63, b"sha256:" + b"0" * 65, b"md5:" + b"0" * 32, b":", b"sha256%3a" + b"g" * 64),
)  # fmt: skip
_PATHS = (
    *(b"/v2/", b"/v2", b"/v2/_catalog", b"/v2/N/tags/list"),
    *(b"/v2/N/manifests/R", b"/v2/N/blobs/R", b"/v2/N/referrers/R"),
    *(b"/v2/N/blobs/uploads/", b"/v2/N/blobs/uploads/R", b"/_towpath/"),
    *(b"/_towpath/v1/events", b"/_towpath/v1/r/N/_/tags"),
    *(b"/_towpath/v1/r/N/_/closure/R", b"/_towpath/v1/r/N/_/leases/R", b"/_towpath/v1/r/N/_/transactions/R"),
    *(b"/_towpath/v1/r/N/_/holds/R", b"/_towpath/v1/r/N/_/leases"),
    *(b"/auth/token", b"/healthz", b"/metrics", b"/N", b"//N/R"),
)  # fmt: skip
_KEYS = (
    *(b"n", b"last", b"digest", b"mount", b"from", b"artifactType", b"tag", b"digest-algorithm", b"after", b"limit"),
    *(b"wait", b"rehash", b"scope", b"service", b"account", b"ns", b"", b"%00", b"n%5B%5D"),
)
_VALUES = (
    *(b"", b"0", b"1", b"-1", b"5", b"1e3", b"NaN"),
    *(b"99999999999999999999", b"0x1", b"%00", b"%ff", b"+", b"a" * 3000, b"[]"),
    *(DIGEST.encode(), b"sha256:x", b"latest", b"fuzz/api"),
    *(b"repository:a:pull", b"%F0%9F%98%80", b"true", b"'--", b"sha512"),
)  # fmt: skip
_WORDS = (
    *(b"/", b"//", b"%2F", b"%2f", b"..", b"%2e", b"%00", b"%25", b"%", b"?", b"&", b"=", b";", b"/_/", b"/manifests/"),
    *(b"/blobs/", b"/uploads/", b"/tags/list", b"/v2/", b"sha256:", b"_catalog", b"http://", b"@", b"%0a", b"%0D%0A"),
)


def _target(random: Random) -> bytes:
    path = random.choice(_PATHS).replace(b"N", random.choice(_NAMES), 1).replace(b"R", random.choice(_REFERENCES), 1)
    count = random.choice((0, 0, 0, 1, 1, 2, 3, 250))
    pairs = [random.choice(_KEYS) + b"=" + random.choice(_VALUES) for _ in range(count)]
    target = path + (b"?" + b"&".join(pairs) if pairs else b"")
    if random.random() < 0.6:
        target = mutated(random, target, _WORDS)
    return bytes(each for each in target if each not in b" \r\n") or b"/"


def _make(random: Random, token: str) -> bytes:
    auth = random.choice((basic(), basic(), basic("towpath-engine"), b"Bearer " + token.encode(), None))
    body = random.choice((b"", b"", b"{}", b"x" * 100))
    return request(random.choice(_METHODS), _target(random), auth=auth, body=body)


TARGET = Target("url", _make, answered=True)
