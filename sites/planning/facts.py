"""What a host said is there, read strictly: it is another machine's word."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from sites.desired import layout
from sites.desired.hosts import DesiredHost
from sites.hosts import HostError


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class PathFacts(_Said):
    kind: Literal["file", "directory", "link", "other"]
    sha256: str = ""
    mode: int = 0
    owner: str = ""
    group: str = ""
    target: str = ""


def _words(said: Any) -> Any:
    return said.split() if isinstance(said, str) else said


def _address(said: Any) -> Any:
    """An IP address; "" for what is none, such as the UNKNOWN of an sshd that no socket leads to."""
    if not isinstance(said, str):
        return said
    try:
        found = ipaddress.ip_address(said.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(found, "ipv4_mapped", None) or found)


class UnitFacts(_Said):
    """As systemctl(1) shows them."""

    loaded: str = Field(default="", alias="LoadState")
    active: str = Field(default="", alias="ActiveState")
    sub: str = Field(default="", alias="SubState")
    enabled: str = Field(default="", alias="UnitFileState")
    stale: str = Field(default="no", alias="NeedDaemonReload")
    pid: int = Field(default=0, alias="MainPID")
    drop_ins: Annotated[tuple[str, ...], BeforeValidator(_words)] = Field(default=(), alias="DropInPaths")


class TreeFacts(_Said):
    """A release, looked at file by file. ``manifest``: the hash of its MANIFEST; ``differing``: files that are not what
    that says, that are missing, or that are too many."""

    manifest: str = ""
    differing: tuple[str, ...] = ()


class DiskFacts(_Said):
    total: int
    free: int


class AtRestFacts(_Said):
    """The device that holds a folder, and by what that is encrypted ("": nothing shows it)."""

    device: str = ""
    encryption: str = ""


class RecordedPart(_Said):
    files: dict[str, dict[str, Any]] = {}
    unit: str = ""


class RecordedNode(_Said):
    """What a node is that an earlier apply laid down. ``protected``: by what in the topology, ``node`` or ``scope``."""

    kind: str = ""
    scope: str = ""
    port: int = 0
    tls: bool = False
    protected: tuple[str, ...] = ()
    trash_seconds: float | None = None


class Recorded(_Said):
    """The inventory that an earlier apply left on the host: path -> what it laid down."""

    topology: str = ""  # whose nodes these are; "": an earlier towpath did not say
    machine: str = ""  # on which machine it was written
    files: dict[str, dict[str, Any]] = {}
    links: dict[str, dict[str, Any]] = {}
    units: dict[str, str] = {}
    directories: dict[str, dict[str, Any]] = {}
    releases: dict[str, dict[str, Any]] = {}
    parts: dict[str, RecordedPart] = {}
    nodes: dict[str, RecordedNode] = {}


class Earlier(_Said):
    """What earlier changes left. ``links``, ``former``: by node, where links lead. ``came``: by what lies in the folder of
    releases, when it came there. ``trash``: by what lies in it, the note beside it."""

    links: dict[str, tuple[str, ...]] = {}
    former: dict[str, tuple[str, ...]] = {}
    came: dict[str, float] = {}
    trash: dict[str, Any] = {}


class HostFacts(_Said):
    """``time``: the host's clock; ``asked``, ``answered``: ours, around that (seconds since the epoch; 0: not known).
    ``machine_id``: which machine it is, "" unknown. ``there``: nodes that lie there, whatever the inventory says, with
    their files and links. ``unreadable``: why the inventory, which is there, cannot be read.
    ``table``: ours of the packet filter; "" when it is not loaded, None when the host has no nft; ``table_of_file``: how its
    file would be shown if that were loaded, "" unknown. ``asked_from``: our own address, as the host sees it; "" unknown.
    ``inside``: the names in our folders."""

    python: str
    machine: str
    system: str
    systemd: bool
    time: FiniteFloat
    asked: float = 0.0
    answered: float = 0.0
    user: bool
    paths: dict[str, PathFacts | None]
    texts: dict[str, str | None] = Field(repr=False)
    units: dict[str, UnitFacts]
    releases: tuple[str, ...]
    inventory: Recorded | None
    lock: dict[str, Any] | None
    ports: dict[int, str]
    disk: DiskFacts
    trees: dict[str, TreeFacts] = {}  # by release: those that nodes run or shall run
    at_rest: dict[str, AtRestFacts] = {}  # by the nodes' data folders: each may be a mount of its own
    table: str | None = None
    table_of_file: str = ""
    inside: dict[str, tuple[str, ...]] = {}
    asked_from: Annotated[str, BeforeValidator(_address)] = ""
    earlier: Earlier = Earlier()
    machine_id: str = ""
    unreadable: str = ""
    there: dict[str, tuple[str, ...]] = {}
    nginx: str = ""  # its program; "": not installed

    def settings(self, node: str) -> str | None:
        """The text of a node's settings as they are there."""
        return self.texts.get(str(layout.settings(node)))


def questions(host: DesiredHost) -> dict[str, Any]:
    """What ``on_host/look.py`` is asked about a host."""
    files = (*(each for node in host.nodes for each in node.files), *host.proxy.files)
    texts = [each.path for each in files if not each.secret]
    nginx = (layout.NGINX_UNIT,) if host.proxy.files else ()
    texts += [each.path for part in host.parts for each in part.files]
    return {
        "paths": [*host.paths, str(layout.INVENTORY), *sorted(layout.OF_PARTS)],
        "inventory": str(layout.INVENTORY),
        "lock": str(layout.LOCK),
        "texts": texts,
        "units": [*(each.unit for each in host.nodes), layout.FIREWALL_UNIT, *nginx],
        "releases": str(layout.RELEASES),
        "trees": [host.release.identity],
        "data": str(layout.DATA),
        "kept": [str(layout.data(each.name)) for each in host.nodes],
        "user": layout.USER,
        "ports": [*(each.settings.listen.port for each in host.nodes), *host.proxy.ports],
        "table": layout.TABLE,
        "rules": str(layout.FIREWALL),
        "folders": [
            *(each.path for node in host.nodes for each in node.directories),
            *(each.path for each in host.proxy.directories),
        ],
        "earlier": {
            "links": str(layout.NODES),
            "former": str(layout.FORMER),
            "releases": str(layout.RELEASES),
            "trash": str(layout.TRASH),
        },
        "there": {"settings": str(layout.SETTINGS), "links": str(layout.NODES), "units": str(layout.UNITS)},
    }


def read_facts(host: str, said: Any) -> HostFacts:
    """Raises HostError when it is not what ``look.py`` says."""
    try:
        return HostFacts.model_validate(_with_record(said))
    except ValidationError as error:
        where = "; ".join(".".join(map(str, each["loc"])) for each in error.errors()[:3])
        raise HostError(
            "facts-unreadable",
            f"host {host} did not say what is there",
            where=where,
            why="its answer has another form than this towpath's",
            next="run it again; if it stays so, report it with TOWPATH_DEBUG=1",
        ) from None


def _with_record(said: Any) -> Any:
    """A record that is none of ours is a fact too, so that it does not hide the others."""
    try:
        Recorded.model_validate(said["inventory"] or {})
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        return {**said, "inventory": None, "unreadable": f"its `{place}` is none that towpath writes"}
    except (LookupError, TypeError):
        pass  # the answer itself is none
    return said
