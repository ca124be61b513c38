"""What plan, apply and destroy have in common about nodes and hosts that leave: who they are, what they hold, whether
they may go, and what is remembered of them afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from towpath.exits import Exit
from towpath.leave_options import NOBODY, Leave
from towpath.output import Output
from towpath.plan_shown import as_record, not_asked

if TYPE_CHECKING:
    from sites.hosts import HostError
    from sites.planning.deployment import Deployment
    from sites.planning.host_plan import HostPlan, Leaving, Row
    from sites.rollout.canary import Gate
    from sites.rollout.contents import Content
    from sites.rollout.rolling import HostResult
    from sites.rollout.ssh import SshHosts
    from sites.state import StateFolder

_Held = tuple[str, str]  # host and node


@dataclass(frozen=True)
class Planned:
    """``contents``: what nodes that leave hold. ``unreachable``: hosts that do not answer, or not as the machines that they
    were, and are not needed to go on. ``taken``: hosts where we left nothing but trash and that are another topology's now.
    ``deployment``: that which was planned, since the hosts have said which machines they are; ``notes``: on those."""

    plans: Mapping[str, HostPlan]
    contents: Mapping[_Held, Content]
    unreachable: Mapping[str, HostError]
    deployment: Deployment
    taken: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def changing(self) -> list[str]:
        return [name for name, each in self.plans.items() if each.changes]

    @property
    def leaving(self) -> Iterator[tuple[str, Leaving]]:
        """With the host of each."""
        return _leaving(self.plans)

    def under(self, locks: Collection[str], later: Planned) -> Planned:
        """``later`` for the hosts that are locked now; the others stay as they were found, and are not changed. Of one that
        stopped answering, what was seen before the lock counts no more."""
        seen = {**self.plans, **{name: later.plans.get(name) for name in locks}}
        plans = {name: plan for name, plan in seen.items() if plan is not None}
        unreachable = {**self.unreachable, **later.unreachable}
        unreachable = {name: each for name, each in unreachable.items() if name not in plans}
        contents, taken = {**self.contents, **later.contents}, self.taken | later.taken
        return replace(self, plans=plans, contents=contents, unreachable=unreachable, taken=taken)

    def recognised(self, out: Output) -> Deployment:
        """Says which hosts are other machines than the last apply knew."""
        for each in self.notes:
            out.note({"type": "warning", "warning": "machine", "text": each}, each)
        return self.deployment


async def planned(deployment: Deployment, hosts: SshHosts, *, everything: bool = False) -> Planned:
    """All hosts are asked. ``everything``: every node leaves, of the hosts that answer. Raises HostErrors: hosts of the
    topology that did not answer, or cannot be what they must be."""
    from sites.rollout.canary import Gate

    facts, unreachable = await hosts.facts_where_possible({**deployment.hosts, **deployment.left})
    if not everything:
        _insist(deployment, unreachable)
    deployment, known = deployment.recognised(facts)
    asked = {*deployment.hosts, *deployment.left} - {*known.beyond}
    unreachable = {**{name: each for name, each in unreachable.items() if name in asked}, **known.beyond}
    facts = {name: each for name, each in facts.items() if name in asked}
    taken = deployment.taken_by_others(facts)
    facts = {name: each for name, each in facts.items() if name not in taken}
    plans = deployment.removal_of_all(facts) if everything else deployment.plans(facts)
    contents = await _contents(Gate(deployment.engine, deployment.trust), deployment, plans, everything=everything)
    plans = {name: _with_contents(name, plan, contents) for name, plan in plans.items()}
    return Planned(plans, contents, unreachable, deployment, taken, known.notes)


def _insist(deployment: Deployment, unreachable: Mapping[str, HostError]) -> None:
    from sites.hosts import HostErrors

    if errors := [error for name, error in unreachable.items() if name in deployment.hosts]:
        raise HostErrors(errors)


def _leaving(plans: Mapping[str, HostPlan]) -> Iterator[tuple[str, Leaving]]:
    return ((name, each) for name, plan in plans.items() if plan.removal for each in plan.removal.leaving)


async def _contents(
    gate: Gate, deployment: Deployment, plans: Mapping[str, HostPlan], *, everything: bool
) -> dict[_Held, Content]:
    from sites.rollout.contents import Content, content_of

    async def content(host: str, node: Leaving) -> Content:
        if not node.runs:
            return Content(unasked="it does not run")
        at = _url(deployment, host, node)
        sisters = {} if everything else sisters_of(deployment, node.told.scope)
        sisters = {name: url for name, url in sisters.items() if url != at}  # itself, when it moves and keeps its name
        return (
            await content_of(gate, at, sisters, node=node.node) if at else Content(unasked="its address is not known")
        )

    asked = [(host, each) for host, each in _leaving(plans) if each.holds_content]
    answers = await asyncio.gather(*(content(host, each) for host, each in asked))
    return {(host, each.node): said for (host, each), said in zip(asked, answers, strict=True)}


def sisters_of(deployment: Deployment, scope: str) -> dict[str, str]:
    """The addresses of the nodes of ours that hold the scope's images after the apply."""
    return {name: deployment.urls[name] for name, _ in deployment.topology.members_of(scope) if name in deployment.urls}


def _url(deployment: Deployment, host: str, node: Leaving) -> str:
    """Where it answered after the last apply; else what its host's inventory suggests."""
    from sites.settings.addresses import Address

    before = deployment.before.get(host)
    if before and node.node in before.nodes and (url := before.nodes[node.node].url):
        return url
    place = deployment.targets.get(host) or before
    return Address(place.address, node.told.port, tls=node.told.tls).url if place and node.told.port else ""


def _with_contents(host: str, plan: HostPlan, contents: Mapping[_Held, Content]) -> HostPlan:
    if plan.removal is None:
        return plan
    leaving = []
    for each in plan.removal.leaving:
        said = [str(contents[host, each.node])] if (host, each.node) in contents else []
        said += [f"protected by its {' and '.join(each.protected)}"] if each.protected else []
        change = "; ".join([each.row.change, *said])
        leaving.append(replace(each, row=replace(each.row, change=change)))
    return replace(plan, removal=replace(plan.removal, leaving=tuple(leaving)))


def refusals(found: Planned, leave: Leave = NOBODY) -> list[HostError]:
    """Why these nodes may not go without being named."""
    asked = set(leave.named)
    errors = []
    for host, each in found.leaving:
        content = found.contents.get((host, each.node))
        if each.protected and each.node not in leave.remove_protected:
            errors.append(protected_error(host, each.node, each.protected))
        elif content and content.unasked and each.node not in asked:
            errors.append(_refused("removal-unasked", host, each, f"{content}: all of it may be the only copy"))
        elif content and not content.empty and each.node not in asked:
            errors.append(_refused("removal-not-empty", host, each, f"it {content}"))
    return errors


def check(found: Planned, leave: Leave, deployment: Deployment) -> None:
    """Raises HostErrors (exit 4) before anything is changed; Problem when a node is named that does not leave."""
    from sites.hosts import HostErrors

    leave.check_names(deployment, found.plans)
    if errors := refusals(found, leave):
        raise HostErrors(errors)


def protected_error(host: str, node: str, protected: Collection[str]) -> HostError:
    """``protected``: by what, ``node`` or ``scope``."""
    from sites.hosts import HostError

    by = " and ".join(protected)
    lift = f"lift it: put the node back with `protect: false` on its {by} and apply"
    return HostError(
        "removal-protected",
        f"node {node} is protected and was not removed; nothing was changed",
        where=f"host {host}",
        why=f"protected by its {by}; that the line or the node is gone from the topology does not lift it",
        next=f"put it back into the topology; or {lift}; or: towpath apply --remove-protected {node}",
    )


def _refused(code: str, host: str, node: Leaving, why: str) -> HostError:
    from sites.hosts import HostError

    return HostError(
        code,
        f"node {node.node} left the topology and may not be empty; nothing was changed",
        where=f"host {host}",
        why=why,
        next=f"put it back into the topology; or let it go, its data to trash: towpath apply --remove {node.node}",
    )


def talk_of(found: Planned, deployment: Deployment, out: Output, leave: Leave = NOBODY) -> None:
    """What a plan says beyond its rows."""
    for each in refusals(found, leave):
        text = f"apply will refuse [{each.code}]: {each.what.partition(';')[0]}; {each.next}"
        out.note({"type": "refusal", **as_record(each)}, text)
    left_behind(found, deployment, Exit.DONE, out)


def left_behind(found: Planned, deployment: Deployment, otherwise: Exit, out: Output) -> Exit:
    """Says which hosts could not be asked. ``otherwise``: the exit when there is none."""
    for name, error in found.unreachable.items():
        text = f"{name} {_remains(name, deployment)}: {error.what}\n  next: {_bring_back(name, deployment)}"
        known = deployment.before.get(name)
        site = deployment.targets[name].site if name in deployment.targets else known.site if known else ""
        not_asked(out, name, site, error.but(next=_bring_back(name, deployment)), text)
    return Exit.SOME_SITES_FAILED if found.unreachable and otherwise is Exit.DONE else otherwise


def _remains(host: str, deployment: Deployment) -> str:
    """What may still be there of a host that could not be asked."""
    if host in deployment.targets:
        return "was not asked, and its nodes may still run there"
    if host in deployment.before and not deployment.before[host].nodes:
        return "left the topology, and trash whose term is over may still lie there"
    return "left the topology, and its nodes may still run there"


def _bring_back(host: str, deployment: Deployment) -> str:
    if host in deployment.targets:
        return "bring it back and run the same command again; or take it out of the topology, if it is gone for good"
    return f"bring it back and apply again; or, if it is gone for good: towpath apply --forget {host}"


def resting_rows(deployment: Deployment) -> list[Row]:
    """Of hosts that left and are not asked before the term of what they keep is over."""
    from sites.planning.trash import kept_rows

    return [row for name, each in deployment.resting.items() for row in kept_rows(each.target(name), each.trash)]


def remember(state: StateFolder, deployment: Deployment, found: Planned, results: Iterable[HostResult] = ()) -> None:
    """Before a rollout: what it is about to bring, beside what has not left yet. With ``results``: what it did. A host is
    forgotten when nothing of ours is left there."""
    from sites.planning.trash import remaining
    from sites.remembered import RememberedHost, as_applied, with_leaving, write_hosts

    done = {each.host for each in results if each.error is None and each.outcome in ("done", "unchanged")}
    silent = {*deployment.gone, *found.unreachable} - found.taken
    hosts: dict[str, RememberedHost] = {name: each for name, each in deployment.before.items() if name in silent}
    for name, plan in found.plans.items():
        leaving = {each.node for host, each in found.leaving if host == name} if name not in done else set()
        trash = remaining(plan, done=name in done)
        now = with_leaving(as_applied(plan.host, deployment.urls, trash), deployment.before.get(name), leaving)
        hosts.pop(name, None)
        if now.nodes or leaving or trash:
            hosts[name] = now
    write_hosts(state, hosts)


def goes_on(state: StateFolder, deployment: Deployment, found: Planned, leave: Leave, out: Output) -> None:
    """What is written once nothing is refused any more, and before the first change."""
    state.write_addresses(deployment.urls)
    remember(state, deployment, found)
    leave.say_forgotten(out)
