"""Requests in, answers out, a line each; every request in a greenlet of its own, so that hosts do not wait for hosts."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from gevent.fileobject import FileObject
from gevent.lock import BoundedSemaphore
from gevent.pool import Group

from sites.remote.connection import Connections, Failed

_one_at_a_time = BoundedSemaphore()


def serve() -> None:
    """Until the end of the input."""
    logging.disable(logging.CRITICAL)  # what pyinfra logs is told in the answers
    lines = _lines()
    connections, group = Connections(next(lines)), Group()
    for request in lines:
        group.spawn(_answer, connections, request)
    group.kill()


def _lines() -> Iterator[dict[str, Any]]:
    with FileObject(sys.stdin.fileno(), "rb", close=False) as file:
        for line in file:
            yield json.loads(line)


def _answer(connections: Connections, request: dict[str, Any]) -> None:
    verb = {"look": connections.look, "change": connections.change}[request["verb"]]
    try:
        told = {"answer": verb(request["host"], request["told"], request["seconds"])}
    except Failed as failed:
        told = {"error": failed.told}
    except Exception as error:
        traceback.print_exc()
        told = {"error": {"code": "ssh-failed", "what": f"met {type(error).__name__}", "why": str(error), "next": ""}}
    with _one_at_a_time:
        sys.stdout.write(json.dumps({"id": request["id"], **told}) + "\n")
        sys.stdout.flush()
