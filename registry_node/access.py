"""What a caller may do here: grants, the write policy, and for a Bearer token also what it was issued for.

Nothing of this is remembered between two requests: grants that change, and tokens and passwords that end, do so for
the very next request, also for one that brings a token which was issued before.

Rules of an answer to those who may not:
- nobody has proven who they are, or a token was not issued for this: 401 with a challenge, whatever is there;
- a reader without a pull grant: 404 NAME_UNKNOWN, whether the repository exists or not, before anything is looked up;
- a writer without the grant: 403, whether the repository exists or not;
- a reader with a grant for some tags (identity/grants.py): what those do not reach is 404, as if it were absent.

``why`` of an error is one word for the log: anonymous, wrong-credentials, token-invalid, token-scope, no-grant,
write-policy, rate-address, rate-identity, rate-logins, rate-checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from identity.grants import ANONYMOUS, Action, Principal, WritePolicy, write_action
from oci_wire.auth import Challenge, TokenScope
from oci_wire.errors import Denied, ManifestUnknown, NameUnknown, Unauthorized, Unsupported
from registry_node.credentials import Credentials, WrongCredentials
from registry_node.outside import HERE, Outside
from registry_node.policy import ALL_BLOBS, Policy
from registry_node.rate_limits import RateLimiter
from registry_node.settings import NodeSettings

TOKEN_PATH = "/auth/token"  # noqa: S105 - a path, no secret


class Challenged(Unauthorized):
    """401 with what to ask a token for. ``error`` is RFC 6750's: invalid_token, insufficient_scope, or "". ``tried``
    is the declared user whose name was given, for the log."""

    def __init__(
        self, message: str, scope: str = "", error: str = "", *, why: str = "anonymous", tried: str = ""
    ) -> None:
        super().__init__(message, why=why)
        self.scope, self.error, self.tried = scope, error, tried

    def challenge(self, base_url: str, service: str, outside: Outside = HERE) -> Challenge:
        scope = outside.scopes(self.scope) if self.scope else ""
        given = {"realm": f"{base_url}{TOKEN_PATH}", "service": service, "scope": scope, "error": self.error}
        return Challenge("bearer", {name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's caller. ``scopes`` None: not limited by a token."""

    who: Principal
    policy: Policy
    scopes: tuple[TokenScope, ...] | None = None

    def may_pull(self, repository: str, tag: str | None = None) -> bool:
        return self.policy.may(self.who, Action.PULL, repository, tag) and self._issued_for("pull", repository)

    def may_pull_any_digest(self, repository: str) -> bool:
        """Whether they may pull every digest of it; else what their tags reach (exchange.py)."""
        return self.policy.may_whole(self.who, Action.PULL, repository) and self._issued_for("pull", repository)

    def may_pull_at_once(self, repository: str, tag: str | None) -> bool:
        """The same without asking the index: a digest (``tag`` None) needs a grant for every tag."""
        return self.may_pull(repository, tag) if tag else self.may_pull_any_digest(repository)

    def puller(self) -> Caller:
        """The same caller as far as pulling goes: only the grants that can let them. For who asks often."""
        grants = tuple(each for each in self.policy.grants if Action.PULL in each.allow and self.who.is_called(each.to))
        return replace(self, policy=replace(self.policy, grants=grants))

    def may_mount(self, source: str | None, target: str) -> bool:
        """Whether blobs of ``source`` (None: of any repository) may become blobs of ``target`` for this caller.
        Raises Challenged when they may, and only their token was issued for less."""
        kind, name = ("registry", ALL_BLOBS) if source is None else ("repository", source)
        policy = self.policy
        may = policy.may_pull_everything(self.who) if source is None else policy.may(self.who, Action.PULL, source)
        if may and not self._issued_for("pull", name, kind):
            wanted = f"repository:{target}:pull,push {kind}:{name}:pull"
            raise _insufficient(wanted)
        return may

    def require_pull(self, repository: str, tag: str | None = None) -> None:
        """Raises Challenged, NameUnknown, or ManifestUnknown for a tag that is not theirs."""
        if not self.policy.may(self.who, Action.PULL, repository, tag):
            self._refuse_anonymous(repository, "pull")
            if tag is not None and self.policy.may(self.who, Action.PULL, repository):
                raise ManifestUnknown(f"{repository} has no tag {tag} that you may pull", why="no-grant")
            raise NameUnknown(f"no repository {repository} that you may pull", why="no-grant")
        self._require_token(repository, "pull")

    def require_write(self, repository: str, tag: str | None = None) -> None:
        """Raises Challenged or Denied; Unsupported where nobody writes, to those who may know what this is."""
        if self.policy.no_pushes and self.policy.may(self.who, Action.PULL, repository):
            raise Unsupported(self.policy.no_pushes)
        if not self.policy.may_write(self.who, repository, tag):
            self._refuse_anonymous(repository, "pull,push")
            pushes = write_action(self.policy.write, self.who) is Action.PUSH
            raise Denied(self._why_not_write(repository, tag), why="no-grant" if pushes else "write-policy")
        self._require_token(repository, "push", "pull,push")

    def require_delete(self, repository: str, tag: str | None = None) -> None:
        """Raises Challenged or Denied. A deletion is no publication: it needs its own grant, under any policy but
        read-only. A digest takes its tags with it, whatever they are: a grant for some tags is not enough."""
        frozen, delete = self.policy.write is WritePolicy.READ_ONLY, Action.DELETE
        may, may_whole = self.policy.may, self.policy.may_whole
        granted = may(self.who, delete, repository, tag) if tag else may_whole(self.who, delete, repository)
        if frozen or not granted:
            self._refuse_anonymous(repository, "delete")
            what = f"in scope {self.policy.scope} you may not delete what {repository} holds"
            raise Denied(what, why="write-policy" if frozen else "no-grant")
        self._require_token(repository, "delete")

    def require_promote(self, repository: str, tag: str | None = None) -> None:
        """Raises Challenged or Denied."""
        if not self.policy.may(self.who, Action.PROMOTE, repository, tag):
            self._refuse_anonymous(repository, "promote")
            raise Denied(f"you may not promote into {repository} in scope {self.policy.scope}", why="no-grant")
        self._require_token(repository, "promote")

    def may_promote(self, repository: str, tag: str | None = None) -> bool:
        return self.policy.may(self.who, Action.PROMOTE, repository, tag)

    def may_promote_something(self) -> bool:
        return any(Action.PROMOTE in each.allow and self.who.is_called(each.to) for each in self.policy.grants)

    def lists(self, repository: str) -> bool:
        """Whether a catalog shows them this repository."""
        return self.policy.may(self.who, Action.PULL, repository)

    def require_name(self) -> None:
        """Raises Challenged to those who have not said who they are."""
        if self.who.anonymous:
            raise Challenged("who are you? sign in first", "registry:catalog:*")

    def _why_not_write(self, repository: str, tag: str | None) -> str:
        scope, policy = self.policy.scope, self.policy.write
        if policy is WritePolicy.PROMOTION_ONLY:
            name = f"{repository}:{tag}" if tag else repository
            return (
                f"scope {scope} takes images by promotion only; ask for one: "
                f"towpath promote --from SCOPE --to {scope} {name}"
            )
        if policy is WritePolicy.REPLICATION_ONLY:
            return f"scope {scope} takes images by replication only; push to where it is replicated from"
        if policy is WritePolicy.READ_ONLY:
            return f"scope {scope} is read-only"
        if policy is WritePolicy.ROBOTS and not self.who.robot:
            return f"in scope {scope} only robots may push"
        return f"you may not push to {repository}{f':{tag}' if tag else ''} in scope {scope}"

    def _refuse_anonymous(self, repository: str, actions: str) -> None:
        if self.who.anonymous:
            raise Challenged("sign in first: this needs an account", f"repository:{repository}:{actions}")

    def _require_token(self, repository: str, action: str, ask_for: str = "") -> None:
        if not self._issued_for(action, repository):
            raise _insufficient(f"repository:{repository}:{ask_for or action}")

    def _issued_for(self, action: str, name: str, kind: str = "repository") -> bool:
        return self.scopes is None or any(
            each.kind == kind and each.name == name and action in each.actions for each in self.scopes
        )


def _insufficient(wanted: str) -> Challenged:
    return Challenged(f"this token was not issued for {wanted}", wanted, "insufficient_scope", why="token-scope")


class Access:
    """Reads the Authorization header of a request. ``policy`` is today's: another one when the settings change."""

    def __init__(self, credentials: Credentials, policy: Policy, limiter: RateLimiter) -> None:
        self._credentials, self.policy, self.limiter = credentials, policy, limiter

    def replace(self, settings: NodeSettings) -> None:
        """From the next request on, these users, grants and rate limits."""
        self.policy = Policy.of(settings)
        self._credentials.replace(settings.users)
        self.limiter.keep_or_replace(settings.rate_limits)

    async def caller(self, headers: Mapping[str, str], remote: str = "") -> Caller:
        """Raises Challenged for credentials that do not hold, TooManyRequests; none at all is an anonymous caller."""
        caller = await self._caller(headers, remote)
        self.limiter.check_identity(caller.who.name)
        return caller

    async def _caller(self, headers: Mapping[str, str], remote: str) -> Caller:
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        bearer = scheme.lower() == "bearer"
        try:
            match scheme.lower():
                case "":
                    return Caller(ANONYMOUS, self.policy)
                case "basic":
                    who = await self._credentials.basic(rest, remote)
                    self._credentials.remember(headers["authorization"], who, None)
                    return Caller(who, self.policy)
                case "bearer":
                    who, claims = self._credentials.bearer(rest.strip())
                    self._credentials.remember(headers["authorization"], who, claims)
                    return Caller(who, self.policy, claims.scopes)
        except WrongCredentials as error:
            said, why = ("invalid_token", "token-invalid") if bearer else ("", "wrong-credentials")
            raise Challenged(str(error), error=said, why=why, tried=error.tried) from None
        raise Challenged("the Authorization header must be Basic or Bearer", why="wrong-credentials")

    def known(self, authorization: str) -> tuple[Caller, float] | None:
        """The caller, when that can be said at once, and until when (seconds since the epoch); else None."""
        if not authorization:
            return Caller(ANONYMOUS, self.policy), math.inf
        found = self._credentials.known(authorization)
        if found is None:
            return None
        until, who, scopes = found
        return Caller(who, self.policy, scopes), until
