"""Errors of the rooms below in the command line's one form, and the exit status that each means."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from cyclopts.exceptions import CycloptsError

from oci_wire import errors
from towpath.exits import Exit
from towpath.output import report
from towpath.problem import Problem


def guarded(work: Callable[[], Exit], *, as_json: bool) -> Exit:
    """Runs the work; whatever it raises becomes a printed Problem and its exit status."""
    try:
        return work()
    except Problem as problem:
        return _told(problem, as_json)
    except CycloptsError as error:
        usage = Problem("usage", _sentence(error), next="add --help to see what it takes", exit=Exit.USAGE)
        return _told(usage, as_json)
    except KeyboardInterrupt:
        return _told(INTERRUPTED, as_json)
    except BrokenPipeError:
        # The reader of stdout left (`| head`): nothing more can be said there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except Exception as error:
        if os.environ.get("TOWPATH_DEBUG"):
            traceback.print_exc()
        return _told(problem_of(error), as_json)


def problem_of(error: Exception) -> Problem:
    """The Problem that an error of a room means."""
    if isinstance(error, errors.RegistryError):
        return of_registry(error)
    if isinstance(error, OSError):
        return Problem("system", str(error), next="see the system's error above; nothing else was attempted")
    return Problem(
        "bug",
        f"{type(error).__name__}: {error}",
        why="towpath met something it did not expect",
        next="run again with TOWPATH_DEBUG=1 and report what it prints",
    )


INTERRUPTED = Problem(
    "interrupted", "interrupted", next="run the same command again: it goes on from here", exit=Exit.INTERRUPTED
)

_REGISTRY_EXITS: dict[type[errors.RegistryError], Exit] = {
    errors.Unauthorized: Exit.REFUSED,
    errors.Denied: Exit.REFUSED,
    errors.Conflict: Exit.CONFLICT,
    errors.PreconditionFailed: Exit.CONFLICT,
    errors.DigestInvalid: Exit.INTEGRITY,
    errors.SizeInvalid: Exit.INTEGRITY,
}
_REGISTRY_NEXT: dict[type[errors.RegistryError], str] = {
    errors.Unauthorized: "give a declared user: --user NAME with TOWPATH_TOKEN or TOWPATH_PASSWORD set",
    errors.Denied: "the scope's grants in the topology say who may; towpath graph shows the ways in",
    errors.Unreachable: "towpath status shows which nodes answer; towpath up starts those that are down",
    errors.Unavailable: "run it again in a moment",
    errors.TooManyRequests: "run it again in a moment",
    errors.ManifestUnknown: "towpath ls SCOPE/REPOSITORY lists the tags that exist",
    errors.NameUnknown: "towpath ls SCOPE lists the repositories that exist",
    errors.BlobUnknown: "push the image again: a part of it is missing there",
    errors.InsufficientStorage: "free space or raise the scope's quota in the topology",
}


def of_registry(error: errors.RegistryError, where: str = "") -> Problem:
    """A registry's refusal or failure; ``where`` names the side and node that said it."""
    for kind in type(error).__mro__:
        if kind in _REGISTRY_NEXT or kind in _REGISTRY_EXITS:
            break
    return Problem(
        error.code.lower().replace("_", "-"),
        error.message,
        where=where,
        next=_REGISTRY_NEXT.get(kind, ""),
        exit=_REGISTRY_EXITS.get(kind, Exit.FAILED),
    )


def _told(problem: Problem, as_json: bool) -> Exit:
    report(problem, as_json=as_json)
    return problem.exit


def _sentence(error: CycloptsError) -> str:
    return " ".join(str(error).split())
