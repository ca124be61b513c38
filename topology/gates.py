"""Whom to trust, and what an image must show before it crosses an edge."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictInt

from topology.declared import Owned, SecretRef
from topology.values import Count, Duration, FilePath, ScopeName, Signers, WebAddress, WhoAll


class KeyTrust(Owned):
    """A public key file; with ``privateKey``, Towpath can also sign with it (``attestWith``)."""

    type: Literal["key"]
    file: FilePath
    private_key: SecretRef | None = None


class KeylessTrust(Owned):
    """A sigstore identity: who (subject), vouched for by whom (issuer), under which pinned roots."""

    type: Literal["keyless"]
    issuer: WebAddress
    subject: str = Field(min_length=1)
    trusted_root: FilePath


Trust = KeyTrust | KeylessTrust
AnyTrust = Annotated[Trust, Field(discriminator="type")]

Predicates = Annotated[
    tuple[WebAddress, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]),
]
Severity = Literal["critical", "high", "medium", "low", "unknown"]


class SignatureGate(Owned):
    """At least ``threshold`` of ``by`` have signed the digest."""

    type: Literal["signature"]
    by: Signers
    threshold: Count = 1


class AttestationGate(Owned):
    """A signed in-toto statement of one of these predicate types, of which ``where`` (CEL) is true."""

    type: Literal["attestation"]
    predicate: Predicates
    by: Signers
    where: str | None = Field(default=None, min_length=1, max_length=4000)


class VulnerabilityGate(Owned):
    type: Literal["vulnerabilities"]
    report_max_age: Duration
    max: dict[Severity, Annotated[StrictInt, Field(ge=0)]] = Field(min_length=1)
    unfixed: Literal["count", "ignore"] = "count"
    exceptions: FilePath | None = None


class SoakGate(Owned):
    """The digest has been in the scope for this long."""

    type: Literal["soak"]
    scope: ScopeName = Field(alias="in")
    duration: Duration = Field(alias="for")


class ApprovalGate(Owned):
    type: Literal["approval"]
    by: WhoAll
    count: Count = 1
    excluding: tuple[Literal["requester"], ...] = Field(default=("requester",), alias="not")
    expires: Duration | None = None


Gate = SignatureGate | AttestationGate | VulnerabilityGate | SoakGate | ApprovalGate
AnyGate = Annotated[Gate, Field(discriminator="type")]
