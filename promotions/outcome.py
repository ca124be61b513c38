"""What is asked of the engine, and what it answers. No exit codes here: the command line has those."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from promotions.gates.verdict import Verdict
from promotions.states import State


class Ending(StrEnum):
    """How asking ended, as far as the one who asked must tell cases apart."""

    DONE = "done"  # promoted
    NOTHING_TO_DO = "nothing-to-do"  # it was, and the target shows it
    PLANNED = "planned"  # a dry run, that would go on
    REFUSED = "refused"  # by a gate; no edge; not allowed
    WAITING = "waiting"  # for an approval, a soak, a freeze
    CONFLICT = "conflict"  # a tag at the target is not what was expected
    FAILED = "failed"  # trying the same again will not help
    ERRORED = "errored"  # trying the same again may help, and goes on from here
    INTEGRITY = "integrity"  # what was read back is not what was sent


@dataclass(frozen=True, slots=True)
class Request:
    """``repository:reference`` over an edge, or over the one edge between two scopes.

    ``reference`` is a tag or a digest; with a digest, ``tag`` may say what ``{tag}`` stands for."""

    repository: str
    reference: str
    edge: str = ""
    source: str = ""
    target: str = ""
    tag: str = ""
    intent: str = "promote"

    @property
    def image(self) -> str:
        return f"{self.repository}{'@' if ':' in self.reference else ':'}{self.reference}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``reasons`` are sentences, ``remedy`` says what to do next; both empty when all went well."""

    ending: Ending
    code: str = "OK"
    state: State | None = None
    promotion: str = ""
    edge: str = ""
    source: str = ""  # scope
    target: str = ""
    repository: str = ""
    digest: str = ""
    tags: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    reasons: tuple[str, ...] = ()
    remedy: str = ""
    receipt: dict[str, Any] = field(default_factory=dict)
    would_change: dict[str, str | None] = field(default_factory=dict)  # dry run: tag -> digest it shows now

    @property
    def ok(self) -> bool:
        return self.ending in (Ending.DONE, Ending.NOTHING_TO_DO, Ending.PLANNED)


class Refused(Exception):
    """A request that never becomes a promotion. ``failed``: not for want of permission, but because it cannot be."""

    def __init__(self, code: str, reason: str, remedy: str = "", *, failed: bool = False) -> None:
        super().__init__(reason)
        self.code, self.reason, self.remedy, self.failed = code, reason, remedy, failed

    def outcome(self, **known: Any) -> Outcome:
        ending = Ending.FAILED if self.failed else Ending.REFUSED
        return Outcome(ending, self.code, reasons=(self.reason,), remedy=self.remedy, **known)
