"""``towpath render``: the declared nodes for places that others run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from topology.model import Placed
from towpath.exits import Exit
from towpath.output import PLAIN, Options
from towpath.problem import Problem
from towpath.workspace import HERE, Where, Workspace

if TYPE_CHECKING:
    from sites.settings.node_settings import Placement

Form = Literal["kubernetes", "compose", "prometheus", "nginx", "systemd"]
CONTAINED = ("kubernetes", "compose")
IN_FOLDERS = ("compose", "systemd")
IMAGE = "an image that holds towpath: see docs/guides/rendering.md"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be rendered. ``image``: of a node's container."""

    workspace: Workspace
    names: tuple[str, ...]
    image: str
    namespace: str


def render(
    form: Annotated[Form, Parameter(help="For what.")],
    /,
    *,
    site: Annotated[str | None, Parameter(help="Only the nodes of this site (a cluster, a machine).")] = None,
    image: Annotated[str | None, Parameter(help="The container image of a node (kubernetes, compose).")] = None,
    namespace: Annotated[
        str | None, Parameter(help="Kubernetes namespace, Compose project (default: the topology's name).")
    ] = None,
    folder: Annotated[Path | None, Parameter(name="--to", help="Write the files into this folder instead.")] = None,
    where: Where = HERE,
    options: Options = PLAIN,
) -> Exit:
    """Print what makes the declared nodes run, or be watched, elsewhere. Nothing is started.

    All but prometheus and nginx carry hashes of the users' secrets and the nodes' own logins: keep them as secrets."""
    out, workspace = options.open(), where.open()
    if form in IN_FOLDERS and folder is None:
        raise Problem(
            "no-folder",
            f"render {form} writes keys, logins and hashes: it prints none",
            next="add --to FOLDER",
            exit=Exit.USAGE,
        )
    if image is None and form in CONTAINED:
        raise Problem(
            "no-image", f"render {form} needs to know {IMAGE}", next="add --image HOST/towpath:VERSION", exit=Exit.USAGE
        )
    name = namespace or workspace.topology.metadata.name
    files = FORMS[form](Wanted(workspace, _chosen(workspace, site), image or "", name))
    if folder is not None:
        _write(folder, files, private=form != "prometheus")
    for path, text in files.items():
        if folder is not None:
            out.emit({"file": str(folder / path)}, f"wrote {folder / path}")
        else:
            out.emit({"file": path, "content": text}, text if len(files) == 1 else f"# {path}\n{text}")
    return Exit.DONE


def _kubernetes(wanted: Wanted) -> Mapping[str, str]:
    from sites.render.contained import contained
    from sites.render.kubernetes import kubernetes

    topology = wanted.workspace.topology
    nodes = contained(topology, _placements(wanted.workspace), wanted.names)
    return {"towpath.yaml": kubernetes(topology, nodes, namespace=wanted.namespace, image=wanted.image)}


def _compose(wanted: Wanted) -> Mapping[str, str]:
    from sites.render.compose import compose
    from sites.render.contained import contained

    nodes = contained(wanted.workspace.topology, _placements(wanted.workspace), wanted.names)
    return compose(nodes, project=wanted.namespace, image=wanted.image)


def _prometheus(wanted: Wanted) -> Mapping[str, str]:
    from sites.render.prometheus import AUTHORITY, authority, rules, scrape

    topology, names = wanted.workspace.topology, wanted.names
    believed = authority(topology, names)
    files = {"prometheus.yml": scrape(topology, names), "towpath-rules.yml": rules(topology, names)}
    return files if believed is None else {**files, AUTHORITY: believed.decode("ascii", "replace")}


def _nginx(wanted: Wanted) -> Mapping[str, str]:
    """A file a host; the name that it has there."""
    from sites.desired.proxy import configurations

    found = configurations(wanted.workspace.topology, wanted.names)
    if not found:
        raise Problem(
            "nothing-to-render",
            "no node stands behind a proxy",
            next="give their host `proxy: {method: subdomain, domain: ...}` (docs/guides/deploying.md)",
            exit=Exit.USAGE,
        )
    return {f"{host}/towpath.conf": text for host, text in found.items()}


def _systemd(wanted: Wanted) -> Mapping[str, str]:
    """As apply would lay them down."""
    from sites.planning.deployment import deployment
    from sites.render.hosts import on_hosts
    from sites.state import Runs

    workspace = wanted.workspace
    workspace.check_secrets()
    workspace.state.check(workspace.topology.metadata.name, Runs.HOSTS)
    workspace.state.claim(workspace.topology.metadata.name, workspace.file, Runs.HOSTS)
    return on_hosts(deployment(workspace.topology, workspace.state).hosts, wanted.names)


FORMS: Mapping[str, Callable[[Wanted], Mapping[str, str]]] = {
    "kubernetes": _kubernetes,
    "compose": _compose,
    "prometheus": _prometheus,
    "nginx": _nginx,
    "systemd": _systemd,
}


def _placements(workspace: Workspace) -> dict[str, Placement]:
    """Logins that our nodes need at each other are made in the state folder, as ``up`` does."""
    from sites.loopback.placement import logins_of, placements
    from sites.settings.credentials import users_of

    topology, state = workspace.topology, workspace.state
    workspace.check_secrets()
    state.check(topology.metadata.name)
    people, logins = users_of(topology), logins_of(topology)
    state.claim(topology.metadata.name, workspace.file)
    return placements(topology, state, people, logins)


def _chosen(workspace: Workspace, site: str | None) -> tuple[str, ...]:
    topology = workspace.topology
    if site is not None and site not in topology.sites:
        known = ", ".join(topology.sites)
        raise Problem("unknown-name", f"there is no site {site!r}", next=f"known: {known}", exit=Exit.USAGE)
    names = [name for name, node in topology.nodes.items() if isinstance(node, Placed) and site in (None, node.site)]
    if not names:
        raise Problem("nothing-to-render", f"no node of ours stands in {site or 'any site'}", exit=Exit.USAGE)
    return tuple(names)


def _write(folder: Path, files: Mapping[str, str], *, private: bool) -> None:
    """``private``: for their owner alone; what holds no secret is read by another's daemon."""
    from sites.state import write_private

    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        (folder / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / path, text.encode())
        if not private:
            (folder / path).chmod(0o644)
