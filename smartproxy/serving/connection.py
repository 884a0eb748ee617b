"""A connection given to a coroutine function.

::

    async def shout(connection):
        while data := await connection.read():
            await connection.write(data.upper())

When the coroutine returns, the connection is closed, in order: what was written goes out, then the end of our
direction, and the client has ``halfCloseTimeout`` to read it and close, too. When it raises, the connection is
reset and the failure logged with its route. When the client resets the connection, or the proxy ends it (a
timeout, a shutdown, somebody in the admin API), the coroutine is cancelled: ``CancelledError`` comes out of
whatever it waits for, and its ``finally`` blocks run.

It may await Deferreds and other coroutines; an asyncio future goes through ``Deferred.fromFuture``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone

from smartproxy.errors import Refused
from smartproxy.model.outcome import CloseReason
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
    from smartproxy.model.facts import ApplicationProtocol, Routed
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.proxy_header import ProxyHeader

    #: What serves connections as a coroutine.
    Serve: TypeAlias = Callable[["Connection"], Coroutine[Any, Any, object]]


class Connection:
    """A client's connection, for the code that serves it.

    :ivar facts: all that is known of it; the properties below are what is asked most.
    """

    def __init__(self, served: ServedCoroutine, facts: Routed, clock: IReactorTime) -> None:
        self.facts = facts
        self._served = served
        self._clock = clock
        self._leaving: list[Deferred[None]] = []

    # -- who it is -------------------------------------------------------------------------------------

    @property
    def client(self) -> Endpoint:
        """The client, as announced where a trusted proxy has announced one."""
        return self.facts.detected.announced.client

    @property
    def peer(self) -> Endpoint:
        """Who has really connected: the client, or the proxy before us."""
        return self.facts.detected.announced.accepted.peer

    @property
    def port(self) -> int:
        """The port on which it came in."""
        return self.facts.detected.port

    @property
    def route(self) -> str:
        """The name of its route."""
        return self.facts.route.name

    @property
    def sni(self) -> str | None:
        """The name that the client asks for, by SNI or Host, where some route had to know."""
        return self.facts.detected.domain

    @property
    def protocol(self) -> ApplicationProtocol:
        """What it speaks, likewise."""
        return self.facts.detected.protocol

    @property
    def request(self) -> RequestHead | None:
        """The head of its HTTP request, likewise. It is still to be read."""
        return self.facts.detected.request

    @property
    def header(self) -> ProxyHeader | None:
        """The PROXY header that announced it."""
        return self.facts.detected.announced.header

    # -- bytes -----------------------------------------------------------------------------------------

    async def read(self, n: int = -1, *, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - Twisted has no scope of asyncio's
        """At least one byte and at most ``n`` (-1: what has come); ``b""`` when the client has ended its direction.

        :param timeout: seconds.
        :raises TimeoutError: when nothing has come by then. What comes later can still be read.
        """
        return await self._served.input.read(n, timeout)

    async def write(self, data: bytes) -> None:
        """Send ``data``. Returns when there is room for more.

        :raises twisted.internet.error.ConnectionClosed: after :meth:`end` or :meth:`close`, or when it has gone.
        """
        await self._served.output.write(data)

    async def wait(self, seconds: float) -> None:
        """Do nothing for so long, on the proxy's clock; not so long where the connection ends before."""
        asleep: Deferred[None] = Deferred(lambda waiting: waiting.callback(None))
        call = self._clock.callLater(seconds, asleep.callback, None)
        await asleep
        if call.active():
            call.cancel()

    def seconds(self) -> float:
        """Monotonic seconds: the proxy's clock."""
        return self._clock.seconds()

    # -- ends ------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End our direction once everything is written (a FIN); the client's goes on.

        Where it is within TLS both end.
        """
        self._served.end_output()

    def close(self) -> Deferred[None]:
        """Close in order. Whoever wants to may wait until the connection has gone."""
        self._served.close()
        over: Deferred[None] = Deferred()
        if self._served.gone_already:
            over.callback(None)
        else:
            self._leaving.append(over)
        return over

    def abort(self) -> None:
        """Close now, with a reset; what was written may be lost."""
        self._served.abort(CloseReason.UPSTREAM_RESET)

    def gone(self) -> None:
        """It has gone: whoever waits for that goes on."""
        over, self._leaving = self._leaving, []
        for waiting in over:
            waiting.callback(None)


class ServedCoroutine(Served):
    """A connection that a coroutine serves.

    :ivar gone_already: whether there is a socket no more.
    """

    def __init__(
        self, record: ConnectionRecord, side: Side, clock: IReactorTime, serve: Serve, facts: Routed
    ) -> None:
        super().__init__(record, side, clock.seconds)
        self.input = InputStream(self.transport, lambda count: record.moved_in(count, clock.seconds()), clock)
        self.output = OutputStream(self.transport, lambda count: record.moved_out(count, clock.seconds()))
        self._connection: Connection | None = Connection(self, facts, clock)
        self._serve = serve
        self._running: Deferred[Any] | None = None
        self._refused: Failure | None = None
        self._closing = False
        self._left: Failure | None = None
        self.gone_already = False

    # -- from the client -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the coroutine."""
        self.transport.registerProducer(self.output, True)
        assert self._connection is not None  # noqa: S101 - it has not gone before it has begun
        self._running = Deferred.fromCoroutine(self._serve(self._connection))
        self._running.addCallbacks(self._returned, self._raised)

    def data_received(self, data: bytes) -> None:
        """For whoever reads."""
        if not self.deaf:
            self.input.arrived(data)

    def input_ended(self) -> None:
        """The client has ended its direction."""
        self.record.half_closed()
        self.input.finished()
        if self._closing:
            self.transport.loseConnection()

    def lost(self, why: Failure) -> None:
        """The connection has gone. When both have ended it in order, the coroutine may go on to its own end."""
        orderly = self.output.closed and why.check(ConnectionDone) is not None
        if orderly and self._running is not None and not self._closing:
            self._left = why
            self.input.finished()
        else:
            super().lost(why)

    def closed(self, why: Failure) -> None:
        """Wake or cancel the coroutine."""
        self.gone_already = True
        self.output.closed = True
        if why.check(ConnectionDone):
            self.input.finished()
        else:
            self.input.ended = True
        connection, self._connection = self._connection, None  # nothing points in a circle any more
        if connection is not None:
            connection.gone()
        if self._running is not None and not self._closing:
            self._running.cancel()
        self.output.finish()

    def over(self, why: Failure) -> None:
        """The last of it: one that was refused is counted as such, whatever became of its socket."""
        if self._refused is None:
            super().over(why)
            return
        self.side.receiver = None
        if not self.done.called:
            self.done.errback(self._refused)

    def abort(self, reason: CloseReason) -> None:
        """End it now, with a reset."""
        super().abort(reason)
        self._give_up()

    # -- from the coroutine ----------------------------------------------------------------------------

    def end_output(self) -> None:
        """No more is written."""
        if not self.output.closed:
            self.output.finish()
            end_output(self.transport)
            self.record.half_closed()

    def close(self) -> None:
        """Nothing is written or read any more; the client may read what was written, and close."""
        if self._closing:
            return
        self._closing = self.deaf = True
        if self.input.ended:
            self.output.finish()
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        else:
            self.end_output()
            self.transport.resumeProducing()

    def _returned(self, _: object) -> None:
        """It is done with the connection."""
        self._running = None
        self._give_up()
        if not self.gone_already:
            self.close()

    def _raised(self, why: Failure) -> None:
        """It has raised; when it had to, because the connection has gone, that is no failure."""
        self._running = None
        moved = self.record.bytes_received or self.record.bytes_sent
        if why.check(Refused) and not moved and not self.done.called:
            self._refuse(why)
        elif not (self.gone_already and why.check(CancelledError, ConnectionClosed)):
            self.fail(why)
            self._give_up()

    def _refuse(self, why: Failure) -> None:
        """The client's side goes back to whoever lets go of it; one that was reset has to go first."""
        self._refused = why
        if not self.gone_already and self._reason is None:
            self.transport.unregisterProducer()
            self.over(why)

    def _give_up(self) -> None:
        """It waits for nobody any more."""
        left, self._left = self._left, None
        if left is not None:
            super().lost(left)
