"""The settings file of one node (JSON). ``towpath serve --settings FILE`` reads it; ``sites`` renders it."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from identity.grants import ANYBODY, AUTHENTICATED, Action, Grant, WritePolicy
from registry_node.forwarded import ProxyHeaders

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
MIB = 1024 * 1024
CHANGEABLE = frozenset(("users", "grants", "rate_limits"))  # while the node runs; every other field needs a restart


class Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Listen(Strict):
    """Where the node answers. Port 0 takes a free one (tests)."""

    host: str = Field(default="127.0.0.1", description="Address or host name to listen on.")
    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes a free one.")

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


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


class Rules(Strict):
    """What a write must satisfy. Stateless ones are views over the port, the others run in the writing transaction."""

    write: WritePolicy = Field(default=WritePolicy.OPEN, description="Who may write at all; grants narrow it.")
    repository_name: str | None = Field(
        default=None, description="A regular expression that the whole name of a repository matches."
    )
    tag_name: str | None = Field(default=None, description="A regular expression that a whole tag matches.")
    require_labels: tuple[str, ...] = Field(default=(), description="Labels that every image's configuration has.")
    immutable_tags: tuple[str, ...] = Field(
        default=(), description="Globs of tags that neither move nor go; their digest cannot be deleted either."
    )
    quota_bytes: int | None = Field(default=None, gt=0, description="Most bytes of content in all; none: no limit.")
    sparse_images: bool = Field(default=False, description="Whether an image may lack some of its blobs.")
    sparse_indexes: bool = Field(
        default=True, description="Whether an index may come before, or without, some of its manifests."
    )


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


class Limits(Strict):
    manifest_bytes: int = Field(default=4 * MIB, description="Bytes of the largest manifest that is taken.")
    upload_session_seconds: int = Field(
        default=24 * 3600, ge=60, description="An upload session ends when nothing came for so long."
    )
    drain_seconds: float = Field(default=10.0, ge=0, description="On SIGTERM, how long requests may go on.")
    header_bytes: int = Field(default=64 * 1024, ge=1024, description="Bytes of the largest request head.")
    head_seconds: float = Field(default=15.0, gt=0, description="From the first byte of a request head to its end.")
    idle_seconds: float = Field(default=75.0, gt=0, description="A kept connection without a request ends then.")
    body_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Each time so many seconds are over, `body_bytes` of a request's body must have "
        "come; a slower sender gets 408 REQUEST_INVALID, and an upload session keeps what came.",
    )
    body_bytes: int = Field(default=16 * 1024, ge=1, description="See `body_seconds`.")
    answer_seconds: float = Field(
        default=300.0, gt=0, description="A client that takes nothing of its answer for so long is cut off."
    )
    upload_threads: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Threads that take large bodies, in each process. Uploads beyond them wait "
        "for their turn, which comes often: a sender that pauses holds none.",
    )
    download_threads: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Threads that encrypt large blobs (TLS), in each process. Others wait for their turn; a slow reader "
        "holds none.",
    )
    history_changes: int = Field(
        default=1_000_000,
        ge=1,
        description="So many of the newest changes are kept, for events and for the journal, and up to a quarter more. "
        "Of older ones the journal keeps what they led to.",
    )
    receipt_days: float = Field(default=30.0, ge=1, description="Receipts of tag transactions are kept for so long.")
    upload_sessions: int = Field(default=5000, ge=1, description="Upload sessions open at once, for one identity.")


class Tls(Strict):
    """The node's own certificate. Both files are watched: a new pair is taken without a restart."""

    certificate: Path = Field(description="PEM file: the node's certificate, then what its issuer adds (the chain).")
    key: Path = Field(description="PEM file: the private key, without a passphrase, for its owner alone (mode 0600).")


class Postgresql(Strict):
    """Where the DSN of an index in PostgreSQL is to be found: it holds a secret, so it never stands here."""

    dsn_file: Path | None = Field(
        default=None, description="A file with the DSN of the index in PostgreSQL (postgresql://user:secret@host/name)."
    )
    dsn_env: str | None = Field(default=None, min_length=1, description="The environment variable with that DSN.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.dsn_file is None) == (self.dsn_env is None):
            raise ValueError("the DSN of the index stands either in dsn_file or in dsn_env")
        return self


class Index(Strict):
    """Where the index lies: in the data folder (SQLite), unless something else is declared."""

    postgresql: Postgresql | None = Field(
        default=None, description="Keep the index in PostgreSQL; blobs and the journal stay in the data folder."
    )

    def dsn(self) -> str | None:
        """None for SQLite. Raises ValueError without the secret."""
        if self.postgresql is None:
            return None
        if self.postgresql.dsn_env is not None:
            found = os.environ.get(self.postgresql.dsn_env, "").strip()
            where = f"the environment variable {self.postgresql.dsn_env}"
        else:
            assert self.postgresql.dsn_file is not None
            where = str(self.postgresql.dsn_file)
            try:
                found = self.postgresql.dsn_file.read_text().strip()
            except OSError as error:
                raise ValueError(f"index.postgresql.dsn_file: {where} cannot be read: {error.strerror}") from None
        if not found:
            raise ValueError(
                f"index.postgresql: {where} holds no DSN; write one like postgresql://user:secret@host/name"
            )
        return found


class NodeSettings(Strict):
    """One declared node."""

    node: Name = Field(description="The node's name; also the service that its tokens are for.")
    scope: Name = Field(description="The scope whose content it holds.")
    site: Name = Field(default="local", description="The site that it stands in.")
    kind: Literal["local"] = Field(default="local", description="What it does: host content of its own.")
    listen: Listen = Field(description="Where it answers.")
    data: Path = Field(description="The node's own folder: blobs, uploads, index, journal, keys.")
    users: dict[Name, User] = Field(default_factory=dict, description="Who may sign in, by name.")
    grants: tuple[GrantSettings, ...] = Field(default=(), description="Who may do what; nothing else is allowed.")
    rules: Rules = Field(default=Rules(), description="What a write must satisfy.")
    tokens: Tokens = Field(default=Tokens(), description="The bearer tokens that it issues.")
    rate_limits: RateLimits = Field(default=RateLimits(), description="How much each caller may ask; off by default.")
    limits: Limits = Field(default=Limits(), description="Sizes, times and numbers.")
    tls: Tls | None = Field(default=None, description="Certificate and key; without them it speaks plain HTTP.")
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = Field(
        default=(),
        description="Addresses (CIDR) of the proxies in front, whose word on client, scheme and host is believed.",
    )
    proxy_headers: ProxyHeaders = Field(
        default="x-forwarded",
        description="What those proxies set: x-forwarded (X-Forwarded-For, -Proto, -Host) or forwarded (RFC 7239).",
    )
    index: Index = Field(default=Index(), description="Where its index lies.")
    processes: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Worker processes on the one listening socket, over the one data folder. A dead one is replaced. "
        "More than one pays on machines with many cores.",
    )

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


def unchangeable(old: NodeSettings, new: NodeSettings) -> tuple[str, ...]:
    """The fields that differ and that a running node cannot change (reload.py): they need a restart."""
    return tuple(
        name
        for name in NodeSettings.model_fields
        if name not in CHANGEABLE and getattr(old, name) != getattr(new, name)
    )


def mark_of(content: bytes) -> str:
    """A short name for one content of a settings file: ``/readyz`` says which one holds (Towpath-Settings)."""
    return hashlib.sha256(content).hexdigest()[:16]


class SettingsInvalid(Exception):
    """The settings file cannot be used; the message says which field and why."""


def load(path: Path) -> NodeSettings:
    """Raises SettingsInvalid."""
    try:
        return parse(path.read_bytes(), path)
    except OSError as error:
        raise SettingsInvalid(f"{path}: cannot be read: {error.strerror}") from None


def parse(content: bytes, path: Path) -> NodeSettings:
    """``path``: where the content was read, for the message. Raises SettingsInvalid, which shows no value."""
    try:
        return NodeSettings.model_validate_json(content)
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, each['loc'])) or '(whole file)'}: {each['msg']}" for each in error.errors())
        raise SettingsInvalid(f"{path}: " + "; ".join(lines)) from None
