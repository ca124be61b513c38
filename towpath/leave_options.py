"""The options by which a person says who may go: --remove, --remove-protected, --forget. A name that nobody has is refused:
it would look as if something had been allowed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from towpath.exits import Exit
from towpath.output import Output
from towpath.problem import Problem

if TYPE_CHECKING:
    from sites.planning.deployment import Deployment
    from sites.planning.host_plan import HostPlan
    from sites.state import StateFolder


@Parameter(name="*")
@dataclass(frozen=True)
class Leave:
    """Who may go."""

    remove: Annotated[
        tuple[str, ...],
        Parameter(name="--remove", negative="", help="A node that left the topology may go with what it holds."),
    ] = ()
    remove_protected: Annotated[
        tuple[str, ...],
        Parameter(name="--remove-protected", negative="", help="So may this one, which is protected."),
    ] = ()
    forget: Annotated[
        tuple[str, ...],
        Parameter(name="--forget", negative="", help="A host that left the topology and is gone: ask it no more."),
    ] = ()

    @property
    def named(self) -> tuple[str, ...]:
        return (*self.remove, *self.remove_protected)

    def without_forgotten(self, deployment: Deployment, state: StateFolder) -> Deployment:
        """The deployment with what is remembered now, under the lock, less the hosts to forget: it is written when the run
        goes on. Raises Problem for a host of the topology, and for one that nothing is remembered of."""
        from sites.planning.machines import asked_as
        from sites.remembered import read_hosts

        before = read_hosts(state)
        called = {asked_as(name, each, deployment.targets): name for name, each in before.items()}
        deployment = replace(deployment, before=before)
        for name in self.forget:
            if name in deployment.targets:
                why = f"the topology places {', '.join(deployment.targets[name].nodes)} on it"
                next = "take them out of the topology first"
                raise Problem("host-not-left", f"host {name} has not left", why=why, next=next, exit=Exit.USAGE)
            if name not in called:
                raise _unknown("host-unknown", f"there is no host {name} to forget", name, deployment.gone, "host")
        gone = {called[name] for name in self.forget}
        return replace(deployment, before={name: each for name, each in before.items() if name not in gone})

    def check_names(self, deployment: Deployment, plans: Mapping[str, HostPlan]) -> None:
        """Raises Problem for a node that does not leave. One that has left already, in an earlier run of the same command,
        is none."""
        leaving = {each.node for plan in plans.values() if plan.removal for each in plan.removal.leaving}
        known = leaving | _left_already(deployment, plans)
        for name in self.named:
            if name in deployment.urls and name not in leaving:
                what = f"node {name} is in the topology, so it is not removed"
                next = "take it out of the topology, look at towpath plan, then run this again"
                raise Problem("node-not-left", what, next=next, exit=Exit.USAGE)
            if name not in known:
                raise _unknown("node-unknown", f"no node {name} leaves", name, leaving, "node")

    def say_forgotten(self, out: Output) -> None:
        for name in self.forget:
            out.note({"type": "forgotten", "host": name}, f"{name}: forgotten")


NOBODY = Leave()


def _left_already(deployment: Deployment, plans: Mapping[str, HostPlan]) -> set[str]:
    """Nodes whose data is in the trash of a host, and those that are remembered where no host could be asked."""
    from sites.planning.trash import in_trash, node_of

    trash = [name for plan in plans.values() for name in in_trash(plan.facts)]
    trash += [name for each in deployment.before.values() for name in each.trash]
    remembered = {node for each in deployment.before.values() for node in each.nodes if node not in deployment.urls}
    return remembered | {node_of(name) for name in trash}


def _unknown(code: str, what: str, name: str, leaving: Collection[str], noun: str) -> Problem:
    from topology.findings import suggest

    why = f"what leaves the topology: {', '.join(sorted(leaving))}" if leaving else f"no {noun} leaves the topology"
    hint = suggest(name, leaving) if leaving else "leave the option out"
    hint = hint if hint.startswith(("did", "leave")) else "look at towpath plan"
    return Problem(code, f"{what}; nothing was changed", why=why, next=hint, exit=Exit.USAGE)
