"""What stands where ours belongs and is of another kind: neither written through nor removed, since it may be anybody's."""

from __future__ import annotations

from collections.abc import Iterator

from sites.desired.hosts import DesiredHost
from sites.hosts import HostError
from sites.planning.facts import HostFacts


def in_the_way(host: DesiredHost, facts: HostFacts) -> Iterator[HostError]:
    """Folders where files belong, and links or files where folders do. A link in a file's place is simply replaced."""
    files = [each.path for node in host.nodes for each in node.files] + [node.link[0] for node in host.nodes]
    files += [each.path for each in (*host.proxy.files, *(file for part in host.parts for file in part.files))]
    own = (folder for node in host.nodes for folder in node.directories)
    folders = [each.path for each in (*host.directories, *host.proxy.directories, *own)]
    for path, wanted in (*((each, "file") for each in files), *((each, "folder") for each in dict.fromkeys(folders))):
        found = facts.paths.get(path)
        if found is not None and (found.kind == "directory") != (wanted == "folder"):
            kind = {"directory": "folder", "other": "device or socket"}.get(found.kind, found.kind)
            yield HostError(
                "path-in-the-way",
                f"{path} of host {host.target.name} is a {kind}, and a {wanted} of ours belongs there",
                where=path,
                why="apply removes nothing that it did not put there, and does not write through links",
                next=f"move it away there: mv {path} {path}.aside"
                + ("; what shall lie on another disk is mounted there instead" if found.kind == "link" else ""),
            )
