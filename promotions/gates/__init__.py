"""Gates: may this image pass? One module a type; the table says which are built. A type without a row refuses."""

from __future__ import annotations

from promotions.gates.signature import signature_gate
from promotions.gates.verdict import Answer, Gate, Question, Verdict, refuse

GATES: dict[str, Gate] = {"signature": signature_gate}


async def ask(question: Question) -> Verdict:
    """The gate's verdict. A gate that is not declared, or of a type that is not built, refuses: it fails closed."""
    definition = question.topology.gates.get(question.gate)
    if definition is None:
        return refuse(question, f"gate {question.gate!r} is not declared", remedy="declare it, or take it off the edge")
    gate = GATES.get(definition.type)
    if gate is None:
        return refuse(
            question,
            f"gates of type {definition.type!r} are not built yet, so this one refuses",
            remedy=f"built now: {', '.join(GATES)}; take {question.gate!r} off the edge until it is built",
        )
    return await gate(question)


__all__ = ["Answer", "Gate", "Question", "Verdict", "ask", "refuse"]
