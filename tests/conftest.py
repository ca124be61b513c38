"""For all tests: what hypothesis tries is judged by its outcome, not by the pace of the machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("any-pace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-pace")
