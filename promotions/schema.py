"""The engine's tables. alembic's history (``migrations/``) makes them; this is what the queries are written with."""

from __future__ import annotations

from sqlalchemy import JSON, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()


class TooNew(Exception):
    """The database has a revision that this version does not know."""


PROMOTIONS = Table(
    "promotions",
    METADATA,
    Column("id", String(40), primary_key=True),  # pr_ and a ULID in lower case
    Column("request_key", String(64), nullable=False),
    Column("live_key", String(64), unique=True),  # the request key while the promotion lives, else NULL
    Column("edge", String(200), nullable=False),
    Column("repository", String(255), nullable=False),
    Column("reference", String(300), nullable=False),  # as it was asked for
    Column("digest", String(140), nullable=False),
    Column("tags", JSON, nullable=False),  # sorted
    Column("intent", String(40), nullable=False),
    Column("requester", String(200), nullable=False),
    Column("how", String(40), nullable=False),
    Column("asked_at", Float, nullable=False),  # seconds since the epoch
    Column("state", String(20), nullable=False),
    Column("state_at", Float, nullable=False),
    Column("resume", String(20)),  # ERRORED: where to go on
    Column("expected", JSON),  # {tag: digest before, or null}
    Column("binding", String(64)),  # what the verdicts are bound to
    Column("verdicts", JSON),
    Column("evidence", LargeBinary),  # our attestation's blob, as it was or will be sent
    Column("evidence_manifest", LargeBinary),
    Column("receipt", JSON),
    Column("code", String(60)),  # of the end, when it is not SETTLED
    Column("reasons", JSON),
    Column("remedy", Text),
    Index("promotions_by_request", "request_key", "state"),
    Index("promotions_by_repository", "edge", "repository", "state"),
)

POSITIONS = Table(  # how far the events of a node have been applied for a replication
    "positions",
    METADATA,
    Column("replication", String(200), primary_key=True),
    Column("node", String(63), primary_key=True),
    Column("position", Integer, nullable=False),
)

CLOCK = Table(  # when each scheduled job last ran, and when it is next due
    "clock",
    METADATA,
    Column("job", String(200), primary_key=True),
    Column("last_run", Float),
    Column("next_run", Float, nullable=False),
    Column("outcome", Text),
)

REPLICATED = Table(  # what a target has of a repository, and how far behind it was
    "replicated",
    METADATA,
    Column("replication", String(200), primary_key=True),
    Column("target", String(63), primary_key=True),
    Column("repository", String(255), primary_key=True),
    Column("at", Float, nullable=False),
    Column("lag", Float),  # seconds from the push at the source to a whole closure here; NULL: nothing moved
    Column("problem", Text),
    Column("referrers_rev", Integer),  # of the source: up to there its referrers were compared; NULL: never
)

OUTBOX = Table(  # replication: tag changes sent, and not in the ledger yet
    "outbox",
    METADATA,
    Column("txid", String(100), primary_key=True),
    Column("replication", String(200), nullable=False),
    Column("target", String(63), nullable=False),
    Column("repository", String(255), nullable=False),
    Column("body", JSON, nullable=False),
)
