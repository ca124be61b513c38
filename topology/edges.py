"""How images move: promotions between scopes, replications between nodes, freezes, backups."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from topology.declared import Declared, Owned
from topology.values import (
    EVERYTHING,
    Count,
    Cron,
    Duration,
    EdgeName,
    GateName,
    Globs,
    Name,
    NodeName,
    Rate,
    ScopeName,
    Targets,
    Timezone,
    TrustName,
    Who,
)

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN = re.compile(r"tag|digest12|date|label:[A-Za-z0-9][A-Za-z0-9._/-]*")


def _template(text: str) -> str:
    for placeholder in PLACEHOLDER.findall(text):
        if not _KNOWN.fullmatch(placeholder):
            raise ValueError(f"has an unknown placeholder {{{placeholder}}} (known: tag, label:KEY, digest12, date)")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", PLACEHOLDER.sub("x", text)):
        raise ValueError("should be a tag or a template of one, such as stable, {tag} or v{label:KEY}")
    return text


TagTemplate = Annotated[str, AfterValidator(_template)]


class Promotion(Owned):
    """An edge between scopes. ``by``: who may ask, default nobody. ``tags``: what the digest is called at the target."""

    id: Name
    source: ScopeName = Field(alias="from")
    target: ScopeName = Field(alias="to")
    by: tuple[Who, ...] = ()
    repositories: Globs = EVERYTHING
    gates: tuple[GateName, ...] = ()
    tags: tuple[TagTemplate, ...] = Field(default=("{tag}",), min_length=1)
    attest_with: TrustName | None = None


class TagFilter(Declared):
    """Which tags travel: those that fit every condition. A plain list in the file is ``globs``."""

    globs: Globs = EVERYTHING
    semver: str | None = Field(default=None, min_length=1)
    newest: Count | None = None


def _filter(value: Any) -> Any:
    return {"globs": value} if isinstance(value, list | tuple) else value


class Replication(Owned):
    """An edge between nodes: on event, on schedule or both; ``reconcile``: how often to compare both sides."""

    id: Name
    source: NodeName = Field(alias="from")
    targets: Targets = Field(alias="to")
    on: Literal["event"] | None = None
    cron: Cron | None = None
    timezone: Timezone = "UTC"
    reconcile: Duration | None = None
    lag: Duration | None = None
    deletes: Literal["never", "trash", "mirror"] = "never"
    repositories: Globs = EVERYTHING
    tags: Annotated[TagFilter, BeforeValidator(_filter, json_schema_input_type=TagFilter | list[str])] = TagFilter()
    bandwidth: Rate | None = None

    @model_validator(mode="after")
    def _ever_runs(self) -> Replication:
        if self.on is None and self.cron is None and self.reconcile is None:
            raise ValueError("never runs: needs `on: event`, `cron` or `reconcile`")
        return self


class Freeze(Owned):
    """For ``for`` from each time that ``cron`` comes due, nothing crosses these edges."""

    name: Name
    edges: Annotated[tuple[EdgeName, ...], Field(min_length=1)]
    cron: Cron
    duration: Duration = Field(alias="for")
    timezone: Timezone = "UTC"
    reason: str = Field(min_length=1)


class Backup(Owned):
    scope: ScopeName
    source: NodeName = Field(alias="from")
    target: str = Field(alias="to", pattern=r"^(s3://[a-z0-9][a-z0-9.-]+(/.*)?|file:///.+)$")
    every: Duration
    keep: Duration
    restore_test: Literal["daily", "weekly", "monthly"] | None = None
