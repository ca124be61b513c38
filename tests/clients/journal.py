"""What a node's log says that a client has asked for: the other half of a journey."""

from __future__ import annotations

import os
import re
import time
from typing import Any

from tests.nodes import Logged, log_lines

# Statuses that no request of a real client should earn: we would be refusing what other registries take.
_SPURNED = (400, 405, 406, 411, 413, 415, 416, 429)


class Journal:
    """The requests since it was made (or since ``turn_page``), as the node's log lines.

    ``expected``: statuses that a test means to cause; all other refusals as malformed fail it."""

    def __init__(self, node: Logged) -> None:
        self._node, self._page = node, 0
        self.expected: set[int] = set()
        self._begin = self._page = len(self._all())

    def turn_page(self) -> None:
        """From here on only what comes now."""
        self._page = len(self._all())

    def lines(self, method: str = "", path: str = "", status: int = 0) -> list[dict[str, Any]]:
        """Those with this method, status and a path in which the expression is found, oldest first."""
        return [
            each
            for each in self._all()[self._page :]
            if (not method or each["method"] == method)
            and (not status or each["status"] == status)
            and re.search(path, each["path"])
        ]

    def count(self, method: str = "", path: str = "", status: int = 0) -> int:
        return len(self.lines(method, path, status))

    def spurned(self) -> list[dict[str, Any]]:
        """Requests that were refused as malformed, and those at which the node broke; all since the beginning. A TLS
        greeting is neither."""
        bad = [each for each in self._all()[self._begin :] if each["status"] in _SPURNED or each["status"] >= 500]
        return [each for each in bad if each["path"] and each["status"] not in self.expected]

    def assert_signed_in(self, name: str) -> None:
        """They asked for tokens, and all content that was granted after that went to this name."""
        assert self.count(path="^/auth/token$", status=200), "nobody asked for a token"
        granted = [each for each in self.lines(path="^/v2/.") if each["status"] < 400]
        assert granted
        assert {each["who"] for each in granted} == {name}

    def _all(self) -> list[dict[str, Any]]:
        """Every request line so far. The node writes them in bundles: wait for one that is known to be the last."""
        mark = f"mark-{os.urandom(8).hex()}"
        with self._node.client(None) as client:
            client.get("/nowhere", headers={"x-request-id": mark})
        until = time.monotonic() + 10
        while time.monotonic() < until:
            lines = [each for each in log_lines(self._node) if "method" in each]
            if any(each["request_id"] == mark for each in lines):
                return [each for each in lines if not each["request_id"].startswith("mark-")]
            time.sleep(0.05)
        raise AssertionError("the node did not log a request within ten seconds")
