"""The composition root of everything that moves images: topology + addresses + the engine's credential -> engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from promotions.database import DatabaseUnusable
from promotions.engine import Engine
from promotions.keys import KeyInvalid
from promotions.ledger import LedgerBroken
from promotions.outcome import Refused
from promotions.registries import Address, RemoteRegistries
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


@asynccontextmanager
async def engine_of(workspace: Workspace) -> AsyncIterator[Engine]:
    """The engine with its store and ledgers in the state folder. Closed on the way out."""
    folder = workspace.running_state().engine
    with translated():
        async with registries_of(workspace) as registries:
            store = Store.open(folder)
            try:
                yield Engine(workspace.topology, registries, store, folder / "ledger")
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
