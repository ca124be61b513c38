"""Who there is: users, robots, issuers that vouch for them, groups; and what a scope lets them do."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from identity.grants import Action
from topology.declared import Declared, Owned, SecretRef
from topology.values import EVERYTHING, Flag, Globs, IssuerName, SiteName, UserName, WebAddress, Who


class User(Owned):
    """A person (bcrypt hash of a password) or a robot (token)."""

    robot: Flag = False
    password: SecretRef | None = None
    token: SecretRef | None = None

    @model_validator(mode="after")
    def _has_one_credential(self) -> User:
        if (self.password is None) == (self.token is None):
            raise ValueError("needs either a password (people) or a token (robots)")
        return self


class Issuer(Owned):
    oidc: WebAddress
    audience: str = Field(min_length=1)


class ClaimRule(Declared):
    """Which tokens of an issuer make their bearer a member. All claims must match exactly."""

    issuer: IssuerName
    claim: str | None = None
    value: str | None = None
    claims: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _asks_for_something(self) -> ClaimRule:
        if (self.claim is None) != (self.value is None):
            raise ValueError("needs claim and value together")
        if self.claim is None and not self.claims:
            raise ValueError("needs claim and value, or claims: without one every token of the issuer would do")
        return self

    @property
    def required(self) -> dict[str, str]:
        single = {self.claim: self.value} if self.claim is not None and self.value is not None else {}
        return {**self.claims, **single}


class Group(Owned):
    users: tuple[UserName, ...] = ()
    oidc: ClaimRule | None = None


class ScopeGrant(Declared):
    """``to`` (a user, a group, everyone, authenticated) may do ``allow``; at ``sites`` only, when given."""

    to: Who
    allow: tuple[Action, ...] = Field(min_length=1)
    repositories: Globs = EVERYTHING
    tags: Globs = EVERYTHING
    sites: Annotated[tuple[SiteName, ...], Field(min_length=1)] | None = None
