"""Where did this come from: by which edges, when, by whom, on what evidence. Read from the ledgers, offline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promotions.ledger import Ledger, Record


@dataclass(frozen=True, slots=True)
class Step:
    """One record about a digest. ``tags``: tag -> what it showed before (None: nothing)."""

    kind: str  # promotion | replication | refusal | cleanup
    at: float
    ledger: str  # the scope whose ledger says so
    seq: int
    over: str  # the edge or replication
    source: str
    target: str
    repository: str
    who: str = ""
    how: str = ""
    tags: tuple[tuple[str, str | None], ...] = ()
    verdicts: tuple[dict[str, Any], ...] = ()
    evidence: str | None = None
    promotion: str = ""
    reasons: tuple[str, ...] = ()


def trace(ledgers: Path, digest: str, repository: str = "") -> list[Step]:
    """Every record about a digest (of one repository), oldest first. Raises LedgerBroken: see ``audit``."""
    steps = [
        step
        for path in sorted(ledgers.glob("*.ndjson"))
        for record in Ledger(path).records()
        for step in _steps(path.stem, record, digest)
        if not repository or step.repository == repository
    ]
    return sorted(steps, key=lambda each: each.at)


def digest_of_tag(ledgers: Path, scope: str, repository: str, tag: str) -> str | None:
    """What a tag of a scope showed last, as far as its ledger knows; None when it never did, or was removed."""
    shown = None
    for record in Ledger.of_scope(ledgers, scope).records():
        if record.kind in ("promotion", "cleanup") and record.body["repository"] == repository:
            for effect in record.body.get("receipt", {}).get("effects", ()):
                shown = effect["new"] if effect["tag"] == tag else shown
    return shown


def _steps(scope: str, record: Record, digest: str) -> Iterator[Step]:
    effects = record.body.get("receipt", {}).get("effects", ())
    if record.kind in ("promotion", "refusal") and record.body.get("digest") == digest:
        yield _promotion(scope, record, effects)
    elif record.kind == "replication" and (tags := _tags(effects, "new", digest)):
        yield _moved(scope, record, tags)
    elif record.kind == "cleanup" and (tags := _tags(effects, "old", digest)):
        yield _cleaned(scope, record, tags)


def _tags(effects: Any, side: str, digest: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((each["tag"], each["old"]) for each in effects if each[side] == digest)


def _promotion(scope: str, record: Record, effects: Any) -> Step:
    body = record.body
    return Step(
        record.kind,
        record.at,
        scope,
        record.seq,
        body["edge"],
        body["source"]["scope"],
        body["target"]["scope"],
        body["repository"],
        body["requester"],
        body["how"],
        tuple((each["tag"], each["old"]) for each in effects),
        tuple(body.get("verdicts", ())),
        body.get("evidence"),
        body.get("promotion", ""),
        tuple(body.get("reasons", ())),
    )


def _moved(scope: str, record: Record, tags: tuple[tuple[str, str | None], ...]) -> Step:
    body = record.body
    ends = body["source"]["node"], body["target"]["node"]
    return Step(record.kind, record.at, scope, record.seq, body["replication"], *ends, body["repository"], tags=tags)


def _cleaned(scope: str, record: Record, tags: tuple[tuple[str, str | None], ...]) -> Step:
    body = record.body
    reasons = tuple(body["reasons"].get(tag, "") for tag, _ in tags)
    return Step(
        record.kind,
        record.at,
        scope,
        record.seq,
        "cleanup",
        body["node"],
        "",
        body["repository"],
        body["by"],
        tags=tags,
        reasons=reasons,
    )
