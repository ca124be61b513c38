"""Settings become a running node: the local registry, its views, access, tokens, metrics, the app."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from identity.signing_key import SigningKey
from identity.tokens import TokenSigner
from registry_node.access import Access
from registry_node.app import App
from registry_node.credentials import Credentials
from registry_node.exchange import Node
from registry_node.metrics import Metrics, RequestLog
from registry_node.policy import Policy
from registry_node.prompt import Prompt, Reads
from registry_node.rate_limits import RateLimiter
from registry_node.records import Records
from registry_node.registries import views
from registry_node.registries.local import LocalRegistry
from registry_node.registries.through import Whole
from registry_node.settings import NodeSettings
from registry_node.storage.store import Store
from registry_node.token_api import TokenApi

KEY_FILE = Path("keys") / "token.pem"  # in the data folder


def app_of(settings: NodeSettings, registry: Whole, *, reads: Reads | None = None, log: bool = True) -> App:
    """The app of one node over any registry; ``reads`` opens the short way (prompt.py).

    Raises OSError or ValueError when the signing key cannot be had."""
    key = SigningKey.load_or_create(settings.data / KEY_FILE)
    lives = settings.tokens
    signer = TokenSigner(key, settings.node, ttl=lives.ttl, refresh_ttl=lives.refresh_ttl, leeway=lives.leeway)
    limiter = RateLimiter(settings.rate_limits)
    credentials = Credentials(settings.users, signer, limiter)
    node = Node(
        settings.node,
        views.over(registry, settings.rules),
        settings.limits.manifest_bytes,
    )
    access, metrics = Access(credentials, Policy.of(settings), limiter), Metrics()
    records = Records(metrics, RequestLog() if log else None)
    _watch(metrics, settings.data)
    return App(
        node,
        access,
        TokenApi(credentials, access, signer, settings.node),
        records,
        prompt=Prompt(reads, access, records) if reads is not None else None,
    )


def _watch(metrics: Metrics, data: Path) -> None:
    """What an operator asks of every node."""
    started = time.time()
    metrics.watch("towpath_start_time_seconds", "When the node's newest process began, Unix time", lambda: started)
    metrics.watch(
        "registry_storage_free_bytes", "Free space under the data folder", lambda: shutil.disk_usage(data).free
    )
    metrics.watch(
        "registry_storage_size_bytes", "Size of the data folder's file system", lambda: shutil.disk_usage(data).total
    )


@contextmanager
def prepared(settings: NodeSettings) -> Iterator[None]:
    """The data folder is up to date and ours, and all that its processes share is there. Raises as ``opened``."""
    with closing(Store.prepare(settings.data, settings.index.dsn())):
        SigningKey.load_or_create(settings.data / KEY_FILE)
        yield


@contextmanager
def opened(settings: NodeSettings, *, shared: bool = False) -> Iterator[App]:
    """The whole node, its storage open. ``shared``: as one of several processes, after ``prepared``.

    Raises CannotOpen (storage/errors.py), OSError, ValueError."""
    if settings.kind != "local":
        with (_virtual if settings.kind == "virtual" else _mirror)(settings) as app:
            yield app
        return
    registry = LocalRegistry.open(
        settings.data,
        settings.rules,
        limits=settings.limits,
        node=settings.node,
        scope=settings.scope,
        shared=shared,
        dsn=settings.index.dsn(),
    )
    with closing(registry):
        app = app_of(settings, registry, reads=registry.reads)
        yield app
        if app.log is not None:
            app.log.flush()


@contextmanager
def _virtual(settings: NodeSettings) -> Iterator[App]:
    """Its members' grants are its own, as they are now, where they declare none. Raises OSError, ValueError."""
    from registry_node.registries.virtual.opened import opened as virtual_of  # noqa: PLC0415 - others start without httpx
    from registry_node.registries.virtual.opened import watch  # noqa: PLC0415
    from registry_node.registries.virtual.short_way import MembersPrompt  # noqa: PLC0415

    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    registry = virtual_of(settings, lambda: app.access.policy.grants)
    app = app_of(settings, registry)
    app.prompt = MembersPrompt(registry, app.access, app.records)
    app.closing.append(registry.aclose)
    watch(app.metrics, registry)
    yield app
    if app.log is not None:
        app.log.flush()


@contextmanager
def _mirror(settings: NodeSettings) -> Iterator[App]:
    from registry_node.registries.mirror.opened import opened as mirror_of  # noqa: PLC0415 - others start without httpx
    from registry_node.registries.mirror.opened import watch  # noqa: PLC0415
    from registry_node.registries.mirror.reads import MirrorPrompt  # noqa: PLC0415

    registry = mirror_of(settings)
    with closing(registry):
        app = app_of(settings, registry)
        app.prompt = MirrorPrompt(registry.reads, app.access, app.records)
        app.closing.append(registry.aclose)
        watch(app.metrics, registry)
        yield app
        if app.log is not None:
            app.log.flush()
