"""What is kept of every request: an id of its own, its counts, its line in the log. One place for all ways of an answer.

A line holds who asked and for which path: never a header, a query or a secret.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import time
import traceback
from dataclasses import dataclass, field

from oci_wire.errors import RegistryError
from registry_node.access import Challenged
from registry_node.messages import Request
from registry_node.metrics import Kind, Metrics, RequestLog, Tally, quoted, write_line

PROBES = ("/healthz", "/readyz", "/metrics")  # for machines that ask every few seconds: no log line each
_KNOWN_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"))
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PATH = 1000  # characters of it that are logged


class _Ids:
    """Unique: 64 random bits for this process, then a number."""

    def __init__(self) -> None:
        self._next = itertools.count(1).__next__
        self.draw()
        os.register_at_fork(after_in_child=self.draw)

    def draw(self) -> None:
        self._process = secrets.token_hex(8)

    def __call__(self) -> str:
        return f"{self._process}{self._next():016x}"


new_request_id = _Ids()


@dataclass(slots=True)
class Trace:
    """What is known of a request so far, for metrics and the log. 499: the client left before an answer."""

    request_id: str = field(default_factory=new_request_id)
    began: float = field(default_factory=time.monotonic)
    handler: str = "none"
    who: str = "-"
    status: int = 499
    sent: int = 0
    code: str = ""  # of a refusal, with one word for why, and the declared user that wrong credentials named
    why: str = ""
    tried: str = ""
    notes: dict[str, str] = field(default_factory=dict)  # headers that the registry wants beside the answer (port)

    @classmethod
    def of(cls, request: Request) -> Trace:
        """Under the id that the client gave, when it is one."""
        given = request.headers.get("x-request-id", "")
        return cls(given) if _REQUEST_ID.fullmatch(given) else cls()

    def refused(self, error: RegistryError) -> None:
        self.code, self.why = error.code, error.why
        self.tried = error.tried if isinstance(error, Challenged) else ""

    def refusal(self) -> dict[str, str]:
        """For the log line: only what there is."""
        said = {"code": self.code, "why": self.why, "tried": self.tried}
        return {name: value for name, value in said.items() if value}


class Records:
    """``log``: None keeps counts alone."""

    def __init__(self, metrics: Metrics, log: RequestLog | None) -> None:
        self.metrics, self.log = metrics, log

    def add(self, request: Request, trace: Trace) -> None:
        """A request that ended."""
        seconds = time.monotonic() - trace.began
        method = request.method if request.method in _KNOWN_METHODS else "other"
        kind = Kind(method, trace.handler, trace.status)
        self.metrics.tally(kind).add(seconds, trace.sent, request.received)
        if self.log is not None and (request.path not in PROBES or trace.handler == "none"):
            self.log.add(
                level="info",
                request_id=trace.request_id,
                remote=request.remote,
                who=trace.who,
                method=method,
                path=request.path[:_PATH],
                status=trace.status,
                received=request.received,
                sent=trace.sent,
                ms=round(seconds * 1000, 2),
                **trace.refusal(),
            )

    def tally(self, kind: Kind) -> Tally:
        return self.metrics.tally(kind)

    def add_prompt(self, tally: Tally, said: str, remote: str, sent: int, began: float) -> str:
        """A 200 of the short way; its request id. ``said``: ``who``, ``method`` and ``path`` as they stand in the log.
        The same line as ``add`` writes, for a fraction of its time."""
        request_id = new_request_id()
        seconds = time.monotonic() - began
        tally.add(seconds, sent)
        if self.log is not None:
            self.log.append(
                f'{{"time": {time.time():.3f}, "level": "info", "request_id": "{request_id}", '
                f'"remote": {quoted(remote)}, {said}, "status": 200, "received": 0, "sent": {sent}, '
                f'"ms": {seconds * 1000:.2f}}}\n'
            )
        return request_id

    def report(self, trace: Trace, error: Exception) -> None:
        """What no request should end with, with its trace, at once."""
        where = traceback.format_exception(error)
        write_line(level="error", request_id=trace.request_id, handler=trace.handler, trace="".join(where))


def logged_as(method: str, path: str) -> str:
    """Method and path as they stand in a line of the log."""
    return f'"method": {quoted(method)}, "path": {quoted(path[:_PATH])}'
