"""``/_towpath/v1`` of a remote node (oci_wire/extension.py says what each call means)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar
from urllib.parse import urlencode

from oci_wire import extension
from oci_wire.client.reads import Reads
from oci_wire.client.tokens import NOTHING, Need
from oci_wire.client.transport import Answer, Ask, faults, raw
from oci_wire.digest import Digest
from oci_wire.errors import (
    Gone,
    Internal,
    NameUnknown,
    RegistryError,
)
from oci_wire.extension import (
    ClosureReport,
    Event,
    Explanation,
    Features,
    Hold,
    HoldReceipt,
    Lease,
    LeaseRenewal,
    LeaseRequest,
    TagReceipt,
    TagStates,
    TagTransaction,
    Wire,
)
from oci_wire.registry import Call

M = TypeVar("M", bound=Wire)
MAX_EVENT_BYTES = 64 * 1024
_JSON = {"Content-Type": "application/json"}
_MARGIN = 15.0  # seconds beyond a wait that we asked for


class RemoteExtension(Reads):
    async def features(self, call: Call) -> Features | None:
        """None as well from a registry that keeps unknown paths behind its login, as long as ``/v2/`` lets us in."""
        try:
            answer = await self._transport.send(call, Ask("GET", extension.ROOT))
            return Features.model_validate_json(answer.content)
        except ValueError:
            return None
        except RegistryError as error:
            if error.status in (401, 403):
                await self.ping(call)
            elif error.status not in (400, 404, 405):
                raise
            return None

    async def take_lease(self, call: Call, repository: str, request: LeaseRequest) -> Lease:
        name = self._where.there(repository)
        return _read(
            Lease, await self._change("POST", call, name, extension.leases_path(name), body=request, expect=(201, 200))
        )

    async def renew_lease(self, call: Call, repository: str, lease_id: str, renewal: LeaseRenewal) -> Lease:
        name = self._where.there(repository)
        return _read(Lease, await self._change("PUT", call, name, extension.leases_path(name, lease_id), body=renewal))

    async def release_lease(self, call: Call, repository: str, lease_id: str, token: int) -> None:
        name = self._where.there(repository)
        path = extension.leases_path(name, lease_id)
        await self._change("DELETE", call, name, path, body=LeaseRenewal(token=token), expect=(204, 200))

    async def put_hold(self, call: Call, repository: str, owner: str, hold: Hold) -> HoldReceipt:
        name = self._where.there(repository)
        return _read(HoldReceipt, await self._change("PUT", call, name, extension.hold_path(name, owner), body=hold))

    async def drop_hold(self, call: Call, repository: str, owner: str) -> None:
        name = self._where.there(repository)
        await self._change("DELETE", call, name, extension.hold_path(name, owner), expect=(204, 200))

    async def commit_tags(self, call: Call, repository: str, txid: str, transaction: TagTransaction) -> TagReceipt:
        name = self._where.there(repository)
        path = extension.transaction_path(name, txid)
        return _read(TagReceipt, await self._change("PUT", call, name, path, body=transaction, expect=(201, 200)))

    async def read_transaction(self, call: Call, repository: str, txid: str) -> TagReceipt | None:
        name = self._where.there(repository)
        try:
            return _read(TagReceipt, await self._get(call, extension.transaction_path(name, txid), self._pull(name)))
        except NameUnknown:
            return None

    async def abort_transaction(self, call: Call, repository: str, txid: str) -> None:
        name = self._where.there(repository)
        await self._change("DELETE", call, name, extension.transaction_path(name, txid), expect=(200, 204))

    async def tag_states(
        self, call: Call, repository: str, *, after: str = "", limit: int = 1000, known_rev: int | None = None
    ) -> TagStates | None:
        name = self._where.there(repository)
        path = f"{extension.tags_path(name)}?{urlencode({'limit': limit} | ({'after': after} if after else {}))}"
        headers = {} if known_rev is None else {"If-None-Match": f'"{known_rev}"'}
        ask = Ask("GET", path, self._pull(name), headers, expect=(200, 304), default=NameUnknown)
        answer = await self._transport.send(call, ask)
        return None if answer.status == 304 else _read(TagStates, answer)

    async def closure(self, call: Call, repository: str, digest: Digest, *, rehash: bool = False) -> ClosureReport:
        name = self._where.there(repository)
        path = extension.closure_path(name, digest) + ("?rehash=1" if rehash else "")
        return _read(ClosureReport, await self._get(call, path, self._pull(name)))

    async def why(self, call: Call, repository: str, reference: str) -> Explanation:
        """Raises NameUnknown as well from a registry that does not speak the extension."""
        name = self._where.there(repository)
        return _read(Explanation, await self._get(call, extension.why_path(name, reference), self._pull(name)))

    async def events(self, call: Call, *, after: int = 0, wait: float = 0.0) -> AsyncIterator[Event]:
        path = f"{extension.EVENTS}?{urlencode({'after': after, 'wait': wait})}"
        ask = Ask("GET", path, default=Gone, patience=wait + _MARGIN)
        async with self._transport.opened(call, ask) as response:
            held = b""
            with faults(self._transport.home):
                async for chunk in raw(response):
                    *lines, held = (held + chunk).split(b"\n")
                    if len(held) > MAX_EVENT_BYTES:
                        raise Internal(f"{self._transport.home} sent an event of more than {MAX_EVENT_BYTES} bytes")
                    for line in lines:
                        yield _event(line)
            if held.strip():
                raise Internal(f"{self._transport.home} ended its events in the middle of one")

    async def _change(
        self,
        method: str,
        call: Call,
        name: str,
        path: str,
        *,
        body: Wire | None = None,
        expect: tuple[int, ...] = (200,),
    ) -> Answer:
        content = body.model_dump_json().encode() if body is not None else b""
        headers = _JSON if body is not None else {}
        return await self._transport.send(call, Ask(method, path, self._push(name), headers, content, expect))

    async def _get(self, call: Call, path: str, wanted: Need = NOTHING) -> Answer:
        return await self._transport.send(call, Ask("GET", path, wanted, default=NameUnknown))


def _read(model: type[M], answer: Answer) -> M:
    try:
        return model.model_validate_json(answer.content)
    except ValueError as error:
        raise Internal(f"{answer.url.host} answered something else than a {model.__name__}: {error}") from error


def _event(line: bytes) -> Event:
    try:
        return Event.model_validate_json(line)
    except ValueError as error:
        raise Internal(f"an event cannot be read: {error}") from error
