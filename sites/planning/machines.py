"""Which of the remembered machines each host of the topology is, whatever it is called and wherever it is now. Pure.

A machine is known by its machine-id (a hash of it, on_host/records.py); where that does not tell, by its address, then by
its name. Machines that no host of the topology is have left it, and are asked where they were.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sites.desired.inventory import Target
from sites.hosts import HostError
from sites.remembered import RememberedHost

Remembered = Mapping[str, RememberedHost]


@dataclass(frozen=True, slots=True)
class Recognised:
    """``hosts``: what is remembered of each machine, by the name of the host that it is now, and of those that left.
    ``beyond``: machines that left and whose nodes cannot be told about. ``notes``: for people."""

    hosts: dict[str, RememberedHost]
    beyond: dict[str, HostError]
    notes: tuple[str, ...] = ()


def elsewhere(before: Remembered, targets: Mapping[str, Target]) -> dict[str, RememberedHost]:
    """The remembered hosts that lie where no host of the topology is, by the names under which they are asked."""
    places = {(each.address, each.port) for each in targets.values()}
    return {
        asked_as(name, each, targets): each for name, each in before.items() if (each.address, each.port) not in places
    }


def asked_as(name: str, host: RememberedHost, targets: Collection[str]) -> str:
    """``eu-1``, or ``eu-1@10.1.0.11`` when the topology has another host of this name."""
    return f"{name}@{host.target(name).known_as}" if name in targets else name


def recognised(before: Remembered, targets: Mapping[str, Target], found: Mapping[str, str]) -> Recognised:
    """``found``: by host that answered, those ``elsewhere`` too, its machine's id ("": not known)."""
    ids = {name: each.machine or found.get(asked_as(name, each, targets), "") for name, each in before.items()}
    same = _matched(before, targets, found, ids)
    hosts = {host: _brought_to(targets[host], before[name]) for host, name in same.items()}
    notes = [*_twice(targets, found), *_moves(before, targets, same), *_others(before, targets, found, same)]
    beyond: dict[str, HostError] = {}
    places = {(each.address, each.port): name for name, each in targets.items()}
    for name, each in before.items():
        asked, matched = asked_as(name, each, targets), name in same.values()
        there, place = found.get(asked, ""), places.get((each.address, each.port))
        twin = next((host for host in targets if there and found.get(host) == there), None)
        if place is None and twin:
            beyond[asked] = _copied(asked, each, twin)
        elif not matched and place is None and there and each.machine and there != each.machine:
            beyond[asked] = _another(asked, each)
        elif not matched and place is not None and each.nodes:
            beyond[asked] = _displaced(asked, each, place)
        if asked in beyond or not matched:
            hosts[asked] = each
    return Recognised(hosts, beyond, tuple(notes))


def _matched(
    before: Remembered, targets: Mapping[str, Target], found: Mapping[str, str], ids: Mapping[str, str]
) -> dict[str, str]:
    """Host -> the name of what is remembered of it; each once. ``ids``: of the machines then, where they did not say it by
    what answers in their places now."""
    now = {name: found.get(name, "") for name in targets}
    then = {name: each.machine for name, each in before.items()}
    one_now, one_then = (_once(each.values()) for each in (now, then))
    same: dict[str, str] = {}

    def pair(host: str, name: str) -> None:
        if host not in same and name not in same.values():
            same[host] = name

    for host in targets:
        for name in before:
            if now[host] == then[name] and now[host] in one_now and now[host] in one_then:
                pair(host, name)
    for host, target in targets.items():
        here = [name for name, each in before.items() if (each.address, each.port) == (target.address, target.port)]
        for name in sorted(here, key=lambda each: each != host):  # by its own name first
            pair(host, name)
    for host in targets:  # what does not answer at a new address may still be at the old one
        if host in before and host in found and not _differ(now[host], ids[host]):
            pair(host, host)
    return same


def _brought_to(target: Target, host: RememberedHost) -> RememberedHost:
    """Of a machine that moved nothing answers where its nodes did, unless another machine's nodes do now."""
    if (host.address, host.port) == (target.address, target.port):
        return host
    nodes = {name: each.model_copy(update={"url": ""}) for name, each in host.nodes.items()}
    return host.model_copy(update={"address": target.address, "port": target.port, "nodes": nodes})


def _once(ids: Collection[str]) -> frozenset[str]:
    return frozenset(each for each, times in Counter(ids).items() if each and times == 1)


def _differ(one: str, other: str) -> bool:
    """Whether they are two machines for certain."""
    return bool(one and other and one != other)


def _twice(targets: Mapping[str, Target], found: Mapping[str, str]) -> Iterator[str]:
    now = [found.get(name, "") for name in targets]
    for id in sorted({each for each in now if each and now.count(each) > 1}):
        names = " and ".join(name for name in targets if found.get(name) == id)
        yield (
            f"warning[machine-id-twice]: {names} have one /etc/machine-id, as copied machines do: they are told apart by "
            "address and name alone; give each its own (machine-id(5): rm /etc/machine-id; systemd-machine-id-setup; reboot)"
        )


def _moves(before: Remembered, targets: Mapping[str, Target], same: Mapping[str, str]) -> Iterator[str]:
    for host, name in same.items():
        if host != name:
            yield f"{host} is the machine that was {name} ({_place(before[name])}): nothing left it"
        elif (before[name].address, before[name].port) != (targets[host].address, targets[host].port):
            yield f"{host} is the machine that was at {_place(before[name])}"


def _others(
    before: Remembered, targets: Mapping[str, Target], found: Mapping[str, str], same: Mapping[str, str]
) -> Iterator[str]:
    for host in targets:
        known = same.get(host)
        if known and _differ(found.get(host, ""), before[known].machine):
            yield f"{host} is another machine than at the last apply, at the same address: the former one cannot be asked"
        elif known is None and host in before and host not in same.values():
            former = before[host]
            yield (
                f"{host} is another machine than at the last apply; the former one at {_place(former)} keeps running "
                f"what it ran until it is reached there, or: towpath apply --forget {asked_as(host, former, targets)}"
            )


def _place(host: RememberedHost) -> str:
    return host.target("").known_as


def _copied(name: str, host: RememberedHost, twin: str) -> HostError:
    return HostError(
        "host-answers-twice",
        f"the machine at {_place(host)} has the machine-id of {twin}",
        where=name,
        why="it is the same machine by another way, or a copy of it; nodes of a copy would run on, so it is not passed over",
        next=f"a copy: switch it off, or give it a machine-id of its own; then: towpath apply --forget {name}",
    )


def _another(name: str, host: RememberedHost) -> HostError:
    return HostError(
        "host-is-another-machine",
        f"the machine at {_place(host)} is not the one that was {name}",
        where=name,
        why="its machine-id is another one; what runs there is left alone",
        next=f"if the former one is gone for good: towpath apply --forget {name}",
    )


def _displaced(name: str, host: RememberedHost, place: str) -> HostError:
    return HostError(
        "host-out-of-reach",
        f"{name} was at {_place(host)}, where {place} is now",
        where=name,
        why="its nodes cannot be asked there, and may run elsewhere",
        next=f"if it is gone for good: towpath apply --forget {name}",
    )
