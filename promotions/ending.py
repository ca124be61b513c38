"""What a promotion's row says to whoever asked."""

from __future__ import annotations

from promotions.gates.verdict import Verdict
from promotions.outcome import Ending, Outcome
from promotions.states import State
from promotions.store import PromotionRow
from topology.model import Promotion

_ENDINGS = {
    State.SETTLED: Ending.DONE,
    State.REJECTED: Ending.REFUSED,
    State.WAITING: Ending.WAITING,
    State.FAILED: Ending.FAILED,
    State.ABORTED: Ending.FAILED,
    State.SUPERSEDED: Ending.CONFLICT,
    State.EXPIRED: Ending.FAILED,
}


def outcome_of(row: PromotionRow, edge: Promotion | None, ending: Ending | None = None) -> Outcome:
    """What a row says. ``ending``: how success is called here (DONE, or NOTHING_TO_DO for who comes later)."""
    natural = _ENDINGS.get(row.state, Ending.ERRORED)
    if natural is Ending.FAILED and row.code == "CONFLICT":
        natural = Ending.CONFLICT
    if natural is Ending.FAILED and row.code == "INTEGRITY":
        natural = Ending.INTEGRITY
    return Outcome(
        ending if ending and natural is Ending.DONE else natural,
        row.code or "OK",
        row.state,
        row.id,
        row.edge,
        edge.source if edge else "",
        edge.target if edge else "",
        row.repository,
        row.digest,
        tuple(row.tags),
        tuple(Verdict.from_json(each) for each in row.verdicts or []),
        tuple(row.reasons or ()),
        row.remedy or "",
        row.receipt or {},
    )
