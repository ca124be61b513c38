"""``/auth/token``: issues this node's tokens (distribution's token and OAuth2 specifications).

A scope that the caller does not have is left out of the token, never an error: what may be done is asked again
at every request. A token without any scope proves who signed in (``docker login``).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from datetime import UTC, datetime
from urllib.parse import parse_qs

from identity.grants import Principal
from identity.tokens import TokenSigner
from oci_wire.auth import parse_scopes
from oci_wire.errors import RequestInvalid
from registry_node.access import Challenged, Policy
from registry_node.credentials import Credentials, WrongCredentials
from registry_node.messages import Request, Response

_MAX_BODY = 64 * 1024
_MAX_SCOPES = 100


class TokenApi:
    def __init__(self, credentials: Credentials, policy: Policy, signer: TokenSigner) -> None:
        self._credentials, self._policy, self._signer = credentials, policy, signer

    async def answer(self, request: Request) -> Response:
        """GET with Basic credentials (none: anonymous), or POST with ``grant_type=password``. Raises Challenged."""
        if request.method == "POST":
            form = _fields((await request.body(_MAX_BODY, RequestInvalid)).decode("utf-8", "replace"))
            who = await self._login(form)
        else:
            form = _fields(request.target.partition("?")[2])
            who = await self._basic(request)
        return self._issue(who, form.get("scope", []))

    def _issue(self, who: Principal, wanted: list[str]) -> Response:
        asked = parse_scopes(wanted)
        if len(asked) > _MAX_SCOPES:
            raise RequestInvalid(f"at most {_MAX_SCOPES} scopes in one token")
        granted = [scope for scope in (self._policy.granted(who, each) for each in asked) if scope.actions]
        issued = self._signer.issue(who.name, granted)
        body = {
            "token": issued.text,
            "access_token": issued.text,
            "expires_in": issued.expires_in,
            "issued_at": datetime.fromtimestamp(issued.issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "scope": " ".join(map(str, granted)),
        }
        headers: dict[str, str | tuple[str, ...]] = {"content-type": "application/json", "cache-control": "no-store"}
        return Response(200, headers, json.dumps(body).encode())

    async def _basic(self, request: Request) -> Principal:
        scheme, _, rest = request.headers.get("authorization", "").partition(" ")
        if scheme and scheme.lower() != "basic":
            raise Challenged("a token is asked for with Basic credentials")
        return await self._checked(self._credentials.basic(rest)) if scheme else self._credentials.principal("", "")

    async def _login(self, form: dict[str, list[str]]) -> Principal:
        kind = (form.get("grant_type") or [""])[0]
        if kind != "password":
            raise RequestInvalid("grant_type must be password: this node issues no refresh tokens")
        name, secret = (form.get("username") or [""])[0], (form.get("password") or [""])[0]
        return await self._checked(self._credentials.login(name, secret))

    async def _checked(self, login: Awaitable[Principal]) -> Principal:
        try:
            return await login
        except WrongCredentials as error:
            raise Challenged(str(error)) from None


def _fields(text: str) -> dict[str, list[str]]:
    try:
        return parse_qs(text, keep_blank_values=True, max_num_fields=200)
    except ValueError:
        raise RequestInvalid("too many parameters") from None
