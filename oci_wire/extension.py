"""``/_towpath/v1``: what promotion, replication and scrub ask of a node beyond the standard. Versioned, optional.

Both sides share these types and URLs without importing each other. ``R`` is ``/_towpath/v1/r/{repository}/_``.

| call | body | answers |
|---|---|---|
| GET /_towpath/ | - | 200 Features |
| POST R/leases | LeaseRequest | 201 Lease; 409 another holder |
| PUT R/leases/{id} | LeaseRenewal | 200 Lease; 410 |
| DELETE R/leases/{id} | LeaseRenewal | 204; 410 |
| PUT R/holds/{owner} | Hold | 200 HoldReceipt |
| DELETE R/holds/{owner} | - | 204 |
| PUT R/transactions/{txid} | TagTransaction | 201 TagReceipt; the same again 200; 409, 410, 412, 422, 403, 507 |
| GET R/transactions/{txid} | - | 200 TagReceipt; 404 (may still land) |
| DELETE R/transactions/{txid} | - | 200 never will; 409 receipt |
| GET R/tags?after&limit | If-None-Match: rev | 200 TagStates; 304 |
| GET R/closure/{digest}?rehash | - | 200 ClosureReport |
| GET R/why/{tag or digest} | - | 200 Explanation, also of what is not there |
| GET /_towpath/v1/events?after&wait | - | 200 NDJSON of Event, ordered per repository; 410: reconcile |

A lease's fencing token is issued **and checked** by the target: the engine alone cannot fence itself.
Times are seconds since the epoch, UTC. Digests are strings on this wire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, Protocol, runtime_checkable
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, field_validator

from oci_wire.digest import Digest
from oci_wire.registry import Call

VERSION = "v1"
ROOT = "/_towpath/"
EVENTS = f"{ROOT}{VERSION}/events"
MAX_LEASE_SECONDS = 300
MAX_HELD_DIGESTS = 1000

DigestText = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
Time = Annotated[float, Field(ge=0, le=253402300799)]  # seconds since the epoch, until the year 9999
Fence = Annotated[int, Field(ge=0, le=2**53 - 1)]  # what every JSON reader holds exactly


def _printable(most: int) -> Any:
    """Text that every store and every log takes: no control characters."""
    return Field(max_length=most, pattern=r"^[^\x00-\x1f\x7f]*$")


class Wire(BaseModel):
    """Frozen; unknown fields are refused on requests, so that a misspelt condition never passes as none. Each is made
    ready when it is first used: a node that is never asked for them starts without."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Features(Wire):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)
    versions: tuple[str, ...] = (VERSION,)
    node: str
    scope: str
    features: tuple[str, ...]
    limits: dict[str, int]


class LeaseRequest(Wire):
    holder: Name
    ttl: float = Field(gt=0, le=MAX_LEASE_SECONDS)


class LeaseRenewal(Wire):
    token: Fence
    ttl: float = Field(default=60, gt=0, le=MAX_LEASE_SECONDS)


class Lease(Wire):
    id: str
    holder: str
    token: int  # grows with every lease of this repository
    expires: float


class Hold(Wire):
    """Digests that must stay until a time, because an owner (a promotion, a soak) needs them."""

    digests: tuple[DigestText, ...] = Field(max_length=MAX_HELD_DIGESTS)
    until: Time
    reason: Annotated[str, _printable(500)]


class HoldReceipt(Wire):
    present: tuple[DigestText, ...]
    missing: tuple[DigestText, ...]


class TagChange(Wire):
    """One tag: ``expect`` is its digest before (None: absent), ``to`` its digest after (None: remove)."""

    tag: Tag
    expect: DigestText | None
    to: DigestText | None
    trash_until: Time | None = None


class TagTransaction(Wire):
    lease: Annotated[str, _printable(200)]
    token: Fence
    not_after: Time
    actor: Annotated[str, _printable(200)]
    tags: tuple[TagChange, ...] = Field(min_length=1, max_length=1000)
    origin_time: Time | None = None  # replication carries the time at which the tag was set at its origin

    @field_validator("tags")
    @classmethod
    def _each_tag_once(cls, tags: tuple[TagChange, ...]) -> tuple[TagChange, ...]:
        if len({each.tag for each in tags}) != len(tags):
            raise ValueError("a transaction changes each tag once")
        return tags

    @property
    def purpose(self) -> object:
        """What it is for. A resumed engine asks again under a newer lease: that is the same transaction."""
        return (self.actor, frozenset(self.tags), self.origin_time)


class TagEffect(Wire):
    tag: str
    old: DigestText | None
    new: DigestText | None


class TagReceipt(Wire):
    txid: str
    rev: int
    at: float
    actor: str
    effects: tuple[TagEffect, ...]


class TagState(Wire):
    tag: str
    digest: DigestText
    rev: int
    pushed: float
    pulled: float | None = None


class TagStates(Wire):
    rev: int  # of the repository
    tags: tuple[TagState, ...]
    next: str | None = None


class ClosureReport(Wire):
    digest: DigestText
    complete: bool
    manifests: int
    blobs: int
    bytes: int
    missing: tuple[str, ...] = ()  # "digest: reason"


class Event(Wire):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)
    position: int  # opaque but growing; the ``after`` of the next call
    kind: Literal["tag", "manifest", "manifest-deleted"]
    repository: str
    rev: int
    tag: str | None = None
    old: DigestText | None = None
    digest: DigestText | None = None
    actor: str = ""
    at: float = 0.0


class Asked(Wire):
    """One member of a virtual, or upstream of a mirror, and what became of it in one question."""

    member: str
    outcome: Literal["answered", "cached", "stale", "older", "absent", "forbidden", "not asked", "failed"]
    reason: str = ""  # the rule that forbade it, the error that it gave, how old the copy is


class Explanation(Wire):
    """Why a reference means what it means at this node: who answered, who was asked, which rule forbade the rest."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)
    node: str
    repository: str
    reference: str
    digest: DigestText | None = None
    answered: str | None = None  # None: nobody
    rule: str = ""  # the routing rule that applied, such as ``owns apps/**``
    pushed: Time | None = None  # when the tag was last set; None: a digest, or not known
    asked: tuple[Asked, ...] = ()


@runtime_checkable
class Extension(Protocol):
    """The same calls as a port: the local registry, the remote client and the in-memory twin all satisfy it."""

    async def features(self, call: Call) -> Features | None:
        """None when the registry does not speak this extension."""
        ...

    async def take_lease(self, call: Call, repository: str, request: LeaseRequest) -> Lease:
        """The same holder gets its own lease back with a new token. Raises Conflict: another holds it."""
        ...

    async def renew_lease(self, call: Call, repository: str, lease_id: str, renewal: LeaseRenewal) -> Lease:
        """Raises Gone once it has ended or another token was issued."""
        ...

    async def release_lease(self, call: Call, repository: str, lease_id: str, token: int) -> None:
        """Raises Gone."""
        ...

    async def put_hold(self, call: Call, repository: str, owner: str, hold: Hold) -> HoldReceipt:
        """Replaces the owner's hold."""
        ...

    async def drop_hold(self, call: Call, repository: str, owner: str) -> None:
        """No error when there is none."""
        ...

    async def commit_tags(self, call: Call, repository: str, txid: str, transaction: TagTransaction) -> TagReceipt:
        """All of the tags change, or none. The same transaction again gives the first receipt.

        Raises Conflict (txid used for something else, or aborted; or the token is fenced), Gone (after ``not_after``),
        PreconditionFailed (``detail``: {tag: actual digest or null}), ManifestUnknown (422: a target is missing),
        TagImmutable, InsufficientStorage."""
        ...

    async def read_transaction(self, call: Call, repository: str, txid: str) -> TagReceipt | None:
        """None: not landed, but it still may."""
        ...

    async def abort_transaction(self, call: Call, repository: str, txid: str) -> None:
        """From now on it never lands. Raises Conflict when it has landed."""
        ...

    async def tag_states(
        self, call: Call, repository: str, *, after: str = "", limit: int = 1000, known_rev: int | None = None
    ) -> TagStates | None:
        """Tags with their digests. None: nothing has changed since ``known_rev``. Raises NameUnknown."""
        ...

    async def closure(self, call: Call, repository: str, digest: Digest, *, rehash: bool = False) -> ClosureReport:
        """Whether all that this digest needs is there (``rehash``: and its bytes hash to their digests)."""
        ...

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        """Who answers for this tag or digest, and why nobody else: also when nobody does."""
        ...

    def events(self, call: Call, *, after: int = 0, wait: float = 0.0) -> AsyncIterator[Event]:
        """Events after a position; waits up to ``wait`` seconds for the first. Raises Gone: reconcile instead."""
        ...


def repository_path(repository: str) -> str:
    return f"{ROOT}{VERSION}/r/{repository}/_"


def leases_path(repository: str, lease_id: str = "") -> str:
    return f"{repository_path(repository)}/leases" + (f"/{quote(lease_id, safe='')}" if lease_id else "")


def hold_path(repository: str, owner: str) -> str:
    return f"{repository_path(repository)}/holds/{quote(owner, safe='')}"


def transaction_path(repository: str, txid: str) -> str:
    return f"{repository_path(repository)}/transactions/{quote(txid, safe='')}"


def tags_path(repository: str) -> str:
    return f"{repository_path(repository)}/tags"


def closure_path(repository: str, digest: Digest) -> str:
    return f"{repository_path(repository)}/closure/{digest}"


def why_path(repository: str, reference: str) -> str:
    return f"{repository_path(repository)}/why/{reference}"


def held_here(node: str, repository: str, reference: str, digest: Digest | None, pushed: float | None) -> Explanation:
    """Of a registry that asks nobody else. ``digest`` None: it is not here."""
    asked = Asked(member=node, outcome="answered" if digest else "absent", reason="" if digest else "it is not here")
    return Explanation(
        node=node,
        repository=repository,
        reference=reference,
        digest=str(digest) if digest else None,
        answered=node if digest else None,
        rule="its own content",
        pushed=pushed,
        asked=(asked,),
    )
