"""The settings file of one node (JSON). ``towpath serve --settings FILE`` reads it; ``sites`` renders it."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from identity.grants import ANYBODY, AUTHENTICATED, Action, Grant, WritePolicy

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
MIB = 1024 * 1024


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Listen(Strict):
    """Where the node answers. Port 0 takes a free one (tests)."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class User(Strict):
    """A person (bcrypt hash) or a robot (SHA-256 of its token, hex). Never a secret itself."""

    robot: bool = False
    password_bcrypt: str | None = Field(default=None, pattern=r"^\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}$")
    token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    groups: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _has_one_credential(self) -> Self:
        if (self.password_bcrypt is None) == (self.token_sha256 is None):
            raise ValueError("a user needs either password_bcrypt or token_sha256")
        return self


class GrantSettings(Strict):
    to: Name
    allow: tuple[Action, ...] = Field(min_length=1)
    repositories: tuple[str, ...] = ("**",)
    tags: tuple[str, ...] = ("**",)

    def grant(self) -> Grant:
        return Grant(self.to, frozenset(self.allow), self.repositories, self.tags)


class Rules(Strict):
    """What a write must satisfy. Stateless ones are views over the port, the others run in the writing transaction."""

    write: WritePolicy = WritePolicy.OPEN
    repository_name: str | None = None  # a regular expression, matched against the whole name
    tag_name: str | None = None
    require_labels: tuple[str, ...] = ()
    immutable_tags: tuple[str, ...] = ()  # globs
    quota_bytes: int | None = Field(default=None, gt=0)
    sparse_images: bool = False  # whether an image may lack blobs (a cache in front may fetch them later)
    sparse_indexes: bool = True  # whether an index may come before, or without, some of its manifests (image-spec 1.1)


class Tokens(Strict):
    """Our own ES256 tokens (distribution's token authentication)."""

    ttl: int = Field(default=300, ge=60, le=3600)  # seconds
    leeway: int = Field(default=60, ge=0, le=300)


class Limits(Strict):
    manifest_bytes: int = 4 * MIB
    upload_session_seconds: int = Field(default=24 * 3600, ge=60)
    drain_seconds: float = Field(default=10.0, ge=0)
    header_bytes: int = Field(default=64 * 1024, ge=1024)
    head_seconds: float = Field(default=15.0, gt=0)  # from the first byte of a request head to its end
    idle_seconds: float = Field(default=75.0, gt=0)  # a kept connection without a request
    upload_sessions: int = Field(default=5000, ge=1)  # open at once, for one identity


class NodeSettings(Strict):
    """One declared node."""

    node: Name
    scope: Name
    site: Name = "local"
    kind: Literal["local"] = "local"
    listen: Listen
    data: Path  # the node's own folder: blobs, uploads, index, journal, keys
    users: dict[Name, User] = Field(default_factory=dict)
    grants: tuple[GrantSettings, ...] = ()
    rules: Rules = Rules()
    tokens: Tokens = Tokens()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _no_open_door(self) -> Self:
        """A node with nothing declared answers on loopback alone."""
        if not self.grants and not self.listen.loopback:
            raise ValueError(f"no grants are declared: listening on {self.listen.host} beyond loopback is refused")
        return self

    @model_validator(mode="after")
    def _one_meaning_a_name(self) -> Self:
        """A grant is to a name: were a group called as a user is, the grant of one would be the other's as well."""
        groups = {group for user in self.users.values() for group in user.groups}
        if twice := groups & set(self.users):
            raise ValueError(f"both a user and a group are called {', '.join(sorted(twice))}; rename one of them")
        if reserved := (groups | set(self.users)) & {ANYBODY, AUTHENTICATED}:
            raise ValueError(f"{', '.join(sorted(reserved))} means a set of callers; call the user or group otherwise")
        return self


class SettingsInvalid(Exception):
    """The settings file cannot be used; the message says which field and why."""


def load(path: Path) -> NodeSettings:
    """Raises SettingsInvalid."""
    try:
        return NodeSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsInvalid(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, each['loc'])) or '(whole file)'}: {each['msg']}" for each in error.errors())
        raise SettingsInvalid(f"{path}: " + "; ".join(lines)) from None
