"""One line for each way of signing in, as the very last: what the official program found at both versions."""

from __future__ import annotations

import pytest


def pytest_unconfigure(config: pytest.Config) -> None:
    """Reads what the tests recorded (``record_property``), which also comes back from the workers of xdist."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    found: dict[str, list[str]] = {}
    for outcome in ("passed", "failed") if reporter is not None else ():
        for report in reporter.getreports(outcome):
            for name, line in report.user_properties if report.when == "call" else ():
                if name.startswith("conformance-"):
                    found.setdefault(name.removeprefix("conformance-"), []).append(str(line))
    for mode, lines in sorted(found.items()):
        reporter.write_line(f"conformance: {'; '.join(sorted(lines, reverse=True))} ({mode})")
