"""For all tests: what hypothesis tries is judged by its outcome, not by the pace of the machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Here, since with xdist the process that writes the summary reads no conftest below this one.
from tests.conformance.told import pytest_unconfigure

__all__ = ["pytest_unconfigure"]
settings.register_profile("any-pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-pace")
