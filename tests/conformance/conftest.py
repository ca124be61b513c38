"""One line for each way of signing in, at the very end: what the official program found at both versions."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Reads what the tests recorded (``record_property``), which also comes back from the workers of xdist."""
    found: dict[str, list[str]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, line in report.user_properties if report.when == "call" else ():
                if name.startswith("conformance-"):
                    found.setdefault(name.removeprefix("conformance-"), []).append(str(line))
    for mode, lines in sorted(found.items()):
        terminalreporter.write_line(f"conformance ({mode}): " + "; ".join(sorted(lines, reverse=True)))
