"""The node's side of one HTTP/1.1 connection (decision 0001).

Heads are read within limits of size and time (heads.py). What the short way can answer (``AtOnce``) leaves in one
write without a task; the rest is the app's, over ASGI (turn.py). Requests in a pipeline are answered in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import cast

from oci_wire.errors import RegistryError, RequestInvalid, to_json
from registry_node import bulk, zerocopy
from registry_node.answer_lines import refusal
from registry_node.bulk import Bulk
from registry_node.connections import Connections
from registry_node.forwarded import NO_PROXIES, Origin, Proxies
from registry_node.framing import Header
from registry_node.heads import Head, HeadReader
from registry_node.intake import BodyTooSlow, Intakes
from registry_node.messages import BULK, ZERO_COPY
from registry_node.outflow import Outflows
from registry_node.outside import HERE, OUTSIDE, told
from registry_node.patience import Patience
from registry_node.settings import Limits
from registry_node.shared import AtOnce, Refused, Shared
from registry_node.turn import Turn, scope_of

_STEPS = 32  # requests of one pipeline that are answered in one go
_LINGER_SECONDS = 2.0  # for what a refused client still sends
_OUT_HIGH = 256 * 1024  # bytes that wait for a slow reader before the app has to


def front_of(
    at_once: AtOnce, limits: Limits, refused: Refused, proxies: Proxies = NO_PROXIES
) -> Callable[[Connections], Front]:
    """What makes each connection, given the others. ``refused`` records what no app sees and gives it a request id."""
    intakes = Intakes(limits.upload_threads, limits.body_seconds, limits.body_bytes)
    outflows = Outflows(limits.download_threads, limits.answer_seconds)
    return partial(Front, Shared(at_once, limits, refused, proxies, intakes, outflows))


def _address(transport: asyncio.BaseTransport, end: str) -> tuple[str, int] | None:
    """Host and port of one ``end``; None when the connection is gone already."""
    found = transport.get_extra_info(end, ())  # uvloop raises without a default
    return (found[0], found[1]) if found else None


class Front(asyncio.Protocol):
    """One connection. ``_turn`` is the request that the app is answering; what comes after it waits in ``_input``.
    A client that half-closes is gone: what it sent of a body is kept, and nobody waits for an answer."""

    def __init__(self, shared: Shared, connections: Connections) -> None:
        self._at_once, self._limits, self._proxies = shared.at_once, shared.limits, shared.proxies
        self._shared, self._connections = shared, connections
        self._loop = asyncio.get_running_loop()
        self._input, self._in_head = bytearray(), False
        self._heads = HeadReader(shared.limits.header_bytes)
        self._turn: Turn | None = None
        self._began = self._reading_paused = self._closing = self._lent = self._going_on = False
        self._can_write = asyncio.Event()
        self._can_write.set()

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._transport.set_write_buffer_limits(_OUT_HIGH)
        self._connections.opened(self)
        self._server, self._client = _address(self._transport, "sockname"), _address(self._transport, "peername")
        self._encrypted = self._transport.get_extra_info("sslcontext") is not None
        self._direct = Origin(self._client[0] if self._client else "", "https" if self._encrypted else "http")
        self._proxied = self._proxies.declared(self._direct.address)
        self._patience = Patience(self._loop, self._limits, self._waited_too_long)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._connections.closed(self)
        self._patience.stop()
        if self._turn is not None:
            self._turn.hung_up()
        self._can_write.set()

    def shutdown(self) -> None:
        """The server ends: at once when idle, else after this answer."""
        if self._turn is None:
            self.close()
        else:
            self._turn.keep_alive = False

    def close(self) -> None:
        self._closing = True
        self._transport.close()

    def cut(self) -> None:
        """Ends the connection in the middle of an answer."""
        self._closing = True
        self._transport.abort()

    def _drop(self) -> None:
        """Closes. What still waits for a client that takes nothing would keep the connection for ever."""
        (self.cut if self._transport.get_write_buffer_size() else self.close)()

    def _waited_too_long(self) -> None:
        if not self._can_write.is_set():
            return self.cut()
        too_slow = BodyTooSlow.by(self._limits.body_seconds, self._limits.body_bytes)
        if self._turn is None or not self._turn.fail(too_slow):
            self._drop()
        return None

    # What comes in

    def data_received(self, data: bytes) -> None:
        if self._closing or (self._turn is not None and self._turn.broken):
            return
        if not self._began:
            self._began = True
            if not data[:1].isalpha():  # TLS on a plain port: skopeo waits for ten seconds, and crane, cosign and
                # ko try again when nothing is said; Go takes an answer in HTTP for what it is and goes on in HTTP
                self._refuse(RequestInvalid("this port speaks plain HTTP"))
                return
        if self._turn is not None:
            self._patience.came(len(data))
        if self._turn is not None and not self._input and self._turn.body.owns(data):
            self._turn.arrived(data)
            self.pace()
        elif self._turn or self._input or not self._can_write.is_set() or not self._answered(data, None):
            self._input += data
            self._advance()

    def _advance(self) -> None:
        try:
            for _ in range(_STEPS):
                if self._closing or not (self._turn or self._can_write.is_set()) or not self._step():
                    break
            else:
                self._go_on_soon()
        except RegistryError as error:
            self._refuse(error)
        self.pace()

    def _go_on_soon(self) -> None:
        """A long pipeline waits between its requests, so that others are served."""
        if not self._going_on:
            self._going_on = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        self._advance()

    def _step(self) -> bool:
        """One thing done with the input. False: there is nothing to do until something happens."""
        if self._turn is not None:
            if not self._turn.body.complete:
                self._turn.arrived(self._turn.body.take(self._input))
            return False
        content = self._heads.take(self._input)
        if content is None:
            if self._input and not self._in_head:
                self._in_head = True
                self._patience.head()
            return False
        self._in_head = False
        if not self._answered(content, None):
            head = self._heads.read(content)
            if not self._answered(content, head):
                self._patience.ours()
                self._begin(head)
        return True

    def pace(self) -> None:
        """Reading pauses while what came is more than somebody takes."""
        turn = self._turn
        if turn is None:
            pause = not self._can_write.is_set() or (self._going_on and len(self._input) > self._limits.header_bytes)
        else:
            pause = self._lent or turn.full or (turn.body.complete and len(self._input) > self._limits.header_bytes)
            self._patience.body(hungry=not pause and turn.waits)
        if self._closing or pause == self._reading_paused:
            return
        self._reading_paused = pause
        (self._transport.pause_reading if pause else self._transport.resume_reading)()

    # A request

    def _begin(self, head: Head) -> None:
        path, _, query = head.target.partition(b"?")
        origin = self._origin(head.headers)
        if not head.target.isascii() or b"#" in head.target:
            raise RequestInvalid("the request target must be ASCII, without a fragment")
        client = self._client if origin.address == self._direct.address else (origin.address, 0)
        scope = {**scope_of(head, path, query, origin), "server": self._server, "client": client, "extensions": {}}
        scope[OUTSIDE] = told(head.headers) if self._proxied and self._proxies.x_forwarded else HERE
        turn = Turn(
            self, scope, head.body, keep_alive=head.keep_alive, expects=head.expects_continue, done=self._answer_sent
        )
        self._turn = turn
        self._extend(turn)
        if head.body.complete:
            turn.arrived(b"")
        self._connections.answering(self._loop.create_task(turn.run(self._connections.app)))

    def _answered(self, content: bytes, head: Head | None) -> bool:
        """The short way of what may be a request head; ``head``: the same read."""
        answer = self._at_once(content, head, self._origin, self.default_lines())
        if answer is None:
            return False
        self._transport.write(answer)
        self._next_request()
        return True

    def _origin(self, headers: Iterable[Header]) -> Origin:
        return self._proxies.origin(headers, self._direct) if self._proxied else self._direct

    def _extend(self, turn: Turn) -> None:
        """What this connection can do beyond ASGI."""
        if bulk.lendable(self._transport):
            turn.scope["extensions"][ZERO_COPY] = {}
            if not turn.body.complete:
                turn.scope["extensions"][BULK] = {"feed": partial(turn.feed, self._shared.intakes)}

    def lend(self) -> tuple[Bulk, bytes]:
        """This connection for a thread, and what came of it that nobody has read. Raises OSError."""
        lent, rest = bulk.of(self._transport), bytes(self._input)
        self._input.clear()
        self._lent = True
        self.pace()
        return lent, rest

    def give_back(self, lent: Bulk, rest: bytes) -> None:
        lent.close()
        self._lent = False
        if self._turn is not None and not self._turn.broken:
            self._input += rest
        self._advance()

    def _refuse(self, error: RegistryError) -> None:
        """Says what is wrong with a request that no app sees, and ends: what follows cannot be trusted."""
        if self._turn is not None:  # a broken body
            return None if self._turn.fail(error) else self.cut()
        method, path = self._heads.asked()
        head, remote = method == "HEAD", self._client[0] if self._client else ""
        request_id = self._shared.refused(method, path, error.status, 0 if head else len(to_json(error)), remote)
        self.write(refusal(error, request_id, self.default_lines(), head=head))
        return self._linger()

    def _linger(self) -> None:
        """Ends our side and reads on for a moment: closing at once would reset the connection, and a client that still
        sends might never see the answer (RFC 9112 section 9.6)."""
        if not self._transport.can_write_eof():  # TLS
            return self.close()
        self._closing = True
        self._transport.write_eof()
        self._loop.call_later(_LINGER_SECONDS, self._drop)
        return None

    def _next_request(self) -> None:
        self._patience.idle()

    def _answer_sent(self) -> None:
        turn, self._turn = self._turn, None
        assert turn is not None
        self._next_request()
        if turn.broken:
            return self._linger()
        return self._advance() if turn.keep_alive and turn.body.complete else self.close()

    # What goes out

    def default_lines(self) -> bytes:
        """The header lines that every answer has."""
        return self._connections.lines

    def write(self, content: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(content)

    async def writable(self) -> None:
        await self._can_write.wait()

    def pause_writing(self) -> None:
        self._can_write.clear()
        self._patience.writing(blocked=True)

    def resume_writing(self) -> None:
        self._can_write.set()
        self._patience.writing(blocked=False)
        if self._turn is None:
            self._advance()

    async def send_file(self, file: int, offset: int, count: int) -> None:
        """The bytes of a file after all that was written before. Cuts the connection when it cannot send them all."""
        try:
            await zerocopy.all_written(self._transport, self.writable, _OUT_HIGH)
            if self._closing:
                return
            if self._encrypted:
                await self._send_lent(file, offset, count)
            else:
                sock = self._transport.get_extra_info("socket").fileno()
                await zerocopy.send(self._loop, sock, file, offset, count, stalled=self._limits.answer_seconds)
        except BaseException:  # also cancelled: the client must not take half for whole
            self.cut()
            raise

    async def _send_lent(self, file: int, offset: int, count: int) -> None:
        lent, rest = self.lend()
        try:
            await self._shared.outflows.send(lent, file, offset, count)
        finally:
            self.give_back(lent, rest)
