"""Request heads that were read before. Clients send the same header lines with request after request, and many ask
for the same things: what the first reading found holds for the same bytes again.

A request line and the header lines after it are remembered apart; header lines only out of heads that the strict
reader (heads.py) took. They hold credentials: they are known by a keyed hash alone, for as long as what they prove
holds: until it expires, or the node's users and grants are replaced.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from oci_wire import routes
from oci_wire.digest import looks_like_digest
from oci_wire.errors import RegistryError
from oci_wire.routes import Endpoint
from registry_node.access import Access, Caller
from registry_node.heads import Head
from registry_node.metrics import Kind, Tally, quoted
from registry_node.outside import NAMESPACE, PREFIX
from registry_node.policy import Policy
from registry_node.recent import Recent
from registry_node.records import Records, logged_as

Header = tuple[bytes, bytes]
_TARGETS, _ASKERS = 16384, 2048
_LONGEST_HEADERS = 16384  # bytes; others are read each time
_LINE = re.compile(rb"(GET|HEAD) (/v2/[A-Za-z0-9._:/%+-]{1,1000}(?:\?ns=[A-Za-z0-9.:-]{1,270})?) HTTP/1\.1")
_FORWARDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"))
# Headers that change nothing about this answer; any other one takes the long way.
_PLAIN = _FORWARDED | frozenset((
    *(b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"connection", b"docker-upload-uuid"),
    *(PREFIX, NAMESPACE),  # a whole answer of the short way names no repository
    *(b"x-forwarded-port", b"x-forwarded-server", b"x-real-ip", b"x-meta-source-client", b"traceparent", b"cookie"),
))  # fmt: skip
HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,270}")


@dataclass(slots=True, eq=False)
class Target:
    """What is asked for. ``tag`` None: a digest, as ``reference`` is then; ``logged``: method and path for the log;
    ``ns``: the registry that is meant, of which a mirror alone takes notice (containerd's ``?ns=``)."""

    head: bool
    repository: str
    reference: str
    tag: str | None
    blob: bool
    logged: str
    tally: Tally
    ns: str = ""
    _open_to: Asker | None = None
    plan: Any = None  # of a virtual: whom it asks, for the last asker (registries/virtual/short_way.py)

    def is_open_to(self, asker: Asker) -> bool:
        """Whether their grants let them pull it. The last one is remembered: an asker's grants never change."""
        if self._open_to is asker:
            return True
        if not asker.caller.may_pull_at_once(self.repository, self.tag):
            return False
        self._open_to = asker
        return True


class Asker(NamedTuple):
    """Who asks, as header lines show it. ``until``: seconds since the epoch; ``logged``: their name for the log."""

    caller: Caller
    name: str
    policy: Policy
    until: float
    logged: str
    forwarded: tuple[Header, ...]


class KnownHeads:
    """One memory for all connections of a node."""

    def __init__(self, access: Access, records: Records) -> None:
        self._access = access
        self._targets: Recent[bytes, Target] = Recent(_TARGETS)
        self._askers: Recent[bytes, Asker] = Recent(_ASKERS)
        self._hash = hashlib.blake2b(key=secrets.token_bytes(32), digest_size=32)
        self._tallies = {
            (method, endpoint): records.tally(Kind(method, endpoint.value, 200))
            for method in ("GET", "HEAD")
            for endpoint in (Endpoint.MANIFEST, Endpoint.BLOB)
        }

    def find(self, content: bytes) -> tuple[Target, Asker] | None:
        """``content``: what may be a whole request head. None: it must be read."""
        end = content.find(b"\r")
        asker = self._askers.get(self._mark(content[end:]))
        if asker is None or asker.policy is not self._access.policy or asker.until <= time.time():
            return None
        target = self._targets.get(content[:end]) or self._read_line(content[:end])
        return None if target is None else (target, asker)

    def learn(self, content: bytes, head: Head) -> tuple[Target, Asker] | None:
        """``head``: what the strict reader found in ``content``. None: this is nothing for the short way."""
        end = content.find(b"\r")
        target = self._read_line(content[:end])
        if target is None or not (head.keep_alive and head.body.complete):
            return None
        asker = self.asker(head.headers)
        if asker is None:
            return None
        if len(content) - end <= _LONGEST_HEADERS:
            self._askers.put(self._mark(content[end:]), asker)
        return target, asker

    def _read_line(self, line: bytes) -> Target | None:
        """Of characters that are the same to every reader; others take the long way."""
        found = _LINE.fullmatch(line)
        target = self.target(found[1].decode(), found[2]) if found else None
        if target is not None:
            self._targets.put(line, target)
        return target

    def target(self, method: str, path: bytes) -> Target | None:
        """What a GET or HEAD of this path (and query), as it was sent, asks for; None: no manifest and no blob."""
        text = path.decode("latin-1")
        try:
            route = routes.parse(text)
        except RegistryError:
            return None
        tally = self._tallies.get((method, route.endpoint)) if route is not None else None
        if route is None or tally is None:
            return None
        blob = route.endpoint is Endpoint.BLOB
        tag = None if blob or looks_like_digest(route.target) else route.target
        logged, ns = logged_as(method, text.partition("?")[0]), route.get("ns") or ""
        return Target(method == "HEAD", route.repository, route.target, tag, blob, logged, tally, ns)

    def asker(self, headers: Iterable[Header]) -> Asker | None:
        """None: their credentials are new, do not hold, or there is a header that may change the answer."""
        authorization: bytes | None = None
        hosts, forwarded = [], []
        for header in headers:
            name, value = header
            if name == b"authorization" and authorization is None:
                authorization = value
            elif name not in _PLAIN:
                return None
            elif name in _FORWARDED:
                forwarded.append(header)
            elif name == b"host":
                hosts.append(value)
        if len(hosts) != 1 or not HOST.fullmatch(hosts[0].decode("latin-1")):
            return None
        found = self._access.known((authorization or b"").decode("latin-1"))
        if found is None:
            return None
        caller, until = found
        who = caller.who.name
        logged = f'"who": {quoted(who or "-")}, '
        return Asker(caller.puller(), who, caller.policy, until, logged, tuple(forwarded))

    def _mark(self, lines: bytes) -> bytes:
        running = self._hash.copy()
        running.update(lines)
        return running.digest()
