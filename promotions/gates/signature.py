"""The ``signature`` gate: enough of the named keys have signed exactly this digest. Offline, key-based.

The count is of keys, not of signatures: one signer twice is one."""

from __future__ import annotations

from dataclasses import dataclass, field

from promotions.gates.evidence import Claim, signatures
from promotions.gates.verdict import Answer, Question, Verdict, refuse
from promotions.keys import KeyInvalid, PublicKey, load_public
from topology.model import KeyTrust, SignatureGate


@dataclass(slots=True)
class _Findings:
    """What was seen, for the verdict's words."""

    signers: dict[str, str] = field(default_factory=dict)  # trust name -> the evidence that counted
    notes: list[str] = field(default_factory=list)
    seen: int = 0


async def signature_gate(question: Question) -> Verdict:
    """Passes when ``threshold`` of the gate's keys have signed the digest; refuses otherwise, naming the remedy."""
    definition = question.topology.gates[question.gate]
    assert isinstance(definition, SignatureGate)
    keys, broken = _keys(question, definition)
    if broken:
        return refuse(question, *broken, remedy="correct the trust entries in the topology")
    found = _Findings()
    async for item in signatures(question.source, question.call, question.digest):
        found.seen += 1
        if isinstance(item, Claim):
            _weigh(question, item, keys, found)
        else:
            found.notes.append(f"{item.found_in[:80]}: {item.why}")
        if len(found.signers) >= definition.threshold:  # whoever adds a thousand more costs us nothing
            break
    return _verdict(question, definition, found)


def _keys(question: Question, definition: SignatureGate) -> tuple[dict[str, PublicKey], list[str]]:
    keys: dict[str, PublicKey] = {}
    broken: list[str] = []
    for name in definition.by:
        entry = question.topology.trust.get(name)
        if not isinstance(entry, KeyTrust):
            broken.append(f"trust {name!r} is not a key; keyless trust is not built yet, so the gate refuses")
            continue
        try:
            keys[name] = load_public((question.topology.base / entry.file).read_bytes())
        except OSError as error:
            broken.append(f"trust {name!r}: {entry.file} cannot be read: {error.strerror}")
        except KeyInvalid as error:
            broken.append(f"trust {name!r}: {entry.file}: {error}")
    return keys, broken


def _weigh(question: Question, claim: Claim, keys: dict[str, PublicKey], found: _Findings) -> None:
    signer = next((name for name, key in keys.items() if key.verifies(claim.signature, claim.message)), None)
    if signer is None:
        found.notes.append(f"{claim.found_in}: signed by none of {', '.join(keys)}")
    elif claim.subject != str(question.digest):
        found.notes.append(f"{claim.found_in}: signed by {signer}, but for {claim.subject[:80]}")
    else:
        found.signers.setdefault(signer, str(claim.found_in))


def _verdict(question: Question, definition: SignatureGate, found: _Findings) -> Verdict:
    evidence = tuple(found.signers.values())
    if len(found.signers) >= definition.threshold:
        return Verdict(question.gate, Answer.PASS, (f"signed by {', '.join(found.signers)}",), evidence=evidence)
    wanted = " or ".join(definition.by) if definition.threshold == 1 else f"{definition.threshold} of {definition.by}"
    state = "carries no signature" if not found.seen else f"is not signed by {wanted}"
    remedy = (
        f"towpath sign {question.image} --key FILE   "
        f"(or: cosign sign --key FILE {question.source.origin.partition('://')[2]}/{question.source.repository}@{question.digest})"
    )
    return refuse(question, f"{question.image} {state}", *found.notes[:10], remedy=remedy, evidence=evidence)
