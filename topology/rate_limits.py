"""How many requests a node takes from one caller (429 beyond that): of a scope, or of one of its nodes instead."""

from __future__ import annotations

from pydantic import model_validator

from topology.declared import Declared
from topology.values import Count, RequestRate


class RateLimit(Declared):
    """``burst`` requests at once, then ``rate``."""

    rate: RequestRate
    burst: Count


class RateLimits(Declared):
    """Each node counts for itself. ``failedLogins`` are those for one name from one address."""

    per_identity: RateLimit | None = None
    per_address: RateLimit | None = None
    failed_logins: RateLimit | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> RateLimits:
        if not any((self.per_identity, self.per_address, self.failed_logins)):
            raise ValueError("should limit something: perIdentity, perAddress or failedLogins")
        return self
