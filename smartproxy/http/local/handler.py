"""Answers by coroutine functions of a program: see :mod:`smartproxy.http.local.served_exchange`.

A client that has ended its direction may still read, or be gone: only what is sent to it can tell. A program that waits has nothing
to send. So such a client is taken as gone when :data:`LEAVING` seconds have passed in which nothing was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed
from twisted.logger import Logger

from smartproxy.errors import BodyTooLong, Refused
from smartproxy.flow.coroutines import CancellableCoroutine
from smartproxy.http.date_field import missing_date
from smartproxy.http.errors import status_of
from smartproxy.http.local.answering import (
    DISCARDED,
    LocalAnswerer,
    expects_continue,
    octets,
)
from smartproxy.http.local.body_stream import BodyStream
from smartproxy.http.local.served_exchange import ServedExchange
from smartproxy.http.local.services import LocalAnswers
from smartproxy.http.local.tunnel import LocalTunnel
from smartproxy.http.states import ReplyState
from smartproxy.http.terms import request_terms
from smartproxy.http.upgrade import upgrade_lines
from smartproxy.model.ending import about, in_words
from smartproxy.model.outcome import CloseReason
from smartproxy.wire.http_answer import AnswerHead, build_head
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_framing import Body
from smartproxy.wire.http_response import BODILESS, CONTENTLESS, phrase

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Sequence
    from typing import TypeAlias

    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadline
    from smartproxy.http.interfaces import Answerer, AnswerReceiver
    from smartproxy.http.local.served_exchange import AnswerFields
    from smartproxy.http.local.services import LocalServices
    from smartproxy.model.exchange import Exchange
    from smartproxy.serving.connection import Connection

    #: A coroutine function that answers requests.
    ServeExchange: TypeAlias = Callable[[ServedExchange], Coroutine[Any, Any, object]]

#: Seconds after the client's FIN. A client that reads on after its FIN has nearly always got its answer by then.
LEAVING: Final = 1.0
#: Bytes written at once.
PIECE: Final = 256 * 1024
_CONTINUE, _SWITCHING, _TOO_LARGE, _ERROR = 100, 101, 413, 500
_INFORMATIONAL: Final = range(102, 200)
_FINAL: Final = range(200, 600)
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_AWAITED, _STARTED, _COMPLETE = ReplyState

log = Logger()


class HandlerAnswers(LocalAnswers):
    """Answers by a coroutine function, which is called for each exchange."""

    def __init__(self, serve: ServeExchange) -> None:
        self.serve = serve

    def __call__(self, exchange: Exchange, client: AnswerReceiver, services: LocalServices) -> Answerer:
        """The answerer of one exchange."""
        return HandlerAnswerer(self.serve, exchange, client, services)


class HandlerAnswerer(LocalAnswerer):
    """Runs the coroutine of one exchange.

    :ivar protocol: that the client asks to switch to; empty for none.
    """

    def __init__(
        self, serve: ServeExchange, exchange: Exchange, client: AnswerReceiver, services: LocalServices
    ) -> None:
        super().__init__(exchange, client, services)
        self.protocol = request_terms(exchange.head).upgrade
        self._serve = serve
        self._body = BodyStream(client.pause_request, client.resume_request, self._continue)
        self._running: CancellableCoroutine[object] | None = None
        self._state = _AWAITED
        self._tunnel: LocalTunnel | None = None
        self._owes_continue = expects_continue(exchange) and exchange.framing.body is not Body.NONE
        self._is_paused = False
        self._writer: Deferred[None] | None = None
        self._leaving: Deadline | None = None

    # -- the request: see Answerer -------------------------------------------------------------------

    def begin(self) -> None:
        """Run the coroutine, if there is a body that it may read while it is received."""
        if self.exchange.framing.body is not Body.NONE:
            self._run()

    def request_data(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Hold a part of the body until it is read."""
        self._owes_continue = False
        self._body.received(pieces)

    def request_end(self, trailers: bytes) -> None:
        """The request is complete."""
        self._body.ended()
        if self.protocol:
            # What asks to switch takes the connection from whoever is calling now.
            self.services.call_soon(self._run)
        else:
            self._run()

    def client_ended(self) -> None:
        """The client has ended its direction: it may be gone."""
        sent = self.exchange.response_bytes
        self._leaving = self.services.deadlines.call_later(LEAVING, lambda: self._check_client(sent))

    def cancel(self) -> None:
        """No answer is wanted any more: cancel the coroutine."""
        super().cancel()
        self._release()
        if self._running is not None:
            self._running.cancel()

    def pause_answer(self) -> None:
        """The client does not read: let the coroutine wait."""
        self._is_paused = True

    def resume_answer(self) -> None:
        """Let it go on."""
        self._is_paused = False
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.callback(None)

    def _check_client(self, sent: int) -> None:
        if self.client is None:
            return
        if self._is_paused or self.exchange.response_bytes != sent:
            self.client_ended()
        else:
            self.exchange.record.owner.abort(CloseReason.CLIENT_RESET)

    def _continue(self) -> None:
        """The body is wanted: tell a client that waits to be told (RFC 9110, 10.1.1)."""
        if self._owes_continue and self.client is not None:
            self._owes_continue = False
            self.client.informational(AnswerHead(_CONTINUE, b"Continue", (1, 1), Fields()))

    # -- the coroutine -------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._has_begun or self.client is None:
            return
        self._has_begun = True
        served = ServedExchange(self.exchange, self, self._body)
        self._running = CancellableCoroutine(self._serve(served), self.services.call_soon)
        self._running.start().addCallbacks(self._returned, self._raised)

    def _returned(self, _: object) -> None:
        self._running = None
        if self._tunnel is not None:
            self._tunnel.finished(None)
        elif self.client is not None:
            how = "without an answer" if self._state is _AWAITED else "before its answer was complete"
            log.error(
                "connection {id} on route {route}: its handler returned {how}: {about}",
                how=how,
                **self._logged(),
            )
            self._fail(_ERROR, f"its handler returned {how}")

    def _raised(self, why: Failure) -> None:
        self._running = None
        if self._tunnel is not None:
            self._tunnel.finished(why)
            return
        if self.client is None and why.check(CancelledError, ConnectionClosed):
            pass
        elif self.client is not None and isinstance(why.value, Refused):
            self._fail(status_of(why.value), why.value.detail)
        elif self.client is not None and why.check(BodyTooLong):
            self._fail(_TOO_LARGE, str(why.value))
        else:
            log.failure(
                "connection {id} on route {route}: its handler failed: {about}",
                failure=why,
                **self._logged(),
            )
            self._fail(_ERROR, f"its handler raised {in_words(why.value)}")
        why.cleanFailure()  # frames of the traceback refer to this failure

    def _logged(self) -> dict[str, Any]:
        record = self.exchange.record
        return {"id": record.id, "route": self.exchange.routed.route.name, "about": about(record)}

    def _fail(self, status: int, detail: str) -> None:
        self._release()
        self.fail(status, detail)

    def _release(self) -> None:
        """Wake what waits for the client, and drop what was received of it."""
        self._body.cut()
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            leaving.cancel()
        self.resume_answer()

    # -- the answer: see ServedExchange --------------------------------------------------------------

    async def send(
        self, status: int, headers: AnswerFields, body: bytes | bytearray | memoryview | AsyncIterable[bytes]
    ) -> None:
        """Send the answer."""
        self._require_unanswered()
        if status not in _FINAL:
            raise ValueError(f"status must be 200 to 599 (got {status!r})")
        fields = _fields(headers)
        if isinstance(body, bytes | bytearray | memoryview):
            data = octets(body)
            if data and status in CONTENTLESS:
                raise ValueError(f"an answer with status {status} has no body")
            await self._send_whole(status, fields, data)
        elif hasattr(body, "__aiter__"):
            await self._send_pieces(status, fields, body)
        else:
            raise TypeError(
                f"body must be bytes or an asynchronous iterator of bytes (got {type(body).__name__})"
            )

    async def _send_whole(self, status: int, fields: Fields, body: memoryview) -> None:
        if not self._owes_continue and self.exchange.framing.length <= DISCARDED:
            await self._body.discard(DISCARDED)  # so that the connection stays usable
            self._require_unanswered()
        announced = _length(fields) if self.exchange.head.method == "HEAD" and not body else None
        length = len(body) if announced is None else announced
        self._begin(status, fields, None if status in BODILESS else length)
        if self.has_body(status):
            for start in range(0, len(body), PIECE):
                await self._write(body[start : start + PIECE])
        self._complete()

    async def _send_pieces(self, status: int, fields: Fields, body: AsyncIterable[bytes]) -> None:
        length, pieces = _length(fields), aiter(body)
        try:
            if self._owes_continue and self.has_body(status):
                # To produce the first piece, the iterator may read the request's body. A 100 can be sent only before the head of the answer.
                first = await anext(pieces, b"")
                self._require_unanswered()
            else:
                first = b""
            self._begin(status, fields, length, chunked=length is None)
            if self.has_body(status):
                await self._send_all(first, pieces, length)
        finally:
            # The finally blocks of a generator run now, and not when it is collected.
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
        self._complete()

    async def _send_all(self, first: bytes, rest: AsyncIterator[bytes], length: int | None) -> None:
        sent = 0
        async for piece in _chained(first, rest):
            data = octets(piece)
            sent += len(data)
            if length is not None and sent > length:
                break
            if data:
                await self._write(data)
                self._flush()
        if length is not None and sent != length:
            raise ValueError(f"the body is not as long as its Content-Length, which is {length}")

    def _begin(self, status: int, fields: Fields, length: int | None, *, chunked: bool = False) -> None:
        self._state = _STARTED
        self.answer_head(status, Fields(fields.without(_FRAMING)), length, chunked=chunked)
        if chunked:
            self._flush()  # the first piece may be far away

    def _flush(self) -> None:
        if self.client is not None:
            self.client.answer_flush()

    async def _write(self, data: memoryview) -> None:
        """Write a piece, when the client has read those before."""
        if self._is_paused:
            writer: Deferred[None] = Deferred(self._forget_writer)
            self._writer = writer
            await writer
        if self.client is None:
            raise ConnectionClosed("the exchange has ended")
        self.client.answer_data((data,))

    def _forget_writer(self, _: Deferred[None]) -> None:
        self._writer = None

    def _complete(self) -> None:
        if self.client is None:
            raise ConnectionClosed("the exchange has ended")
        self._state = _COMPLETE
        self._release()
        self.end()

    def inform(self, status: int, headers: AnswerFields) -> None:
        """Send an answer of 1xx."""
        self._require_unanswered()
        if status not in _INFORMATIONAL:
            raise ValueError(f"status must be 102 to 199 (got {status!r})")
        if self.client is not None:
            self.client.informational(AnswerHead(status, phrase(status).encode(), (1, 1), _fields(headers)))

    def upgrade(self, headers: AnswerFields) -> Connection:
        """Switch to another protocol."""
        self._require_unanswered()
        client = self.client
        if not self.protocol or client is None or self._running is None:
            raise RuntimeError("the client has not asked to switch to another protocol")
        lines = Fields(_fields(headers).without(_FRAMING | {b"connection", b"upgrade"}))
        dated = missing_date(lines.block)
        self._state, self._client = _COMPLETE, None
        self._release()
        tunnel = self._tunnel = LocalTunnel(self._running.cancel)
        head = dated + lines.block + upgrade_lines(self.protocol)
        client.switch(build_head(_SWITCHING, b"Switching Protocols", head), tunnel)
        if tunnel.connection is None:
            raise ConnectionClosed("the exchange has ended")
        return tunnel.connection

    def _require_unanswered(self) -> None:
        if self._state is not _AWAITED:
            raise RuntimeError("the exchange has an answer already")
        if self.client is None:
            raise ConnectionClosed("the exchange has ended")


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _fields(headers: AnswerFields) -> Fields:
    """Checked fields.

    :raises ValueError: where one cannot be written as a line.
    """
    return Fields.of(headers.items() if isinstance(headers, Mapping) else headers)


def _length(fields: Fields) -> int | None:
    """The Content-Length that a program has set.

    :raises ValueError: where it is no number.
    """
    values = fields.noted("content-length")
    if not values:
        return None
    if len(values) > 1 or not values[0].isascii() or not values[0].isdigit():
        raise ValueError(f"not a Content-Length: {values!r}")
    return int(values[0])
