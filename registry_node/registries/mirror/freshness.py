"""How long a mirror believes what an upstream said of a tag. Pure: no clock of its own, no I/O.

A tag is *fresh* for ``tag_seconds`` after an upstream named its digest; then the upstream is asked again. When that
fails, or the upstream has deleted the tag, the copy is *stale*, and is served for ``stale_seconds`` after that last
naming. A failure is remembered: an upstream that hangs must not keep every reader waiting.
Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

RETRY_SECONDS = 5.0  # after a failure, until the upstream is asked about that tag again


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of a tag. ``checked_at``: when ``upstream`` named this digest; ``gone_at``: when all said that the
    tag is not there any more; ``failed_at``: when asking failed, if nothing came out of it since."""

    digest: str
    upstream: str
    checked_at: float
    gone_at: float | None = None
    failed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """An upstream's word: the tag is this digest."""

    digest: str
    upstream: str


class Silence(Enum):
    """The other ways in which a question ends."""

    ABSENT = auto()  # all who may be asked say that it is not there
    FAILED = auto()  # one that had to be heard could not answer


class Next(Enum):
    """What to do with a reader of a tag."""

    SERVE = auto()  # the copy is fresh
    ASK = auto()  # and wait for the answer
    SERVE_STALE = auto()  # it was asked a moment ago
    SERVE_STALE_AND_ASK = auto()  # the last question failed: nobody waits for the next one


@dataclass(frozen=True, slots=True)
class Belief:
    """The settings of a mirror that say how long."""

    tag_seconds: float
    negative_seconds: float
    stale_seconds: float
    keep_deleted: bool

    def next(self, known: Check | None, now: float) -> Next:
        """For a reader who comes now."""
        if known is None:
            return Next.ASK
        if self.is_fresh(known, now):
            return Next.SERVE
        if not self.may_serve_stale(known, now):
            return Next.ASK
        if known.gone_at is not None and known.gone_at <= now < known.gone_at + self.negative_seconds:
            return Next.SERVE_STALE
        if known.failed_at is None:
            return Next.ASK
        return (
            Next.SERVE_STALE if known.failed_at <= now < known.failed_at + RETRY_SECONDS else Next.SERVE_STALE_AND_ASK
        )

    def is_fresh(self, known: Check, now: float) -> bool:
        """A clock that was put back makes it old: asking once more is harmless, believing for hours is not."""
        return known.gone_at is None and known.checked_at <= now < self.fresh_until(known)

    def fresh_until(self, known: Check) -> float:
        return known.checked_at + self.tag_seconds

    def may_serve_stale(self, known: Check, now: float) -> bool:
        return now < known.checked_at + self.stale_seconds and (known.gone_at is None or self.keep_deleted)

    def after(self, known: Check | None, said: Named | Silence, now: float) -> Check | None:
        """What is known once the upstream has been asked. None: nothing, the tag is forgotten."""
        if isinstance(said, Named):
            return Check(said.digest, said.upstream, now)
        if known is None:
            return None
        if said is Silence.FAILED:
            return replace(known, failed_at=now)
        gone = replace(known, gone_at=now, failed_at=None)
        return gone if self.may_serve_stale(gone, now) else None


def staleness(known: Check, node: str, now: float) -> dict[str, str]:
    """The headers beside a stale answer (RFC 9111 section 5.1, RFC 7234 section 5.5)."""
    warnings = [f'110 {node} "Response is Stale"']
    if known.gone_at is not None:
        warnings.append(f'199 {node} "the upstream has deleted this tag"')
    elif known.failed_at is not None:
        warnings.append(f'111 {node} "Revalidation Failed"')
    return {"age": str(max(0, int(now - known.checked_at))), "warning": ", ".join(warnings)}
