r"""A request given to a coroutine function, which answers it.

::

    async def hello(exchange):
        await exchange.respond(200, {"Content-Type": "text/plain"}, b"Hello\n")

    async def upload(exchange):
        async for piece in exchange.body:
            store(piece)
        await exchange.respond(204)

A coroutine that raises, or returns without an answer, is a 500 with nothing internal in it, logged with the route. Where the
answer has begun the connection is cut, so that the client does not take a part for the whole. When the client disconnects, or the
proxy ends the exchange (a timeout, a stop), the coroutine is cancelled: its current ``await`` raises ``CancelledError``, and
everything that it does with the exchange afterwards raises ``ConnectionClosed``.

It may await Deferreds and coroutines; an asyncio future must be wrapped by ``Deferred.fromFuture``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from smartproxy.http.forwarded import believed
from smartproxy.http.templates import captured, query_of
from smartproxy.http.tracing import id_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable, Iterator
    from typing import TypeAlias

    from smartproxy.http.local.body_stream import BodyStream
    from smartproxy.model import exchange
    from smartproxy.model.address import Endpoint
    from smartproxy.model.facts import Routed, TlsFacts
    from smartproxy.serving.connection import Connection
    from smartproxy.wire.http_fields import Fields

    #: Fields of an answer: names and values.
    AnswerFields: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

#: Bytes that :meth:`ServedExchange.read` takes at most, unless it is told otherwise.
READ_LIMIT: Final = 1024 * 1024


class Answering(Protocol):
    """Answers for an exchange: :class:`~smartproxy.http.local.handler.HandlerAnswerer`."""

    protocol: str

    async def send(
        self, status: int, headers: AnswerFields, body: bytes | bytearray | memoryview | AsyncIterable[bytes]
    ) -> None: ...

    def inform(self, status: int, headers: AnswerFields) -> None: ...

    def upgrade(self, headers: AnswerFields) -> Connection: ...


class RequestHeaders(Mapping[str, str]):
    """The header fields of a request, by names in any case. Several fields of one name are one value, with commas."""

    def __init__(self, fields: Fields) -> None:
        self._pairs = fields.pairs()
        self._values: dict[str, list[str]] = {}
        for name, value in self._pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        """The value of a field.

        :raises KeyError: where there is none.
        """
        return ", ".join(self._values[name.lower()])

    def __iter__(self) -> Iterator[str]:
        """The names, in lower case."""
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def all(self, name: str) -> list[str]:
        """The values of all fields of this name."""
        return list(self._values.get(name.lower(), ()))

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Names in lower case and values, in the order received."""
        return self._pairs


class ServedExchange:
    """One request, for the coroutine that answers it. Its public name is ``Exchange``.

    :ivar method: as received.
    :ivar host: lower case, without port; ``None`` in HTTP/1.0 without Host.
    :ivar path: as received: percent-encoded, without the query.
    :ivar query: as received, without its ``?``; empty where there is none.
    :ivar client: the client's address: as announced by a trusted proxy, else that of the connection.
    :ivar route: the name of the route.
    :ivar body: an asynchronous iterator of bytes.
    """

    def __init__(self, about: exchange.Exchange, answerer: Answering, body: BodyStream) -> None:
        head = about.head
        self._exchange = about
        self._answerer = answerer
        self.method = head.method
        self.host = head.host
        self.path = head.path
        self.query = query_of(about)[1:]
        self.client: Endpoint = about.routed.detected.announced.client
        self.route = about.routed.route.name
        self.body = body

    def __repr__(self) -> str:
        return f"<Exchange {self.id}: {self.method} {self.path}>"

    @cached_property
    def headers(self) -> RequestHeaders:
        """The header fields, by names in any case.

        Those that say who the client is (``X-Forwarded-*``, ``X-Real-IP``, ``Forwarded``) are there only where a peer in
        ``proxyIPs`` has sent them.
        """
        exchange = self._exchange
        return RequestHeaders(believed(exchange.head.fields, trusted=exchange.is_trusted))

    @property
    def params(self) -> Mapping[str, str]:
        """What the names in ``match.path`` stand for, as received."""
        return captured(self._exchange)

    @property
    def id(self) -> str:
        """The id of the request, as in the log and in ``X-Request-Id``."""
        return id_of(self._exchange)

    @property
    def facts(self) -> Routed:
        """Everything known of the connection, and the route."""
        return self._exchange.routed

    @property
    def tls(self) -> TlsFacts | None:
        """The result of the TLS handshake with the client; ``None`` without TLS."""
        return self._exchange.routed.detected.secured

    @property
    def scheme(self) -> str:
        """``https`` or ``http``."""
        return "http" if self.tls is None else "https"

    @property
    def upgrade_to(self) -> str:
        """The protocol that the client asks to switch to, in lower case, like ``websocket``; empty for none."""
        return self._answerer.protocol

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """The whole body, as far as it was not read yet.

        :raises BodyTooLong: where it is over ``limit`` bytes; a handler that does not catch it answers 413.
        :raises twisted.internet.error.ConnectionClosed: where the exchange has ended.
        """
        return await self.body.read(limit)

    async def respond(
        self,
        status: int,
        headers: AnswerFields = (),
        body: bytes | bytearray | memoryview | AsyncIterable[bytes] = b"",
    ) -> None:
        """Answer. Returns when everything is written, at the speed at which the client reads.

        :param status: a final one.
        :param headers: besides those that frame the body, in Latin-1. ``Date`` is added where it is missing.
        :param body: bytes, or an asynchronous iterator of bytes: of unknown length, unless ``Content-Length`` is among the headers.
        :raises ValueError: for a status or a header that cannot be sent; a body unlike its ``Content-Length``.
        :raises RuntimeError: where an answer has begun before.
        :raises twisted.internet.error.ConnectionClosed: where the exchange has ended.
        """
        await self._answerer.send(status, headers, body)

    def informational(self, status: int, headers: AnswerFields = ()) -> None:
        """Send an answer of 1xx before the final one, such as 103 Early Hints. A client of HTTP/1.0 gets none.

        :raises ValueError: for another status, and 101.
        :raises RuntimeError: where the final answer has begun.
        :raises twisted.internet.error.ConnectionClosed: where the exchange has ended.
        """
        self._answerer.inform(status, headers)

    def upgrade(self, headers: AnswerFields = ()) -> Connection:
        """Switch to the protocol that the client has asked for (101). The connection is closed when the coroutine returns.

        :param headers: besides ``Connection`` and ``Upgrade``.
        :raises RuntimeError: where the client has not asked for one, or an answer has begun.
        :raises twisted.internet.error.ConnectionClosed: where the exchange has ended.
        """
        return self._answerer.upgrade(headers)


#: The public name.
Exchange = ServedExchange
