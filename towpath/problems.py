"""Errors of the rooms below in the command line's one form, and the exit status that each means."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from oci_wire import errors
from towpath.exits import Exit
from towpath.output import report
from towpath.problem import Problem


def guarded(work: Callable[[], Exit], *, as_json: bool) -> Exit:
    """Runs the work; whatever it raises becomes a printed Problem and its exit status."""
    try:
        return work()
    except BrokenPipeError:
        # The reader of stdout left (`| head`): nothing more can be said there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except (KeyboardInterrupt, Exception) as error:
        if os.environ.get("TOWPATH_DEBUG"):
            traceback.print_exc()
        told = [problem_of(each) for each in _each(error)]
        for problem in told:
            report(problem, as_json=as_json)
        return told[0].exit


def _each(error: BaseException) -> Sequence[BaseException]:
    """Some errors hold several (``sites.hosts.HostErrors``)."""
    held: Sequence[BaseException] = getattr(error, "errors", ())
    return held if type(error).__name__ == "HostErrors" else (error,)


def problem_of(error: BaseException) -> Problem:
    """The Problem that an error of a room means."""
    for kind in type(error).__mro__:
        translate = TRANSLATORS.get(f"{kind.__module__}.{kind.__qualname__}")
        if translate is not None:
            return translate(error)
    return Problem(
        "bug",
        f"{type(error).__name__}: {error}",
        why="towpath met something it did not expect",
        next="run again with TOWPATH_DEBUG=1 and report what it prints",
    )


def _of_host(error: Any) -> Problem:
    return Problem(error.code, error.what, error.where, error.why, error.next, HOST_EXITS.get(error.code, Exit.FAILED))


def _of_usage(error: Any) -> Problem:
    return Problem("usage", " ".join(str(error).split()), next="add --help to see what it takes", exit=Exit.USAGE)


def _of_system(error: OSError) -> Problem:
    return Problem("system", str(error), next="see the system's error above; nothing else was attempted")


HOST_EXITS = {  # wrong input; the other host errors are failures
    "state-of-another-topology": Exit.USAGE,
    "not-a-state-folder": Exit.USAGE,
    "name-taken": Exit.USAGE,
    "not-a-bcrypt-hash": Exit.USAGE,
    "token-too-short": Exit.USAGE,
    "not-a-login": Exit.USAGE,
    "secret-missing": Exit.USAGE,
    "state-busy": Exit.CONFLICT,
    "state-of-another-deployment": Exit.USAGE,
    "host-without-ssh": Exit.USAGE,
    "host-name-twice": Exit.USAGE,
    "no-hosts": Exit.USAGE,
    "certificate-unusable": Exit.USAGE,
    "plan-unreadable": Exit.USAGE,
    "plan-stale": Exit.CONFLICT,
    "host-locked": Exit.CONFLICT,
    "at-rest-not-shown": Exit.REFUSED,
    "host-of-another-topology": Exit.REFUSED,
    "host-of-unknown-topology": Exit.REFUSED,
    "record-unreadable": Exit.REFUSED,
    "record-lost": Exit.REFUSED,
    "removal-protected": Exit.REFUSED,
    "removal-not-empty": Exit.REFUSED,
    "removal-unasked": Exit.REFUSED,
}
INTERRUPTED = Problem(
    "interrupted", "interrupted", next="run the same command again: it goes on from here", exit=Exit.INTERRUPTED
)

_REGISTRY_EXITS: dict[type, Exit] = {
    errors.Unauthorized: Exit.REFUSED,
    errors.Denied: Exit.REFUSED,
    errors.Conflict: Exit.CONFLICT,
    errors.PreconditionFailed: Exit.CONFLICT,
    errors.DigestInvalid: Exit.INTEGRITY,
    errors.SizeInvalid: Exit.INTEGRITY,
}
_REGISTRY_NEXT: dict[type, str] = {
    errors.Unauthorized: "give a declared user: --user NAME with TOWPATH_TOKEN or TOWPATH_PASSWORD set",
    errors.Denied: "the scope's grants in the topology say who may; towpath graph shows the ways in",
    errors.Unreachable: "towpath status shows which nodes answer; towpath up starts those that are down",
    errors.Unavailable: "run it again in a moment",
    errors.TooManyRequests: "run it again in a moment",
    errors.ManifestUnknown: "towpath ls SCOPE/REPOSITORY lists the tags that exist",
    errors.NameUnknown: "towpath ls SCOPE lists the repositories that exist",
    errors.BlobUnknown: "push the image again: a part of it is missing there",
    errors.Conflict: "somebody else was quicker: look at it (towpath ls), then run this again",
    errors.PreconditionFailed: "somebody else was quicker: look at it (towpath ls), then run this again",
    errors.DigestInvalid: "the bytes are not what their digest says: push the image again from where it was built",
    errors.SizeInvalid: "the bytes are not what their descriptor says: push the image again from where it was built",
    errors.RegistryError: "the node's log says more; towpath status shows which nodes serve",
    errors.InsufficientStorage: "free space or raise the scope's quota in the topology",
}


def of_registry(error: errors.RegistryError, where: str = "") -> Problem:
    """A registry's refusal or failure; ``where`` names the side and node that said it."""
    kinds = type(error).__mro__
    next_step = next(_REGISTRY_NEXT[kind] for kind in kinds if kind in _REGISTRY_NEXT)
    status = next((_REGISTRY_EXITS[kind] for kind in kinds if kind in _REGISTRY_EXITS), Exit.FAILED)
    return Problem(
        error.code.lower().replace("_", "-"),
        error.message,
        where=where or "; ".join(getattr(error, "__notes__", ())),
        next=next_step,
        exit=status,
    )


# By name, so that a verb imports no more than it uses.
TRANSLATORS: dict[str, Callable[[Any], Problem]] = {
    "towpath.problem.Problem": lambda error: error,
    "builtins.KeyboardInterrupt": lambda _: INTERRUPTED,
    "builtins.OSError": _of_system,
    "cyclopts.exceptions.CycloptsError": _of_usage,
    "oci_wire.errors.RegistryError": of_registry,
    "sites.hosts.HostError": _of_host,
    "promotions.transfer.SourceIncomplete": lambda error: Problem(
        "source-incomplete",
        str(error),
        next="push the image to the source again; nothing was tagged at the target",
        exit=Exit.INTEGRITY,
    ),
    "promotions.outcome.Refused": lambda error: Problem(
        error.code.lower().replace("_", "-"),
        error.reason,
        next=error.remedy,
        exit=Exit.FAILED if error.failed else Exit.REFUSED,
    ),
    "promotions.database.DatabaseUnusable": lambda error: Problem(
        "database-unusable", str(error), next="do what the message says; the nodes are untouched"
    ),
    "promotions.ledger.LedgerBroken": lambda error: Problem(
        "ledger-broken",
        str(error),
        next="nothing is appended to it until someone has looked: compare it with a copy",
        exit=Exit.INTEGRITY,
    ),
    "promotions.keys.KeyInvalid": lambda error: Problem(
        "key-invalid",
        str(error),
        next="give the right key; its password, if it has one, in COSIGN_PASSWORD",
        exit=Exit.USAGE,
    ),
    "topology.secrets.SecretUnreadable": lambda error: Problem(
        "secret-missing", str(error), next=error.help, exit=Exit.USAGE
    ),
}
