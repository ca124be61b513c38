"""``/auth/token``: issues this node's tokens (distribution's token and OAuth2 specifications; RFC 6749).

A scope that the caller does not have is left out of the token, never an error: what may be done is asked again
at every request. A token without any scope proves who signed in (``docker login``).

A refresh token is given to whoever shows a password or robot token and asks for it (``offline_token=true``,
``access_type=offline``). It stands for that credential at this endpoint alone, is never renewed by itself, and ends
with the credential. Nothing of it is kept here: it is signed, and so survives a restart.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from urllib.parse import parse_qs

from identity.grants import ANONYMOUS, Principal
from identity.tokens import TokenSigner
from oci_wire.auth import parse_scopes
from oci_wire.errors import RequestInvalid
from registry_node.access import Access, Challenged
from registry_node.credentials import Credentials, WrongCredentials
from registry_node.messages import Request, Response
from registry_node.outside import Outside

_MAX_BODY = 64 * 1024
_MAX_SCOPES = 100
_CLIENT_ID = re.compile(r"[\x20-\x7e]{0,256}")  # RFC 6749, A.1


class TokenApi:
    """``service``: the node's name, which a request may not contradict."""

    def __init__(self, credentials: Credentials, access: Access, signer: TokenSigner, service: str) -> None:
        self._credentials, self._access, self._signer, self._service = credentials, access, signer, service

    async def answer(self, request: Request) -> tuple[Principal, Response]:
        """GET with Basic credentials (none: anonymous), or POST with ``grant_type`` password or refresh_token; and who
        asked. Raises Challenged, RequestInvalid, TooManyRequests."""
        try:
            who, form, offline = await (self._post if request.method == "POST" else self._get)(request)
        except WrongCredentials as error:
            raise Challenged(str(error), why="wrong-credentials", tried=error.tried) from None
        self._access.limiter.check_identity(who.name)
        return who, self._issue(who, form.get_all("scope"), request.outside, offline=offline)

    async def _get(self, request: Request) -> tuple[Principal, _Form, bool]:
        form = self._checked(_Form(request.target.partition("?")[2]), request.outside)
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme and scheme.lower() != "basic":
            raise WrongCredentials("a token is asked for with Basic credentials")
        who = await self._credentials.basic(rest, request.remote) if scheme else ANONYMOUS
        return who, form, form.get("offline_token").lower() in ("true", "1")

    async def _post(self, request: Request) -> tuple[Principal, _Form, bool]:
        content = await request.body(_MAX_BODY, RequestInvalid)
        form = self._checked(_Form(content.decode("utf-8", "replace")), request.outside)
        match form.get("grant_type"):
            case "password":
                who = await self._credentials.login(form.get("username"), form.get("password"), request.remote)
                return who, form, form.get("access_type") == "offline"
            case "refresh_token":
                return self._credentials.refresh(form.get("refresh_token")), form, False
        raise RequestInvalid("grant_type must be password or refresh_token")

    def _checked(self, form: _Form, outside: Outside) -> _Form:
        """Behind a proxy that shows several nodes as one host, what is asked for is a token of that host's."""
        service = form.get("service")
        if service and service != self._service and not outside.namespace:
            raise RequestInvalid(f"this node issues tokens for service {self._service} alone")
        if not _CLIENT_ID.fullmatch(form.get("client_id")):
            raise RequestInvalid("client_id must be at most 256 printable ASCII characters")
        return form

    def _issue(self, who: Principal, wanted: list[str], outside: Outside, *, offline: bool) -> Response:
        asked = outside.scopes_inside(parse_scopes(wanted))
        if len(asked) > _MAX_SCOPES:
            raise RequestInvalid(f"at most {_MAX_SCOPES} scopes in one token")
        granted = [scope for scope in (self._access.policy.granted(who, each) for each in asked) if scope.actions]
        binding = self._credentials.binding(who.name)
        issued = self._signer.issue(who.name, granted, binding=binding)
        body = {
            "token": issued.text,
            "access_token": issued.text,
            "expires_in": issued.expires_in,
            "issued_at": datetime.fromtimestamp(issued.issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "scope": outside.scopes(" ".join(map(str, granted))),
        }
        # Not where the proxy must choose the node: it would have to read the scope in the body that brings it back.
        if offline and not (who.anonymous or outside.namespace) and self._signer.refreshes:
            body["refresh_token"] = self._signer.issue_refresh(who.name, binding=binding).text
        headers: dict[str, str | tuple[str, ...]] = {"content-type": "application/json", "cache-control": "no-store"}
        return Response(200, headers, json.dumps(body).encode())


class _Form:
    """The parameters of a query or a form; of one that comes twice the first counts, but every ``scope``."""

    def __init__(self, text: str) -> None:
        try:
            self._fields = parse_qs(text, keep_blank_values=True, max_num_fields=200)
        except ValueError:
            raise RequestInvalid("too many parameters") from None

    def get(self, name: str) -> str:
        return self._fields.get(name, [""])[0]

    def get_all(self, name: str) -> list[str]:
        return self._fields.get(name, [])
