"""What a caller may do here: grants, the write policy, and for a Bearer token also what it was issued for.

Rules of an answer to those who may not:
- nobody has proven who they are, or a token was not issued for this: 401 with a challenge, whatever is there;
- a reader without a pull grant: 404 NAME_UNKNOWN, whether the repository exists or not, before anything is looked up;
- a writer without the grant: 403, whether the repository exists or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from identity.grants import ANONYMOUS, Action, Grant, Principal, WritePolicy, allowed, write_action
from oci_wire.auth import Challenge, TokenScope
from oci_wire.errors import Denied, NameUnknown, Unauthorized
from registry_node.credentials import Credentials, WrongCredentials
from registry_node.settings import NodeSettings

TOKEN_PATH = "/auth/token"  # noqa: S105 - a path, no secret
ALL_BLOBS = "blobs"  # ``registry:blobs:pull``, a token scope of ours: to mount without naming a source


class Challenged(Unauthorized):
    """401 with what to ask a token for. ``error`` is RFC 6750's: invalid_token, insufficient_scope, or ""."""

    def __init__(self, message: str, scope: str = "", error: str = "") -> None:
        super().__init__(message)
        self.scope, self.error = scope, error

    def challenge(self, base_url: str, service: str) -> Challenge:
        given = {"realm": f"{base_url}{TOKEN_PATH}", "service": service, "scope": self.scope, "error": self.error}
        return Challenge("bearer", {name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True)
class Policy:
    """The grants of a node and who may write at all."""

    scope: str
    grants: tuple[Grant, ...]
    write: WritePolicy

    @classmethod
    def of(cls, settings: NodeSettings) -> Policy:
        return cls(settings.scope, tuple(each.grant() for each in settings.grants), settings.rules.write)

    def may(self, who: Principal, action: Action, repository: str, tag: str | None = None) -> bool:
        return allowed(self.grants, who, action, repository, tag)

    def may_write(self, who: Principal, repository: str, tag: str | None = None) -> bool:
        needed = write_action(self.write, who)
        return needed is not None and self.may(who, needed, repository, tag)

    def may_pull_everything(self, who: Principal) -> bool:
        """Whether one grant is to pull every repository, whatever it is called."""
        return any(
            Action.PULL in each.allow and "**" in each.repositories and who.is_called(each.to) for each in self.grants
        )

    def granted(self, who: Principal, wanted: TokenScope) -> TokenScope:
        """The part of a token scope that this caller has (intersection; ``*`` asks for all of it)."""
        if wanted.kind != "repository":
            listing = wanted.name == "catalog" and not who.anonymous
            mounting = wanted.name == ALL_BLOBS and self.may_pull_everything(who)
            return TokenScope(wanted.kind, wanted.name, frozenset({"*"} if listing else {"pull"} if mounting else ()))
        name = wanted.name
        has = {
            "pull": self.may(who, Action.PULL, name),
            "push": self.may_write(who, name),
            "delete": self.may(who, Action.DELETE, name),
            "promote": self.may(who, Action.PROMOTE, name),
        }
        asked = set(has) if "*" in wanted.actions else wanted.actions
        return TokenScope(wanted.kind, name, frozenset(action for action in asked if has.get(action)))


@dataclass(frozen=True, slots=True)
class Caller:
    """One request's caller. ``scopes`` None: not limited by a token."""

    who: Principal
    policy: Policy
    scopes: tuple[TokenScope, ...] | None = None

    def may_pull(self, repository: str, tag: str | None = None) -> bool:
        return self.policy.may(self.who, Action.PULL, repository, tag) and self._issued_for("pull", repository)

    def may_mount(self, source: str | None, target: str) -> bool:
        """Whether blobs of ``source`` (None: of any repository) may become blobs of ``target`` for this caller.
        Raises Challenged when they may, and only their token was issued for less."""
        kind, name = ("registry", ALL_BLOBS) if source is None else ("repository", source)
        policy = self.policy
        may = policy.may_pull_everything(self.who) if source is None else policy.may(self.who, Action.PULL, source)
        if may and not self._issued_for("pull", name, kind):
            wanted = f"repository:{target}:pull,push {kind}:{name}:pull"
            raise Challenged(f"this token was not issued for {wanted}", wanted, "insufficient_scope")
        return may

    def require_pull(self, repository: str, tag: str | None = None) -> None:
        """Raises Challenged or NameUnknown."""
        if not self.policy.may(self.who, Action.PULL, repository, tag):
            self._refuse_anonymous(repository, "pull")
            raise NameUnknown(f"no repository {repository} that you may pull")
        self._require_token(repository, "pull")

    def require_write(self, repository: str, tag: str | None = None) -> None:
        """Raises Challenged or Denied."""
        if not self.policy.may_write(self.who, repository, tag):
            self._refuse_anonymous(repository, "pull,push")
            raise Denied(self._why_not_write(repository, tag))
        self._require_token(repository, "push", "pull,push")

    def require_delete(self, repository: str, tag: str | None = None) -> None:
        """Raises Challenged or Denied. A deletion is no publication: it needs its own grant, under any policy but
        read-only. A digest takes its tags with it, whatever they are: a grant for some tags is not enough."""
        granted = self.policy.may(self.who, Action.DELETE, repository, tag) if tag else self._may_delete(repository)
        if self.policy.write is WritePolicy.READ_ONLY or not granted:
            self._refuse_anonymous(repository, "delete")
            raise Denied(f"in scope {self.policy.scope} you may not delete what {repository} holds")
        self._require_token(repository, "delete")

    def require_promote(self, repository: str, tag: str | None = None) -> None:
        """Raises Challenged or Denied."""
        if not self.policy.may(self.who, Action.PROMOTE, repository, tag):
            self._refuse_anonymous(repository, "promote")
            raise Denied(f"you may not promote into {repository} in scope {self.policy.scope}")
        self._require_token(repository, "promote")

    def may_promote(self, repository: str) -> bool:
        return self.policy.may(self.who, Action.PROMOTE, repository)

    def may_promote_something(self) -> bool:
        return any(Action.PROMOTE in each.allow and self.who.is_called(each.to) for each in self.policy.grants)

    def lists(self, repository: str) -> bool:
        """Whether a catalog shows them this repository."""
        return self.policy.may(self.who, Action.PULL, repository)

    def require_name(self) -> None:
        """Raises Challenged to those who have not said who they are."""
        if self.who.anonymous:
            raise Challenged("who are you? sign in first", "registry:catalog:*")

    def _may_delete(self, repository: str) -> bool:
        """Whether a grant lets them delete here whatever tag names it."""
        whole = (grant for grant in self.policy.grants if not {"*", "**"}.isdisjoint(grant.tags))
        return allowed(whole, self.who, Action.DELETE, repository)

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
            wanted = f"repository:{repository}:{ask_for or action}"
            raise Challenged(f"this token was not issued for {wanted}", wanted, "insufficient_scope")

    def _issued_for(self, action: str, name: str, kind: str = "repository") -> bool:
        return self.scopes is None or any(
            each.kind == kind and each.name == name and action in each.actions for each in self.scopes
        )


class Access:
    """Reads the Authorization header of a request."""

    def __init__(self, credentials: Credentials, policy: Policy) -> None:
        self._credentials, self._policy = credentials, policy

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Raises Challenged for credentials that do not hold; none at all is an anonymous caller."""
        scheme, _, rest = headers.get("authorization", "").partition(" ")
        try:
            match scheme.lower():
                case "":
                    return Caller(self._credentials.principal("", "anonymous"), self._policy)
                case "basic":
                    who = await self._credentials.basic(rest)
                    self._credentials.remember(headers["authorization"], who, None)
                    return Caller(who, self._policy)
                case "bearer":
                    who, claims = self._credentials.bearer(rest.strip())
                    self._credentials.remember(headers["authorization"], who, claims)
                    return Caller(who, self._policy, claims.scopes)
        except WrongCredentials as error:
            raise Challenged(str(error), error="invalid_token" if scheme.lower() == "bearer" else "") from None
        raise Challenged("the Authorization header must be Basic or Bearer")

    def known(self, authorization: str) -> Caller | None:
        """The caller, when that can be said at once; None otherwise, for whatever reason."""
        if not authorization:
            return Caller(ANONYMOUS, self._policy)
        found = self._credentials.known(authorization)
        return Caller(found[0], self._policy, found[1]) if found is not None else None
