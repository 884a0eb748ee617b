"""Serving a connection in this process: a handler stands where a target would.

A handler is a Twisted protocol factory. Its protocol gets a transport that counts, so that its bytes are
told to the record like any backend's: what it was given is ``received``, what it wrote is ``sent``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, ITransport
from twisted.python.components import proxyForInterface

from smartproxy.model.outcome import CloseReason, Relay, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.python.failure import Failure

    from smartproxy.flow.side import Side
    from smartproxy.model.facts import Routed
    from smartproxy.model.record import ConnectionRecord


class _Counted(proxyForInterface(ITransport, "real")):  # type: ignore[misc] # made at run time
    """A client's transport, as a handler sees it: what is written to it is counted."""

    def __init__(self, real: Any, record: ConnectionRecord, clock: Callable[[], float]) -> None:
        super().__init__(real)
        self._record = record
        self._clock = clock

    def write(self, data: bytes) -> None:
        """To the client."""
        self.real.write(data)
        self._record.moved_out(len(data), self._clock())

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """To the client, all of them."""
        self.write(b"".join(data))

    def __getattr__(self, name: str) -> Any:
        """Producers, half-close, options: the transport's own."""
        return getattr(self.real, name)


class _Served:
    """A connection whose other side is a protocol in this process."""

    def __init__(
        self, record: ConnectionRecord, side: Side, protocol: Any, clock: Callable[[], float]
    ) -> None:
        self._record = record
        self._side = side
        self._protocol = protocol
        self._clock = clock
        self._reason: CloseReason | None = None
        self.done: Deferred[CloseReason] = Deferred()

    def start(self) -> Deferred[CloseReason]:
        held, ended = self._side.take(), self._side.ended
        self._side.link(self)
        self._protocol.makeConnection(_Counted(self._side.transport, self._record, self._clock))
        if held:
            self.data_received(held)
        if ended:
            self.input_ended()
        else:
            self._side.transport.resumeProducing()
        return self.done

    def data_received(self, data: bytes) -> None:
        self._record.moved_in(len(data), self._clock())
        self._protocol.dataReceived(data)

    def input_ended(self) -> None:
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self._protocol.readConnectionLost()
        else:
            self._side.transport.loseConnection()

    def lost(self, why: Failure) -> None:
        clean = why.check(ConnectionDone) is not None
        reason = self._reason or (CloseReason.NORMAL if clean else CloseReason.CLIENT_RESET)
        try:
            self._protocol.connectionLost(why)
        finally:
            self.done.callback(reason)

    def abort(self, reason: CloseReason) -> None:
        if not self.done.called:
            self._reason = reason
            self._side.transport.abortConnection()


class Serve:
    """Gives connections to the handlers of routes.

    :param clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def __call__(self, record: ConnectionRecord, side: Side, routed: Routed) -> Deferred[CloseReason]:
        """Fires when the connection has ended, with the reason."""
        protocol = routed.route.handler.buildProtocol(routed.detected.announced.client)
        served = _Served(record, side, protocol, self._clock)
        record.relay = Relay.TRANSPORT
        record.state = State.RELAYING
        record.end = served.abort
        return served.start()
