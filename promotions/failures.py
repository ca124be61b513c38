"""What an error of a step means: whether trying again may help, its code, and what the person can do."""

from __future__ import annotations

from typing import Any

from oci_wire.errors import Denied, InsufficientStorage, ManifestUnknown, RegistryError, TagImmutable, Unauthorized
from promotions.check import TargetIncomplete
from promotions.commit import NotShown, TagConflict
from promotions.keys import KeyInvalid
from promotions.ledger import LedgerBroken
from promotions.outcome import Ending, Outcome
from promotions.states import State
from promotions.steps import Arrival, CannotAttest, Run
from promotions.tags import TagsUnclear
from promotions.transfer import SourceIncomplete

_AGAIN = "run the same command again: it goes on from here"

_TERMINAL: tuple[tuple[type[Exception], str, str], ...] = (
    (TagConflict, "CONFLICT", "someone else changed the tag; look at it, then ask again"),
    (TagImmutable, "CONFLICT", "an immutable tag never moves: promote under another tag"),
    (SourceIncomplete, "SOURCE_INCOMPLETE", "push the image to the source again, then ask again"),
    (TargetIncomplete, "INTEGRITY", "the tags are untouched; check the target (towpath fsck), then ask again"),
    (NotShown, "INTEGRITY", "look at the target's tags and its node; then ask again"),
    (TagsUnclear, "TAGS_UNCLEAR", "change onTagChange of the target's scope"),
    (CannotAttest, "CANNOT_ATTEST", "give the trust entry of attestWith a privateKey"),
    (KeyInvalid, "CANNOT_ATTEST", "correct the private key of attestWith"),
    (Unauthorized, "UNAUTHORIZED", "the engine's own credentials are refused there: towpath up renders them anew"),
    (Denied, "DENIED", "the engine needs a grant there"),
    (InsufficientStorage, "NO_SPACE", "raise the quota or free space, then ask again"),
    (ManifestUnknown, "TARGET_LOST", "the target lost a manifest before its tags changed; ask again"),
)


def unwritable(run: Run, error: Exception) -> Arrival:
    """The ledger or the disk does not take what must be written down: nothing goes on without it."""
    if isinstance(error, LedgerBroken):
        return _errored(
            run, "LEDGER", str(error), "nothing is appended to a damaged ledger: restore it from a copy, then " + _AGAIN
        )
    return _errored(run, "DISK", str(error), "free space on the engine's disk, then " + _AGAIN)


def failure(run: Run, error: Exception) -> Arrival:
    """Where a step's error leads. Once the tags have changed, nothing is given up any more."""
    if isinstance(error, RegistryError) and error.transient:
        return _errored(run, error.code, error.message)
    found = next(((code, remedy) for kind, code, remedy in _TERMINAL if isinstance(error, kind)), None)
    code, remedy = found or (getattr(error, "code", "FAILED"), "correct what the message names, then ask again")
    if run.row.state is State.COMMITTED:
        return _errored(run, code, str(error))
    return Arrival(State.FAILED, {"code": code, "reasons": [str(error)], "remedy": remedy})


def _errored(run: Run, code: str, reason: str, remedy: str = _AGAIN) -> Arrival:
    changes = {"resume": run.row.state, "code": code, "reasons": [reason], "remedy": remedy}
    return Arrival(State.ERRORED, changes, stop=True)


def before_a_row(error: RegistryError, known: dict[str, Any]) -> Outcome:
    """An error before there was a row."""
    ending = Ending.ERRORED if error.transient else Ending.FAILED
    return Outcome(ending, error.code, reasons=(error.message,), remedy=_AGAIN if error.transient else "", **known)
