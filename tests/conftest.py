"""For all tests: what hypothesis tries is judged by its outcome, not by the pace of the machine."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Here, since with xdist the process that writes the summary reads no conftest below this one.
from tests.conformance.told import pytest_unconfigure

__all__ = ["pytest_unconfigure"]
settings.register_profile("any-pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-pace")

# Who starts the tests in the background of a script has them ignore Ctrl-C, and so would every program that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
