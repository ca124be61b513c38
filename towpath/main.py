"""The command line: a table of verbs, each imported when it runs.

To add a verb, add a row to VERBS: its function takes its arguments as cyclopts reads them, a last
``options: Options = PLAIN`` (towpath/output.py), and returns an Exit (or None for DONE); it may be ``async``.
It says what went wrong by raising Problem (towpath/problem.py); errors of the rooms below are put in that form by
towpath/problems.py.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from towpath.exits import Exit

if TYPE_CHECKING:
    from cyclopts import App


class Verb(NamedTuple):
    group: str
    target: str  # "module:function"
    help: str


VERBS: dict[str, Verb] = {
    # Author: towpath/author.py
    "lint": Verb("Author", "towpath.author:lint", "Check a topology; every finding at once."),
    "schema": Verb("Author", "towpath.author:schema", "Print the JSON Schema of the topology language."),
    "graph": Verb("Author", "towpath.author:graph", "Draw how images may move: text, Mermaid or SVG."),
    "explain": Verb("Author", "towpath.author:explain", "Say what a finding's code means and how to fix it."),
    "can": Verb("Author", "towpath.permission:can", "Say who may do what, and by which line of the topology."),
    # Operate: towpath/operate.py
    "up": Verb("Operate", "towpath.operate:up", "Run the whole topology on this machine."),
    "down": Verb("Operate", "towpath.operate:down", "Stop what `up` started; the data stays."),
    "status": Verb("Operate", "towpath.operate:status", "One row a node: where it answers and how it is."),
    "render": Verb("Operate", "towpath.render:render", "The nodes for Kubernetes, Compose or Prometheus."),
    # Operate, on hosts over SSH: towpath/deploy.py
    "plan": Verb("Operate", "towpath.deploy:plan", "What apply would change on the hosts."),
    "apply": Verb("Operate", "towpath.deploy:apply", "Bring the hosts to what the topology says."),
    "destroy": Verb("Operate", "towpath.destroy:destroy", "Remove every node from its host; the data goes to trash."),
    "drift": Verb("Operate", "towpath.deploy:drift", "What was changed on the hosts since the last apply."),
    "import": Verb(
        "Operate", "towpath.importing:take_over", "Take over what runs on hosts: a lost state folder or record."
    ),
    "unlock": Verb("Operate", "towpath.deploy:unlock", "Take a dead run's lock off the hosts."),
    # Images: towpath/images.py
    "ls": Verb("Images", "towpath.images:ls", "List repositories of a scope, or tags of a repository."),
    "inspect": Verb("Images", "towpath.images:inspect", "Digest, size, platforms and layers of an image."),
    "copy": Verb("Images", "towpath.images:copy", "Copy an image: a registry or an OCI layout folder, either way."),
    "sign": Verb("Images", "towpath.signing:sign", "Sign an image with a key, as cosign does."),
    # Flow: towpath/flow.py, tracing.py, moving.py
    "promote": Verb("Flow", "towpath.flow:promote", "Move an image along an edge, through its gates."),
    "why": Verb("Flow", "towpath.flow:why", "What stands between an image and the next scope, or who answers."),
    "trace": Verb("Flow", "towpath.tracing:trace", "By which edges, when, by whom and on what evidence an image came."),
    "replicate": Verb("Flow", "towpath.moving:replicate", "Bring a replica up to date now."),
    "cleanup": Verb("Flow", "towpath.moving:cleanup", "Apply a scope's cleanup rules, or preview them (--dry-run)."),
    # Access: towpath/login.py, setup.py
    "login": Verb("Access", "towpath.login:login", "Sign in at the nodes, for docker, podman, skopeo and others."),
    "kube-secret": Verb("Access", "towpath.login:kube_secret", "Print a Kubernetes pull secret for a robot."),
    "setup": Verb("Access", "towpath.setup:setup", "What to write so that a client uses a mirror or virtual."),
    # System: towpath/system.py
    "serve": Verb("System", "towpath.system:serve", "Run one registry node."),
    "control": Verb("System", "towpath.system:control", "Run the controller: clock, replication, cleanup."),
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script. SIGTERM ends a verb as Ctrl-C does: nothing half started stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    sys.exit(int(run(sys.argv[1:] if arguments is None else list(arguments))))


def run(arguments: Sequence[str]) -> Exit:
    """Runs one command line; never raises."""
    first = arguments[0] if arguments else "--help"
    if first in ("--help", "-h", "help"):
        print(root_help())
        return Exit.DONE
    if first in ("--version", "-V"):
        from importlib.metadata import version

        print(f"towpath {version('towpath')}")
        return Exit.DONE
    settings = _settings_of_a_node(arguments)
    if settings is not None:
        return _serve(settings)
    from towpath.problems import guarded

    return guarded(lambda: _call(first, arguments), as_json=_wants_json(arguments))


def root_help() -> str:
    """The verbs by group. Built without cyclopts, whose import alone takes longer than a help may."""
    width = max(map(len, VERBS))
    lines = ["Usage: towpath VERB [ARGUMENTS]    (towpath VERB --help)", ""]
    for group in dict.fromkeys(verb.group for verb in VERBS.values()):
        lines += [group, *(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items() if verb.group == group)]
        lines.append("")
    lines += ["Exit codes: 0 done; 1 failure; 2 usage or invalid topology; 3 changes pending; 4 refused; 5 waiting;"]
    lines += ["            6 conflict; 7 some sites failed; 8 integrity failure; 130 interrupted."]
    return "\n".join(lines)


def _settings_of_a_node(arguments: Sequence[str]) -> str | None:
    """Of ``serve --settings FILE`` written so, as machines write it; everything else is read by the parser."""
    plain = len(arguments) == 3 and tuple(arguments[:2]) == ("serve", "--settings")
    return arguments[2] if plain and not arguments[2].startswith("-") else None


def _serve(settings: str) -> Exit:
    from pathlib import Path

    from towpath.node_process import run_node

    try:
        return run_node(Path(settings))
    except (KeyboardInterrupt, Exception) as error:
        from towpath.problems import guarded

        return guarded(partial(_fail, error), as_json=False)


def _fail(error: BaseException) -> NoReturn:
    raise error


def _call(name: str, arguments: Sequence[str]) -> Exit:
    from registry_node.imports import without_collection

    with without_collection():
        app = app_of(name)
    result: Any = app(arguments[1:], exit_on_error=False, print_error=False)
    return Exit.DONE if result is None else Exit(result)


def app_of(name: str) -> App:
    """The cyclopts app of one verb. Raises Problem for a verb that does not exist."""
    from importlib import import_module

    from cyclopts import App

    # httpx imports its own command line (click, pygments) when they are there: 0.2 s that no verb needs.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # None: the import fails, and httpx goes on
    verb = VERBS.get(name) or _unknown(name)
    module, _, function = verb.target.partition(":")
    app = App(name=f"towpath {name}", version_flags=(), result_action="return_value", suppress_keyboard_interrupt=False)
    app.default(getattr(import_module(module), function))
    return app


def _unknown(name: str) -> NoReturn:
    from difflib import get_close_matches

    from towpath.problem import Problem

    if name.startswith("-"):
        raise Problem("unknown-verb", f"{name} stands before the verb", next="options come after it", exit=Exit.USAGE)
    close = get_close_matches(name, VERBS, n=1)
    hint = f"did you mean `towpath {close[0]}`?" if close else "towpath --help lists the verbs"
    raise Problem("unknown-verb", f"there is no verb {name!r}", next=hint, exit=Exit.USAGE)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Read before the verb's own parser runs, whose errors must have this form too."""
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    return any(
        each in ("-ojson", "--output=json", "-o=json") or (each in ("-o", "--output") and after == "json")
        for each, after in pairs
    )
