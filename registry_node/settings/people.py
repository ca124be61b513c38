"""Who may sign in, who may do what and how often, and the tokens that say so."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from identity.grants import Action, Grant
from registry_node.settings.shape import Name, Strict


class User(Strict):
    """A person (bcrypt hash) or a robot (SHA-256 of its token, hex). Never a secret itself."""

    robot: bool = Field(default=False, description="A program, no person; `write: robots` asks for this.")
    password_bcrypt: str | None = Field(
        default=None,
        pattern=r"^\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}$",
        description="The password's bcrypt hash, as `htpasswd -nB` writes it.",
    )
    token_sha256: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of a robot's token, in hex."
    )
    groups: tuple[Name, ...] = Field(default=(), description="Groups that the user is in; a grant may name one.")

    @model_validator(mode="after")
    def _has_one_credential(self) -> Self:
        if (self.password_bcrypt is None) == (self.token_sha256 is None):
            raise ValueError("a user needs either password_bcrypt or token_sha256")
        return self


class GrantSettings(Strict):
    to: Name = Field(description="A user, a group, `everyone` (also without credentials) or `authenticated`.")
    allow: tuple[Action, ...] = Field(min_length=1, description="What they may do.")
    repositories: tuple[str, ...] = Field(default=("**",), description="Globs of repository names; `**` crosses `/`.")
    tags: tuple[str, ...] = Field(default=("**",), description="Globs of tag names.")

    def grant(self) -> Grant:
        return Grant(self.to, frozenset(self.allow), self.repositories, self.tags)


class Tokens(Strict):
    """Our own ES256 tokens (distribution's token authentication)."""

    ttl: int = Field(default=300, ge=60, le=3600, description="Seconds that an access token lives.")
    refresh_ttl: int = Field(
        default=30 * 24 * 3600,
        ge=0,
        le=366 * 24 * 3600,
        description="Seconds that a refresh token lives, which `docker login` keeps in place of the password; it ends "
        "earlier when the password or robot token changes or the user goes. 0: none are issued or taken.",
    )
    leeway: int = Field(
        default=60, ge=0, le=300, description="Seconds by which the clocks of those who share tokens may differ."
    )


class Rate(Strict):
    """So many at once, then so many a second."""

    per_second: float = Field(gt=0, le=1_000_000, description="Requests that are let in each second, over time.")
    burst: int = Field(ge=1, le=1_000_000, description="Requests that may come at once.")


class RateLimits(Strict):
    """Beyond a limit: 429 TOOMANYREQUESTS with Retry-After. Each process of a node counts for itself. /healthz, /readyz
    and /metrics are not counted. What is not given is not limited."""

    identity: Rate | None = Field(
        default=None, description="Of one user or robot, wherever it asks from. Anonymous callers count by address."
    )
    address: Rate | None = Field(
        default=None, description="Of one IPv4 address or IPv6 /64, the client's behind declared proxies."
    )
    failed_logins: Rate | None = Field(
        default=None,
        description="Wrong passwords and tokens for one name from one address; ten times as many over all names. Beyond "
        "it that address gets no answer to that name's password, right or wrong; its bearer tokens go on.",
    )
