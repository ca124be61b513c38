"""Which topology a verb is about, and the state folder of its deployment on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from sites.state import Runs, StateFolder
from towpath.exits import Exit
from towpath.problem import Problem

if TYPE_CHECKING:
    from topology.findings import Finding
    from topology.load import Loaded
    from topology.model import Topology

DEFAULT_FILE = "topology.yaml"


class Invalid(Problem):
    """A topology that cannot be used, with all of its findings."""

    def __init__(self, file: Path, findings: Sequence[Finding]) -> None:
        many = f"{len(findings)} errors" if len(findings) != 1 else "an error"
        super().__init__(
            "topology-invalid",
            f"{file} has {many}; nothing was started or changed",
            next="correct what is listed above; towpath explain CODE says more",
            exit=Exit.USAGE,
        )
        self.findings = tuple(findings)

    def as_text(self) -> str:
        from topology.report import as_text

        return f"{as_text(self.findings)}\n\n{super().as_text()}"

    def as_json(self) -> dict[str, Any]:
        from topology.report import as_records

        shown = super().as_json()
        return {"error": {**shown["error"], "findings": as_records(self.findings)}}


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Options of every verb that is about a topology."""

    file: Annotated[
        Path | None,
        Parameter(name=["--file", "-f"], help="The topology file (default: $TOWPATH_FILE, else topology.yaml here)."),
    ] = None
    state: Annotated[
        Path | None,
        Parameter(
            name="--state", help="The state folder (default: $TOWPATH_STATE, else .towpath beside the topology file)."
        ),
    ] = None

    def open(self) -> Workspace:
        """Reads the topology. Raises Invalid with every finding; Problem when there is no such file."""
        from topology.findings import errors
        from topology.load import load

        file = self.file or Path(os.environ.get("TOWPATH_FILE") or DEFAULT_FILE)
        if not file.is_file():
            raise Problem(
                "no-topology",
                f"there is no topology file {file}",
                next="give one with -f FILE, or go to the folder that holds topology.yaml",
                exit=Exit.USAGE,
            )
        state = StateFolder(self._state(file))
        loaded = load(file, rules=not state.knows(file))
        if loaded.topology is None or errors(loaded.findings):
            raise Invalid(file, errors(loaded.findings))
        return Workspace(file, loaded, loaded.topology, state)

    def open_if_any(self) -> Workspace | None:
        """None when none was asked for and there is none here: then only full addresses name images."""
        asked = self.file or os.environ.get("TOWPATH_FILE")
        return self.open() if asked or Path(DEFAULT_FILE).is_file() else None

    def _state(self, file: Path) -> Path:
        given = self.state or os.environ.get("TOWPATH_STATE")
        return Path(given).resolve() if given else file.resolve().parent / ".towpath"


HERE = Where()  # the default of every such verb's ``where``


@dataclass(frozen=True)
class Workspace:
    file: Path
    loaded: Loaded
    topology: Topology
    state: StateFolder

    def check_secrets(self) -> tuple[Finding, ...]:
        """Warnings about the secrets that running here needs. Raises Invalid: all that are missing or unusable."""
        from topology.findings import errors
        from topology.secrets import SecretKind, check

        found = check(self.loaded, [each for each in SecretKind if each is not SecretKind.TLS_KEY])
        if errors(found):
            raise Invalid(self.file, errors(found))
        return tuple(found)

    def arguments(self) -> list[str]:
        """What another towpath process must be given to be about the same."""
        return ["--file", str(self.file.resolve()), "--state", str(self.state.root)]

    @property
    def ledgers(self) -> Path:
        """The folder of the scopes' ledgers. Raises as ``running_state``."""
        return self.running_state().engine / "ledger"

    def running_state(self, runs: Runs | None = None) -> StateFolder:
        """The state folder, which must be this topology's and exist; with ``runs`` its nodes must run there. Raises
        HostError, Problem."""
        self.state.check(self.topology.metadata.name, runs)
        if not self.state.exists:
            from sites.desired.inventory import deployed_to_hosts

            raise Problem(
                "not-up",
                f"nothing was ever started from {self.file}",
                where=str(self.state.root),
                next=f"towpath {'apply' if deployed_to_hosts(self.topology) else 'up'} -f {self.file}",
            )
        return self.state
