"""What went wrong with an upstream, in words that may be sent on: its name and one word, never what it said.

| what happened | error | reason |
|---|---|---|
| no connection | Unavailable 503 | down |
| cut in the middle | 502 | cut |
| no answer in time, a trickle | 504 | slow |
| 429 | 503 + Retry-After | limited |
| 5xx | 502 | failing |
| 401, 403 | 502 | refused |
| credentials wanted by a host that was not declared | 502 | realm |
| wrong digest, size, encoding, redirect, no registry at all | 502 | bad-answer |
| a manifest larger than `limits.manifest_bytes` | 502 | too-large |
| certificate | 502 | untrusted |
| address that is not connected to | 502 | private |
| credentials that cannot be read | 503 | credentials |
"""

from __future__ import annotations

from oci_wire.errors import (
    BadGateway,
    BlobUnknown,
    Denied,
    Forbidden,
    GatewayTimeout,
    Gone,
    Internal,
    ManifestTooLarge,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    RealmUndeclared,
    RegistryError,
    TimedOut,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
    Untrusted,
    UpstreamFailed,
)
from registry_node.registries.upstreams.secrets import CredentialsUnreadable

ABSENT = (ManifestUnknown, BlobUnknown, NameUnknown, NameInvalid, Gone)
# The first class that fits: the word, the answer, what it says.
_WORDS: tuple[tuple[type[RegistryError], str, type[UpstreamFailed], str], ...] = (
    (CredentialsUnreadable, "credentials", UpstreamFailed, "its credentials cannot be read at this node"),
    (Forbidden, "private", BadGateway, "its name leads to an address that is not connected to (private: true?)"),
    (Untrusted, "untrusted", BadGateway, "its certificate is not trusted"),
    (TimedOut, "slow", GatewayTimeout, "it did not answer in time"),
    (Unreachable, "down", UpstreamFailed, "it cannot be reached"),
    (TooManyRequests, "limited", UpstreamFailed, "it gives no more for now"),
    (Unauthorized, "refused", BadGateway, "it does not let this node in"),
    (Denied, "refused", BadGateway, "it does not let this node in"),
    (ManifestTooLarge, "too-large", BadGateway, "its manifest is larger than this node takes (limits.manifest_bytes)"),
    (RealmUndeclared, "realm", BadGateway, "its token service is on another host, which is none of its `realms`"),
    (UpstreamFailed, "failing", BadGateway, "it cannot reach its own upstream"),
    (Unavailable, "failing", BadGateway, "it fails"),
    (Internal, "failing", BadGateway, "it fails"),
)
_BAD_ANSWER = ("bad-answer", BadGateway, "what it sent is not what was asked for")
KEPT_OUT = ("refused", "realm", "credentials")  # until somebody of ours changes something
_WEIGHTLESS = ("limited", "too-large", *KEPT_OUT)  # it is up: no reason to stop asking it for other things


def failure(upstream: str, error: RegistryError) -> UpstreamFailed:
    """The error to send on. It keeps Retry-After, and nothing that the upstream said."""
    reason, answer, text = words(error)
    return answer(f"upstream {upstream}: {text}", upstream=upstream, reason=reason, retry_after=error.retry_after)


def words(error: RegistryError) -> tuple[str, type[UpstreamFailed], str]:
    """The word, the answer, and what it says."""
    for kind, reason, answer, text in _WORDS:
        if isinstance(error, kind):
            return reason, answer, text
    return _BAD_ANSWER


def bad_answer(upstream: str) -> BadGateway:
    return BadGateway(f"upstream {upstream}: {_BAD_ANSWER[2]}", upstream=upstream, reason=_BAD_ANSWER[0])


def weighs(failed: UpstreamFailed) -> bool:
    """Whether it says that the upstream is not well."""
    return failed.reason not in _WEIGHTLESS
