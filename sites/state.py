"""The state folder of a deployment: of ``towpath up`` on this machine, or of ``towpath apply`` on hosts, never of both.
Its layout, drawn once:

STATE/topology.json                 whose folder this is: name, file and hash of the topology, where its nodes run
STATE/lock                          held (flock) while nodes are started or stopped
STATE/addresses.json                {node: {"url": ...}}, as clients reach them
STATE/cleanup.json                  {scope: its cleanup rules in one line}, as the last apply left them
STATE/edges.json                    {kind: {name: {field: words}}} of edges, gates, freezes and keys, likewise
STATE/hosts.json                    where applies brought nodes and left trash; which are protected (remembered.py)
STATE/secrets/engine.token          the engine's own credential, 0600
STATE/nodes/NODE/settings.json      rendered; holds hashes of secrets, 0600
STATE/nodes/NODE/data/              the node's own folder: nothing else touches it
STATE/nodes/NODE/{node.log,pid}
STATE/nodes/NODE/robot               of a mirror or virtual: its login at our other nodes, 0600
STATE/nodes/NODE/logins/EXTERNAL     its login at an external registry, 0600
STATE/control.{log,pid,ready}
STATE/engine/                       promotions.db, ledger/SCOPE.ndjson
STATE/releases/RELEASE.tar.gz       what apply sends to hosts; beside it RELEASE.manifest, what is in it
STATE/secrets/tls/NODE.{crt,key}    certificates that apply issued, 0600
STATE/known_hosts                   the hosts' public keys, as ssh writes them
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sites.hosts import HostError


class Runs(StrEnum):
    """Where the nodes of a state folder run."""

    HERE = "here"
    HOSTS = "hosts"


@dataclass(frozen=True, slots=True)
class StateFolder:
    root: Path

    def node(self, name: str) -> Path:
        return self.root / "nodes" / name

    def settings(self, name: str) -> Path:
        return self.node(name) / "settings.json"

    def data(self, name: str) -> Path:
        return self.node(name) / "data"

    def log(self, name: str) -> Path:
        return self.node(name) / "node.log"

    def pid(self, name: str) -> Path:
        return self.node(name) / "pid"

    def robot(self, front: str) -> Path:
        return self.node(front) / "robot"

    def login(self, front: str, external: str) -> Path:
        return self.node(front) / "logins" / external

    @property
    def addresses(self) -> Path:
        return self.root / "addresses.json"

    @property
    def cleanup(self) -> Path:
        return self.root / "cleanup.json"

    @property
    def edges(self) -> Path:
        return self.root / "edges.json"

    @property
    def hosts(self) -> Path:
        return self.root / "hosts.json"

    @property
    def engine(self) -> Path:
        return self.root / "engine"

    @property
    def control_log(self) -> Path:
        return self.root / "control.log"

    @property
    def control_pid(self) -> Path:
        return self.root / "control.pid"

    @property
    def control_ready(self) -> Path:
        return self.root / "control.ready"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def issued(self) -> Path:
        return self.root / "secrets" / "tls"

    @property
    def known_hosts(self) -> Path:
        return self.root / "known_hosts"

    @property
    def _identity(self) -> Path:
        return self.root / "topology.json"

    @property
    def exists(self) -> bool:
        return self._identity.is_file()

    def nodes(self) -> tuple[str, ...]:
        """The nodes that have a folder here."""
        folder = self.root / "nodes"
        return tuple(sorted(each.name for each in folder.iterdir() if each.is_dir())) if folder.is_dir() else ()

    def claim(self, name: str, file: Path, runs: Runs = Runs.HERE) -> None:
        """Makes this the folder of a topology, or checks that it is. Raises HostError for another topology's, and for one
        whose nodes run elsewhere."""
        self.check(name, runs)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = {"name": name, "file": str(file.resolve()), "runs": runs, **_checked(file)}
        write_json(self._identity, told)

    @property
    def runs(self) -> Runs | None:
        """Where its nodes run; None: nowhere yet."""
        return Runs(read_json(self._identity).get("runs", Runs.HERE)) if self.exists else None

    def knows(self, file: Path) -> bool:
        """Whether these very bytes were claimed, and so checked, by this version of towpath."""
        try:
            found = json.loads(self._identity.read_bytes())
            return bool(_checked(file).items() <= found.items())
        except (OSError, ValueError, AttributeError):
            return False

    def check(self, name: str, runs: Runs | None = None) -> None:
        """Raises HostError when this is the folder of another topology, or no folder of ours at all; with ``runs`` also
        when its nodes run elsewhere."""
        if not self.exists:
            if self.root.exists() and any(each != self.known_hosts for each in self.root.iterdir()):
                raise HostError(
                    "not-a-state-folder",
                    f"{self.root} holds something else: it has no topology.json",
                    next="give an empty or a new folder with --state",
                )
            return
        found = read_json(self._identity)
        if found.get("name") != name:
            raise HostError(
                "state-of-another-topology",
                f"{self.root} is the state folder of topology {found.get('name')!r}, not of {name!r}",
                where=f"it was made for {found.get('file', 'an unknown file')}",
                why="two topologies in one folder would mix their nodes and their data",
                next="give another folder with --state, or the file it belongs to with -f",
            )
        if runs is not None and self.runs is not runs:
            raise _runs_elsewhere(self.root, runs)

    def engine_token(self) -> str:
        """The engine's credential; made when it is missing."""
        path = self.root / "secrets" / "engine.token"
        if path.is_file():
            return path.read_text().strip()
        token = secrets.token_urlsafe(32)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, f"{token}\n".encode())
        return token

    def write_addresses(self, urls: Mapping[str, str]) -> None:
        write_json(self.addresses, {node: {"url": url} for node, url in urls.items()})

    def read_addresses(self) -> dict[str, str]:
        """Node -> URL; empty when nothing has been started here."""
        if not self.addresses.is_file():
            return {}
        return {node: str(each["url"]) for node, each in read_json(self.addresses).items()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone with this folder's processes. Raises HostError while another command holds it."""
        with (self.root / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise HostError(
                    "state-busy",
                    f"another towpath command is starting or stopping nodes in {self.root}",
                    where=f"process {file.read().strip() or 'unknown'}",
                    next="wait until it is done and run this again",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def _runs_elsewhere(root: Path, wanted: Runs) -> HostError:
    words = {Runs.HERE: "on this machine (towpath up)", Runs.HOSTS: "on hosts (towpath apply)"}
    other = Runs.HOSTS if wanted is Runs.HERE else Runs.HERE
    return HostError(
        "state-of-another-deployment",
        f"{root} is the state folder of nodes {words[other]}, not {words[wanted]}",
        why="addresses, credentials and the ledger of the two would be mixed",
        next="give another folder with --state, for example --state .towpath-here",
    )


def _checked(file: Path) -> dict[str, str]:
    return {"sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "towpath": version("towpath")}


def read_json(path: Path) -> dict[str, Any]:
    """Raises HostError when the file is no JSON object."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HostError(
            "state-unreadable", f"{path} cannot be read: {error}", next="restore the file; the nodes' data is beside it"
        ) from None
    if not isinstance(found, dict):
        raise HostError("state-unreadable", f"{path} is not a JSON object", next="restore the file")
    return found


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_private(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def write_private(path: Path, content: bytes) -> None:
    """0600 from the first moment, and whole or not at all."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
