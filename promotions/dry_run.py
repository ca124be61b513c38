"""What a request would do: the same questions as a promotion asks, and nothing written."""

from __future__ import annotations

from dataclasses import replace

from oci_wire.registry import Call
from promotions import freezes, plan
from promotions.gates import Answer, Question, Verdict, ask
from promotions.outcome import Ending, Outcome
from promotions.transfer import SourceIncomplete, read_closure
from topology.model import Topology


async def dry_run(topology: Topology, pinned: plan.Plan, call: Call, now: float) -> Outcome:
    """PLANNED, or what would stand in the way. Raises RegistryError."""
    expected = await plan.expectations(pinned.target, call, pinned.tags)
    conflicts = plan.immutable_conflicts(topology, pinned.target, expected, pinned.digest)
    question = [Question(name, topology, pinned.source, pinned.manifest.digest, call) for name in pinned.edge.gates]
    verdicts = tuple([await ask(each) for each in question])
    held = freezes.holding(topology, pinned.edge.id, now)
    return await _whole(_planned(pinned, expected, conflicts, verdicts, held), pinned, call)


async def _whole(outcome: Outcome, pinned: plan.Plan, call: Call) -> Outcome:
    """A plan that never looked at the source would promise what cannot be kept."""
    if outcome.ending not in (Ending.PLANNED, Ending.WAITING):
        return outcome
    try:
        await read_closure(pinned.source, call, pinned.manifest.digest)
    except SourceIncomplete as error:
        return replace(outcome, ending=Ending.FAILED, code="SOURCE_INCOMPLETE", reasons=(str(error),))
    return outcome


def _planned(
    pinned: plan.Plan,
    expected: dict[str, str | None],
    conflicts: list[str],
    verdicts: tuple[Verdict, ...],
    held: tuple[str, ...],
) -> Outcome:
    refused = [each for each in verdicts if each.answer is Answer.REFUSE]
    waits = [why for each in verdicts if each.answer is Answer.HOLD for why in each.reasons] + list(held)
    ending, code, reasons = Ending.PLANNED, "OK", []
    if conflicts:
        ending, code, reasons = Ending.CONFLICT, "CONFLICT", conflicts
    elif refused:
        reasons = [f"gate {each.gate}: {why}" for each in refused for why in each.reasons]
        ending, code = Ending.REFUSED, "GATE_REFUSED"
    elif waits:
        ending, code, reasons = Ending.WAITING, "WAITING", waits
    return Outcome(
        ending,
        code,
        edge=pinned.edge.id,
        source=pinned.edge.source,
        target=pinned.edge.target,
        repository=pinned.source.name,
        digest=pinned.digest,
        tags=pinned.tags,
        verdicts=verdicts,
        reasons=tuple(reasons),
        remedy="; ".join(each.remedy for each in refused if each.remedy),
        would_change=expected,
    )
