"""Files that a node which stays was given and no longer wants, such as its own certificate and key once it stands behind
nginx. They go when every node has passed its gate, since until then they are what there is to go back to. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from sites.desired.hosts import DesiredNode
from sites.planning.facts import HostFacts
from sites.planning.host_plan import CHANGE, HostPlan, Row
from sites.planning.removal_actions import Prune
from sites.planning.unmanaged import given


def unused_files(plan: HostPlan) -> Iterator[tuple[Prune, Row]]:
    """One for each node that has such files."""
    target = plan.host.target
    for node in plan.host.nodes:
        if files := tuple(sorted(_files(node, plan.facts))):
            prune = Prune(files)
            names = ", ".join(each.rpartition("/")[2] for each in files)
            path = ("nodes", node.name)
            change = f"{names}: not used any more"
            yield prune, Row(target.site, target.name, node.name, CHANGE, "file", change, path, (prune.command,))


def _files(node: DesiredNode, facts: HostFacts) -> Iterator[str]:
    """By our names, in the node's own folders: an inventory is not needed, and not believed."""
    wanted = {each.path for each in node.files}
    for folder in (each.path for each in node.directories):
        paths = (f"{folder}/{name}" for name in facts.inside.get(folder, ()) if given(name))
        yield from (path for path in paths if path not in wanted)
