"""Scopes: namespaces of images with one purpose and one set of rules; and the promises made for them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from identity.grants import WritePolicy
from topology.declared import Declared, Owned
from topology.people import ScopeGrant
from topology.rate_limits import RateLimits
from topology.values import (
    Count,
    Cron,
    Duration,
    Expression,
    Flag,
    Glob,
    Globs,
    NodeName,
    Percent,
    Rate,
    SiteName,
    Size,
    SlaName,
    Timezone,
    WhoAll,
)


class ScopeClass(StrEnum):
    DEV = "dev"
    CI = "ci"
    PROD = "prod"
    ARCHIVE = "archive"


def _none(value: Any) -> Any:
    return None if value == "none" else value


NoneOrDuration = Annotated[Duration | None, BeforeValidator(_none, json_schema_input_type=Duration | Literal["none"])]


class Sla(Owned):
    """Objectives. ``rpo``, ``rto``: None means none is promised."""

    availability: Percent
    pull_p95: Duration | None = Field(default=None, alias="pullP95")
    throughput: Rate | None = None
    rpo: NoneOrDuration = None
    rto: NoneOrDuration = None
    min_failure_domains: Count = 1
    at_rest: Literal["encrypted"] | None = None


class Naming(Declared):
    """Regular expressions, matched against the whole name."""

    repository: Expression | None = None
    tag: Expression | None = None


class Quota(Declared):
    bytes: Size
    per_repository: Size | None = None
    on_exceed: Literal["reject", "evict-lru"] = "reject"
    warn_at: Percent | None = None


class KeepRule(Declared):
    """What stays: a tag that fits every condition given here. A tag that fits one rule of the list stays."""

    pushed_within: Duration | None = None
    pulled_within: Duration | None = None
    newest: Count | None = None
    per: Literal["repository"] | None = None
    tags: Globs | None = None

    @model_validator(mode="after")
    def _says_what(self) -> KeepRule:
        if not any((self.pushed_within, self.pulled_within, self.newest, self.tags)):
            raise ValueError("should say what stays: pushedWithin, pulledWithin, newest or tags")
        if self.per and not self.newest:
            raise ValueError("`per` goes with `newest`")
        return self


class Cleanup(Declared):
    """When to clean and what stays. ``trash``: how long what went can be restored; ``maxPercent``: ask above it."""

    every: Duration | None = None
    cron: Cron | None = None
    timezone: Timezone = "UTC"
    keep: tuple[KeepRule, ...] = Field(min_length=1)
    untagged_after: Duration | None = None
    trash: Duration | None = None
    max_percent: Percent = 50.0

    @model_validator(mode="after")
    def _has_one_schedule(self) -> Cleanup:
        if (self.every is None) == (self.cron is None):
            raise ValueError("needs either `every` or `cron`")
        return self


class Overrides(Declared):
    """Who may put their own image in place of a replicated tag."""

    by: WhoAll


class Scope(Owned):
    """The write policy of a prod or archive scope must be said; that of others is open (who has a push grant).

    ``endpoint``: by site, the node whose address clients use there: one of the scope's, or a virtual over them."""

    class_: ScopeClass = Field(alias="class")
    sla: SlaName | None = None
    protect: Flag = False
    write: WritePolicy = WritePolicy.OPEN
    grants: tuple[ScopeGrant, ...] = ()
    naming: Naming = Naming()
    require_labels: tuple[str, ...] = ()
    immutable_tags: tuple[Glob, ...] = ()
    on_tag_change: str | None = Field(default=None, pattern=r"\{(tag|date|digest12)\}")
    quota: Quota | None = None
    rate_limits: RateLimits | None = None
    cleanup: Annotated[Cleanup | None, BeforeValidator(_none, json_schema_input_type=Cleanup | Literal["none"])] = None
    overrides: Overrides | None = None
    endpoint: dict[SiteName, NodeName] = Field(default_factory=dict)
