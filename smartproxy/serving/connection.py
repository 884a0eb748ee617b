"""A connection given to a coroutine function.

::

    async def shout(connection):
        while data := await connection.read():
            await connection.write(data.upper())

When the coroutine returns, the connection is closed in order: pending data is sent, then a FIN, and the client has
``halfCloseTimeout`` to read it and close, too. When the coroutine raises, the connection is reset and the failure is
logged with the route. When the client resets the connection, or the proxy ends it (a timeout, a shutdown, a request to
the admin API), the coroutine is cancelled: its current ``await`` raises ``CancelledError``, and its ``finally`` blocks
run.

It may await Deferreds and coroutines; an asyncio future must be wrapped by ``Deferred.fromFuture``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone

from smartproxy.errors import Refused
from smartproxy.flow.coroutines import CancellableCoroutine
from smartproxy.model.outcome import CloseReason, EndedBy
from smartproxy.net.half_close import end_output
from smartproxy.serving.served import Served
from smartproxy.serving.streams import InputStream, OutputStream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeAlias

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.flow.side import Side
    from smartproxy.model.address import Endpoint
    from smartproxy.model.facts import ApplicationProtocol, Routed, TlsFacts
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.proxy_header import ProxyHeader

    #: A coroutine function that serves a connection.
    Serve: TypeAlias = Callable[["Connection"], Coroutine[Any, Any, object]]


class Connection:
    """A client's connection, for the coroutine that serves it.

    :ivar facts: everything known of it; the properties below give what is needed most.
    """

    def __init__(self, served: ServedCoroutine, facts: Routed, clock: IReactorTime) -> None:
        self.facts = facts
        self._served = served
        self._clock = clock
        #: What fires when the connection is closed, if it has not before.
        self._until_gone: list[Deferred[None]] = []

    # -- who it is -------------------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """Its number, as in the log, the access log and the admin API."""
        return self._served.record.id

    @property
    def client(self) -> Endpoint:
        """The client: as announced by a trusted proxy, else the peer."""
        return self.facts.detected.announced.client

    @property
    def peer(self) -> Endpoint:
        """The peer of the TCP connection: the client, or the proxy in front of this one."""
        return self.facts.detected.announced.accepted.peer

    @property
    def port(self) -> int:
        """The local port it was accepted on."""
        return self.facts.detected.port

    @property
    def route(self) -> str:
        """The name of its route."""
        return self.facts.route.name

    @property
    def sni(self) -> str | None:
        """The server name of the ClientHello; ``None`` without TLS, or where no route needed the first bytes."""
        hello = self.facts.detected.hello
        return None if hello is None else hello.server_name

    @property
    def tls(self) -> TlsFacts | None:
        """The result of the TLS handshake with the client; ``None`` where the route does not terminate TLS."""
        return self.facts.detected.secured

    @property
    def host(self) -> str | None:
        """The Host of its HTTP request, lower case, without port; ``None`` likewise."""
        request = self.facts.detected.request
        return None if request is None else request.host

    @property
    def protocol(self) -> ApplicationProtocol:
        """The detected protocol, likewise."""
        return self.facts.detected.protocol

    @property
    def request(self) -> RequestHead | None:
        """The head of its HTTP request, likewise. :meth:`read` returns it again."""
        return self.facts.detected.request

    @property
    def header(self) -> ProxyHeader | None:
        """The PROXY header that announced it."""
        return self.facts.detected.announced.header

    # -- bytes -----------------------------------------------------------------------------------------

    async def read(self, n: int = -1, *, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - Twisted has no scope of asyncio's
        """At least one byte and at most ``n`` (-1: all that is buffered); ``b""`` after the client's FIN.

        :param timeout: seconds.
        :raises TimeoutError: when nothing was received by then. Later data can still be read.
        """
        return await self._served.input.read(n, timeout)

    async def write(self, data: bytes) -> None:
        """Send ``data``. Returns when more can be written without exceeding the send buffer.

        :raises twisted.internet.error.ConnectionClosed: after :meth:`end` or :meth:`close`, or when the connection is lost.
        :raises TypeError: where ``data`` is not bytes.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be bytes (got {type(data).__name__})")
        await self._served.output.write(data)

    async def wait(self, seconds: float) -> None:
        """Sleep for ``seconds`` of the proxy's clock, or until the connection ends.

        :raises twisted.internet.error.ConnectionClosed: if it has ended already, so that a loop ends with it, too.
        """
        if self._served.gone_already:
            raise ConnectionClosed("the connection has ended")
        asleep: Deferred[None] = Deferred(lambda waiting: waiting.callback(None))
        self._until_gone.append(asleep)
        call = self._clock.callLater(seconds, asleep.callback, None)
        await asleep
        if asleep in self._until_gone:
            self._until_gone.remove(asleep)
        if call.active():
            call.cancel()

    def seconds(self) -> float:
        """Monotonic seconds: the proxy's clock."""
        return self._clock.seconds()

    # -- ends ------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Send a FIN after pending data; the client may go on sending.

        With TLS on a transport of Twisted's both directions end.
        """
        self._served.end_output()

    def close(self) -> Deferred[None]:
        """Close after pending data is sent. The Deferred fires when the connection is closed."""
        self._served.close()
        over: Deferred[None] = Deferred()
        if self._served.gone_already:
            over.callback(None)
        else:
            self._until_gone.append(over)
        return over

    def abort(self) -> None:
        """Close now with a RST; pending data may be lost."""
        self._served.reset()

    def gone(self) -> None:
        """The connection is closed: fire the Deferreds that :meth:`close` returned, and wake what sleeps."""
        over, self._until_gone = self._until_gone, []
        for waiting in over:
            if not waiting.called:
                waiting.callback(None)


class ServedCoroutine(Served):
    """A connection that a coroutine serves.

    :ivar gone_already: whether the socket is closed.
    """

    def __init__(
        self, record: ConnectionRecord, side: Side, clock: IReactorTime, serve: Serve, facts: Routed
    ) -> None:
        super().__init__(record, side, clock.seconds)
        self.input = InputStream(self.transport, lambda count: record.moved_in(count, clock.seconds()), clock)
        self.output = OutputStream(self.transport, lambda count: record.moved_out(count, clock.seconds()))
        self._connection: Connection | None = Connection(self, facts, clock)
        self._serve = serve
        self._running: CancellableCoroutine[object] | None = None
        self._call_soon = lambda call: clock.callLater(0, call)
        self._refused: BaseException | None = None
        self._closing = False
        self._left: Failure | None = None
        self.gone_already = False

    # -- from the client -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the coroutine."""
        self.transport.registerProducer(self.output, True)
        assert self._connection is not None  # noqa: S101 - it is only cleared when the connection closes
        self._running = CancellableCoroutine(self._serve(self._connection), self._call_soon)
        self._running.start().addCallbacks(self._returned, self._raised)

    def data_received(self, data: bytes) -> None:
        """Buffer received bytes for the reader."""
        if not self.deaf:
            self.input.arrived(data)

    def input_ended(self) -> None:
        """The client has sent a FIN."""
        self.record.half_closed(EndedBy.CLIENT)
        self.input.finished()
        if self._closing:
            self.transport.loseConnection()

    def lost(self, why: Failure) -> None:
        """The connection is closed. After an orderly close by both sides the coroutine may run to its own end."""
        orderly = self.output.closed and why.check(ConnectionDone) is not None
        if orderly and self._running is not None and not self._closing:
            self._left = why
            self.input.finished()
        else:
            super().lost(why)

    def closed(self, why: Failure) -> None:
        """Wake a reader after an orderly close, and cancel the coroutine."""
        self.gone_already = True
        self.output.closed = True
        if why.check(ConnectionDone):
            self.input.finished()
        connection, self._connection = self._connection, None  # break the reference cycle
        if self._running is not None and not self._closing:
            self._running.cancel()
        self.input.finished()  # after the cancel: a coroutine must not take a reset for the end of the input
        self.output.finish()
        if connection is not None:
            connection.gone()

    def over(self, why: Failure) -> None:
        """Let :attr:`done` happen. A connection that the handler refused is counted as refused, however its socket closed."""
        refused, self._refused = self._refused, None  # its traceback refers to frames that hold this object
        if refused is None:
            super().over(why)
            return
        self.side.receiver = self._connection = None  # the latter is a reference cycle, too
        if not self.done.has_happened:
            self.done.fail(refused)

    def abort(self, reason: CloseReason) -> None:
        """End it now, with a reset."""
        super().abort(reason)
        self._give_up()

    # -- from the coroutine ----------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset the connection, or finish its orderly close."""
        super().reset()
        self._give_up()

    def end_output(self) -> None:
        """Send a FIN after pending data."""
        if not self.output.closed:
            self.output.finish()
            end_output(self.transport)
            self.record.half_closed(EndedBy.TARGET)

    def close(self) -> None:
        """Stop reading and writing; the client may read pending data and close."""
        if self._closing:
            return
        self._closing = self.deaf = True
        if self._left is not None:  # the transport has closed already
            self._give_up()
        elif self.input.ended:
            self.output.finish()
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        else:
            self.end_output()
            self.transport.resumeProducing()

    def _returned(self, _: object) -> None:
        """The coroutine has returned."""
        self._running = None
        self._give_up()
        if not self.gone_already:
            self.close()

    def _raised(self, why: Failure) -> None:
        """The coroutine has raised. A CancelledError or ConnectionClosed of a closed connection is no failure."""
        self._running = None
        moved = self.record.bytes_received or self.record.bytes_sent
        if why.check(Refused) and not moved and not self.done.has_happened:
            self._refuse(why)
        elif not (self.gone_already and why.check(CancelledError, ConnectionClosed)):
            self.fail(why)
            self._give_up()
        # Frames of the traceback refer to this failure: a reference cycle that holds the connection. Its text stays.
        why.cleanFailure()

    def _refuse(self, why: Failure) -> None:
        """The handler has refused the client: return its side to the control path, which answers and closes it."""
        self._refused = why.value
        if not self.gone_already and self._reason is None:
            self.transport.unregisterProducer()
            self.over(why)

    def _give_up(self) -> None:
        """Finish an orderly close that waited for the coroutine."""
        left, self._left = self._left, None
        if left is not None:
            super().lost(left)
