"""Runs one node: listens, says ``ready``, drains on a signal (decision 0014).

Whatever keeps a node from starting ends as one message - what, where, why, what next - and exit status 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import ipaddress
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import uvloop

from registry_node import build, released, supervisor
from registry_node.app import App
from registry_node.connections import Connections
from registry_node.forwarded import Proxies
from registry_node.front import front_of
from registry_node.log_lines import take_logging
from registry_node.metrics import write_line
from registry_node.processes import Lifeline, Processes, WorkersFailed
from registry_node.reload import SettingsFile
from registry_node.settings import NodeSettings
from registry_node.shared_counts import Published, SharedCounts
from registry_node.storage.errors import CannotOpen
from registry_node.storage.files import BlobFiles
from registry_node.tls_certificate import Certificates, CertificateUnusable
from registry_node.tls_connection import tls_front_of

_BACKLOG = 2048
_TICKS = 10  # looks in a second at whether the node is to end
_ENDING = (signal.SIGTERM, signal.SIGINT)
_LAST_SECONDS = 1.0  # for what the drain did not wait for
T = TypeVar("T")
MakesConnection = Callable[[Connections], asyncio.Protocol]


class CannotStart(Exception):
    """The node cannot run; the message says what, where, why and what to do."""


class Watched(Protocol):
    """What may change while the node runs. Neither raises: what cannot be used is logged, and the old stays."""

    def look(self) -> None:
        """Once a second: takes what has changed."""

    def reload(self) -> None:
        """At SIGHUP: takes it, changed or not."""


class Place(NamedTuple):
    """What one of several processes has of the node."""

    lifeline: Lifeline
    counts: SharedCounts


class NodeServer:
    """Serves connections until a signal. At the first the node says that it is not ready, serves what is under way (at
    most ``drain`` seconds), then closes; the second ends at once."""

    def __init__(self, app: App, front: MakesConnection, drain: float, watched: Sequence[Watched] = ()) -> None:
        self._app, self._front, self._drain, self._watched = app, front, drain, watched
        self._connections = Connections(app, f"towpath/{released.version()}")
        self._until, self._at_once = 0.0, False

    def look(self) -> None:
        """Once a second."""
        self._connections.tell_time()
        for each in self._watched:
            each.look()

    def hang_up(self) -> None:
        """SIGHUP."""
        for each in self._watched:
            each.reload()

    def hear_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.hang_up)
        for each in _ENDING:
            loop.add_signal_handler(each, self.end)

    def end(self) -> None:
        """SIGTERM, SIGINT."""
        if self._until:
            self._at_once = True
        else:
            self._until = time.monotonic() + self._drain
            self._app.node.draining.set()
            supervisor.tell(supervisor.STOPPING)

    async def serve(self, listener: socket.socket) -> None:
        """Takes ``listener``, which is bound."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(partial(self._front, self._connections), sock=listener, backlog=_BACKLOG)
        for tick in count(1):
            if tick % _TICKS == 0:
                self.look()
            if self._ended:
                break
            await asyncio.sleep(1 / _TICKS)
        server.close()
        await self._connections.end(0 if self._at_once else _LAST_SECONDS)
        for each in _ENDING:
            loop.remove_signal_handler(each)  # what is left to do is not waited for twice

    @property
    def _ended(self) -> bool:
        drained = self._until and (self._app.in_flight == 0 or time.monotonic() > self._until)
        return self._at_once or bool(drained)


def run(settings: NodeSettings, source: Path | None = None) -> None:
    """Runs the node until SIGTERM or SIGINT. ``source``: the settings file, which is watched (reload.py). Raises
    SystemExit(1) when it cannot start."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until somebody listens to it
    _allow_files()
    take_logging()
    with _explained():
        (_run_several if settings.processes > 1 else _run_one)(settings, source)
        write_line(level="info", event="stopped", node=settings.node)


def _allow_files() -> None:
    """As many open files as the host lets us have: each connection is one, and the usual 1,024 are soon taken by clients
    that say nothing."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _run_one(settings: NodeSettings, source: Path | None) -> None:
    certificates = _certificates(settings)
    with _listening(settings) as listener:
        _complete(_serve(settings, source, listener, certificates))


def _run_several(settings: NodeSettings, source: Path | None) -> None:
    """The same in several processes (processes.py). One that is started anew begins with the pair of the first ones,
    so that a broken file on the disk keeps none from starting, and then looks for a newer pair."""
    certificates, counts = _certificates(settings), SharedCounts(settings.processes)

    def work(lifeline: Lifeline) -> None:
        with _explained():
            _complete(_serve(settings, source, listener, certificates, Place(lifeline, counts)))

    with _started(settings, build.prepared(settings)), _listening(settings) as listener:
        files = BlobFiles(settings.data)
        workers = Processes(settings.processes, work, files.forget_process, settings.limits.drain_seconds)
        try:
            workers.run(lambda: _say_ready(settings, listener))
        except WorkersFailed as error:
            raise CannotStart(f"node {settings.node}: {error}") from None


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except CannotStart as error:
        print(f"towpath serve: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _complete(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _listening(settings: NodeSettings) -> socket.socket:
    """A bound socket; connections wait in its queue until the node is ready. Raises CannotStart."""
    host, port = settings.listen.host, settings.listen.port
    where = f"node {settings.node} cannot listen on {host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        _check_declared(settings, str(address[0]))
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotStart(f"{where}: {error.strerror}. Check listen.host in the settings file") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"{where}: the port is in use. See who has it (ss -ltnp 'sport = :{port}'), stop it or change the port"
            ) from None
        raise CannotStart(f"{where}: {error.strerror}. Check listen in the settings file") from None
    return listener


def _check_declared(settings: NodeSettings, address: str) -> None:
    """A name such as localhost means what this machine says it means. Raises CannotStart."""
    if not settings.grants and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise CannotStart(
            f"node {settings.node}: no grants are declared, and {settings.listen.host} is {address} here: beyond loopback "
            "that is refused. Declare who may do what"
        )


async def _serve(
    settings: NodeSettings,
    source: Path | None,
    listener: socket.socket,
    certificates: Certificates | None,
    place: Place | None = None,
) -> None:
    """``place``: of this process among several."""
    if place is not None:
        place.lifeline.end_with_parent(listener.fileno())
    with _started(settings, build.opened(settings, shared=place is not None)) as app:
        watched = list(_watched(settings, source, app, certificates))
        if place is not None:
            watched.append(Published(place.counts, place.lifeline.slot, app.metrics))
        server = NodeServer(app, _front(settings, app, certificates), settings.limits.drain_seconds, watched)
        server.look()  # a worker that replaces a dead one was forked with the settings of long ago
        server.hear_signals()
        listener.listen(_BACKLOG)
        if place is None:
            _say_ready(settings, listener)
        else:
            place.lifeline.ready()
        gc.freeze()  # what the start has made stays: collections need not look at it
        await server.serve(listener)
        await app.aclose()


def _watched(
    settings: NodeSettings, source: Path | None, app: App, certificates: Certificates | None
) -> Iterator[Watched]:
    if supervisor.watched():
        yield supervisor.Heartbeat()
    if certificates is not None:
        yield certificates
    if source is not None:
        file = SettingsFile(source, settings, app.access.replace)
        app.settings_mark = lambda: file.mark
        app.metrics.watch(
            "registry_settings_refused",
            "1: the settings file cannot be used, older settings hold",
            lambda: file.refused,
        )
        yield file


def _say_ready(settings: NodeSettings, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    where = {"scheme": "https" if settings.tls else "http", "host": host, "port": port}
    supervisor.tell(supervisor.READY)
    write_line(level="info", event="ready", node=settings.node, scope=settings.scope, **where)


def _certificates(settings: NodeSettings) -> Certificates | None:
    """None: the node speaks plain HTTP. Raises CannotStart."""
    if settings.tls is None:
        return None
    try:
        return Certificates(settings.tls.certificate, settings.tls.key)
    except CertificateUnusable as error:
        raise CannotStart(f"node {settings.node}: tls: {error}") from None


def _front(settings: NodeSettings, app: App, certificates: Certificates | None) -> MakesConnection:
    """What makes the protocol of a new connection."""
    proxies = Proxies(settings.proxies, settings.proxy_headers)
    front = front_of(app.at_once, settings.limits, app.refused, proxies)
    if certificates is None:
        return front
    left, failed = certificates.seconds_left, "registry_tls_failed_handshakes"
    app.metrics.watch("registry_tls_certificate_expiry_seconds", "Until the certificate expires; negative: since", left)
    app.metrics.watch(failed, "TLS handshakes that failed", lambda: float(certificates.handshakes_failed))
    return tls_front_of(front, certificates, settings.limits.head_seconds)


@contextmanager
def _started(settings: NodeSettings, node: AbstractContextManager[T]) -> Iterator[T]:
    """Whatever a node's storage and keys refuse becomes CannotStart."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(node)
        except (CannotOpen, OSError, ValueError) as error:
            raise CannotStart(f"node {settings.node}: {error}") from None
        yield started
