"""The composition root of everything that moves images: topology + addresses + the engine's credential -> engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from promotions.cleanup import Cleaner
from promotions.database import DatabaseUnusable
from promotions.engine import Engine
from promotions.keys import KeyInvalid
from promotions.ledger import LedgerBroken
from promotions.outcome import Refused
from promotions.progress import Watch, unwatched
from promotions.registries import Address, RemoteRegistries
from promotions.replicate import Replicator
from promotions.store import Store
from promotions.transfer import SourceIncomplete
from sites.credentials import ENGINE
from topology.secrets import SecretUnreadable
from towpath.exits import Exit
from towpath.problem import Problem
from towpath.workspace import Workspace


def registries_of(workspace: Workspace) -> RemoteRegistries:
    """Every node of the topology, spoken to as the engine."""
    state = workspace.running_state()
    token = state.engine_token()
    addresses = {node: Address(url, ENGINE, token) for node, url in state.read_addresses().items()}
    return RemoteRegistries(workspace.topology, addresses)


@dataclass(frozen=True, slots=True)
class Parts:
    """What moves images and what takes them away, over one store and one set of ledgers."""

    engine: Engine
    replicator: Replicator
    cleaner: Cleaner
    store: Store
    ledgers: Path


def ledgers_of(workspace: Workspace) -> Path:
    return workspace.running_state().engine / "ledger"


@asynccontextmanager
async def opened(workspace: Workspace, *, watch: Watch = unwatched, confirm: bool = False) -> AsyncIterator[Parts]:
    """All of it, with its database open. ``confirm``: a person said yes to many deletions. Raises Problem."""
    topology, ledgers = workspace.topology, ledgers_of(workspace)
    with translated():
        async with registries_of(workspace) as registries:
            store = Store.open(workspace.state.engine)
            try:
                yield Parts(
                    Engine(topology, registries, store, ledgers),
                    Replicator(topology, registries, store, ledgers, watch=watch, confirm=confirm),
                    Cleaner(topology, registries, store, ledgers),
                    store,
                    ledgers,
                )
            finally:
                store.close()


@contextmanager
def translated() -> Iterator[None]:
    """What the promotions room raises, as Problems."""
    try:
        yield
    except SourceIncomplete as error:
        raise Problem(
            "source-incomplete",
            str(error),
            next="push the image to the source again; nothing was tagged at the target",
            exit=Exit.INTEGRITY,
        ) from None
    except Refused as error:
        exit_status = Exit.FAILED if error.failed else Exit.REFUSED
        raise Problem(_code(error.code), error.reason, next=error.remedy, exit=exit_status) from None
    except DatabaseUnusable as error:
        raise Problem(
            "database-unusable", str(error), next="do what the message says; the nodes are untouched"
        ) from None
    except LedgerBroken as error:
        next_step = "nothing is appended to it until someone has looked: compare it with a copy"
        raise Problem("ledger-broken", str(error), next=next_step, exit=Exit.INTEGRITY) from None
    except KeyInvalid as error:
        raise Problem(
            "key-invalid", str(error), next="give the right key, or its COSIGN_PASSWORD", exit=Exit.USAGE
        ) from None
    except SecretUnreadable as error:
        raise Problem("secret-missing", str(error), next=error.help, exit=Exit.USAGE) from None


def _code(code: str) -> str:
    return code.lower().replace("_", "-")
