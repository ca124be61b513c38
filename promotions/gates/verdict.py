"""What a gate says of an image, and what it is asked with."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from oci_wire.digest import Digest
from oci_wire.registry import Call
from promotions.place import Place
from topology.model import Topology


class Answer(StrEnum):
    PASS = "pass"  # noqa: S105 - no password: a verdict
    HOLD = "hold"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reasons`` are sentences a person can act on; ``evidence`` the digests the answer rests on."""

    gate: str
    answer: Answer
    reasons: tuple[str, ...]
    remedy: str = ""
    evidence: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "gate": self.gate,
            "answer": self.answer.value,
            "reasons": list(self.reasons),
            "remedy": self.remedy,
            "evidence": list(self.evidence),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Verdict:
        return cls(
            value["gate"],
            Answer(value["answer"]),
            tuple(value["reasons"]),
            value["remedy"],
            tuple(value["evidence"]),
        )


@dataclass(frozen=True, slots=True)
class Question:
    """May this digest, standing at this place, pass the gate of this name?"""

    gate: str
    topology: Topology
    source: Place
    digest: Digest
    call: Call = field(default_factory=Call)

    @property
    def image(self) -> str:
        return f"{self.source}@{self.digest}"


class Gate(Protocol):
    async def __call__(self, question: Question) -> Verdict:
        """Fails closed: what cannot be read or is missing refuses. Transient registry errors are raised: no answer
        is no pass, and the promotion may be asked again."""
        ...


def refuse(question: Question, *reasons: str, remedy: str = "", evidence: tuple[str, ...] = ()) -> Verdict:
    return Verdict(question.gate, Answer.REFUSE, reasons, remedy, evidence)
