"""What a client hears of a member that could not answer: its name and a reason of ours, never what it said."""

from __future__ import annotations

from oci_wire.errors import BadGateway, Unavailable

_RETRY_SECONDS = 5.0


class MemberFailed(Unavailable):
    """503: a member could not say whether it has what was asked for. ``detail``: {"member", "reason"}."""

    def __init__(self, member: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(
            f"member {member} could not answer: {reason}",
            detail={"member": member, "reason": reason},
            retry_after=retry_after or _RETRY_SECONDS,
        )
        self.member, self.reason = member, reason


class MemberRefused(MemberFailed):
    """502: it does not let this node in. Trying again does not help: somebody must put the login right."""

    code, status, transient = BadGateway.code, BadGateway.status, False

    def __init__(self, member: str, reason: str) -> None:
        super().__init__(member, reason)
        self.retry_after, self.why = None, "member-login"
