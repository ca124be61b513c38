"""What somebody changed on a host since the last apply, whatever the topology says now. Pure.

Measured against the inventory that apply left on the host: what it lists and what is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from sites.desired import layout
from sites.desired.hosts import DesiredHost
from sites.desired.inventory import Target
from sites.planning.compare import data_folder, edited, file_diff, owned_otherwise
from sites.planning.drop_ins import drop_ins
from sites.planning.facts import HostFacts, UnitFacts
from sites.planning.host_plan import ADD, CHANGE, DESTROY, Row
from sites.planning.parts import parts_drift
from sites.planning.releases import difference
from sites.planning.unmanaged import unmanaged

# The operations of rows that apply does not undo.
DROP_IN, UNMANAGED = "drop-in", "unmanaged"
_INVENTORY = str(layout.INVENTORY)
_INVENTORY_OWNED = {"mode": 0o600, "owner": "root", "group": "root"}


def drift(host: DesiredHost, facts: HostFacts) -> tuple[Row, ...]:
    """One row for each thing that is not as it was laid down; none for a host that apply never changed."""
    target = host.target
    if facts.inventory is None:
        return tuple(_no_inventory(target, facts))
    own = (*_directories(target, facts), *_files(host, facts), *_links(target, facts), *_units(target, facts))
    left = (*_drop_ins(target, facts), *_unmanaged(target, facts))
    return (*_of_host(target, facts), *own, *_releases(target, facts), *left, *parts_drift(target, facts))


def _no_inventory(target: Target, facts: HostFacts) -> Iterator[Row]:
    """What was laid down is not known any more; that something was is."""
    if facts.earlier.links:
        gone = facts.paths.get(_INVENTORY) is None
        change = f"{_INVENTORY} {'is gone' if gone else 'cannot be read'}: nothing else can be compared"
        yield _row(target, "", DESTROY, "inventory", change)


def _of_host(target: Target, facts: HostFacts) -> Iterator[Row]:
    """The user, the inventory's own mode and owner, and the nginx that was told of our nodes."""
    assert facts.inventory is not None
    if not facts.user:
        yield _row(target, "", DESTROY, "user", f"{layout.USER} is gone")
    found = facts.paths.get(_INVENTORY)
    if found and (change := f"is a {found.kind}" if found.kind != "file" else owned_otherwise(found, _INVENTORY_OWNED)):
        yield _row(target, "", CHANGE, "inventory", f"{_INVENTORY} {change}")
    nginx = facts.units.get(layout.NGINX_UNIT)
    if str(layout.NGINX) in facts.inventory.files and nginx and (change := _not_running(nginx)):
        yield _row(target, "", CHANGE, "proxy", f"{layout.NGINX_UNIT} {change}")


def _directories(target: Target, facts: HostFacts) -> Iterator[Row]:
    assert facts.inventory is not None
    for path, laid in facts.inventory.directories.items():
        found, node = facts.paths.get(path), str(laid.get("node", ""))
        if path == str(layout.data(node or ".")):
            if change := data_folder(found, laid):
                yield _row(target, node, CHANGE if found else DESTROY, "data", f"{path} {change}")
        elif found is None:
            yield _row(target, node, DESTROY, "directory", f"{path} is gone")
        elif found.kind != "directory":
            yield _row(target, node, CHANGE, "directory", f"{path} is a {found.kind}")
        elif owned := owned_otherwise(found, laid):
            yield _row(target, node, CHANGE, "directory", f"{path} {owned}")


def _releases(target: Target, facts: HostFacts) -> Iterator[Row]:
    assert facts.inventory is not None
    for identity, laid in facts.inventory.releases.items():
        path = layout.release(identity)
        if identity not in facts.releases:
            yield _row(target, "", DESTROY, "release", f"{path} is gone")
        elif differing := difference(facts.trees.get(identity), str(laid.get("manifest", ""))):
            yield _row(target, "", CHANGE, "release", f"{path} was edited: {differing}")


def _drop_ins(target: Target, facts: HostFacts) -> Iterator[Row]:
    assert facts.inventory is not None
    for unit, path in drop_ins(facts):
        yield _row(target, facts.inventory.units.get(unit, ""), ADD, DROP_IN, f"{path} changes {unit}")


def _unmanaged(target: Target, facts: HostFacts) -> Iterator[Row]:
    for node, path in unmanaged(facts):
        yield _row(target, node, ADD, UNMANAGED, f"{path} was put there by somebody")


def _files(host: DesiredHost, facts: HostFacts) -> Iterator[Row]:
    assert facts.inventory is not None
    files = (*(each for node in host.nodes for each in node.files), *host.proxy.files)
    wanted = {each.path: each for each in files}
    for path, laid in facts.inventory.files.items():
        found, node = facts.paths.get(path), str(laid.get("node", ""))
        if change := edited(found, laid):
            # What was laid down is known here as long as the topology still wants the same.
            known = found is not None and path in wanted and wanted[path].sha256 == laid.get("sha256")
            diff = file_diff(wanted[path], facts) if known else ""
            yield _row(host.target, node, CHANGE if found else DESTROY, "file", f"{path} {change}", diff=diff)


def _links(target: Target, facts: HostFacts) -> Iterator[Row]:
    assert facts.inventory is not None
    for path, laid in facts.inventory.links.items():
        found, node = facts.paths.get(path), str(laid.get("node", ""))
        if found is None:
            yield _row(target, node, DESTROY, "release", f"{path} is gone")
        elif found.target != laid.get("target"):
            yield _row(
                target,
                node,
                CHANGE,
                "release",
                f"{path} {'leads to ' + found.target if found.kind == 'link' else 'is a ' + found.kind}",
            )


def _units(target: Target, facts: HostFacts) -> Iterator[Row]:
    assert facts.inventory is not None
    for unit, node in facts.inventory.units.items():
        found = facts.units.get(unit)
        if found is None:
            yield _row(target, node, CHANGE, "process", f"{unit} is not there")
        elif change := _not_running(found):
            yield _row(target, node, CHANGE, "process", f"{unit} {change}")
        elif found.stale == "yes":
            yield _row(target, node, ADD, "process", f"{unit} runs on an older unit file")


def _not_running(unit: UnitFacts) -> str:
    """Why a unit does not serve now or after the next boot; "" when it does."""
    if unit.active not in ("active", "reloading"):
        return f"is {unit.active}"
    return "" if unit.enabled == "enabled" else f"is {unit.enabled or 'disabled'} at boot"


def _row(target: Target, node: str, sign: str, operation: str, change: str, *, diff: str = "") -> Row:
    path = ("nodes", node) if node else ("sites", target.site, "hosts", target.name)
    return Row(target.site, target.name, node, sign, operation, change, path, diff=diff)
