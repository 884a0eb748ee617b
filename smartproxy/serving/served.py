"""A connection whose other side is code in this process: its life, whatever that code is written like.

It is the twin of a relay. There is one socket only, the client's; what stands behind it is somebody's own
code, which may raise at any time. What it raises ends this one connection, with a reset so that the client
does not take half an answer for a whole one, and is logged with its route.

Bytes are told to the record once, when they are handed over: to the code, ``received``; by it, ``sent``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.logger import Logger

from smartproxy.model.outcome import CloseReason
from smartproxy.net.liveness import transport_gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.flow.side import Side
    from smartproxy.model.record import ConnectionRecord

log = Logger()


class Served:
    """One connection and what serves it.

    :param clock: monotonic seconds.
    :ivar done: fires with the reason when the connection has ended.
    :ivar deaf: what the client still says is read and thrown away, and not counted.
    """

    def __init__(self, record: ConnectionRecord, side: Side, clock: Callable[[], float]) -> None:
        self.record = record
        self.side = side
        self.clock = clock
        self.done: Deferred[CloseReason] = Deferred()
        self.deaf = False
        self._reason: CloseReason | None = None

    @property
    def transport(self) -> Any:
        """The client's."""
        return self.side.transport

    def start(self) -> Deferred[CloseReason]:
        """Begin: what has come already comes first. Returns :attr:`done`."""
        held, ended = self.side.consume(), self.side.ended
        self.side.attach(self)
        self.attempt(self.begin)
        if held:
            self.data_received(held)
        if ended:
            self.input_ended()
        else:
            self.transport.resumeProducing()
        return self.done

    def attempt(self, call: Callable[..., object], *args: object) -> None:
        """Call into the code that serves; what it raises is the end of this connection."""
        try:
            call(*args)
        except Exception:
            self.fail()

    def fail(self, why: Failure | None = None) -> None:
        """The code that serves has raised."""
        log.failure(
            "connection {id} on route {route}: its handler failed",
            failure=why,
            id=self.record.id,
            route=self.record.route,
        )
        self.deaf = True
        self.abort(CloseReason.ERROR)

    def abort(self, reason: CloseReason) -> None:
        """End it now, with a reset. The first reason counts."""
        if not self.done.called:
            self._reason = self._reason or reason
            self.transport.abortConnection()

    def gone(self) -> tuple[bool, bool]:
        """There is one socket; the other side is the code that serves, which is here.

        It may be that it does not read, and then a transport of Twisted's does not notice a reset.
        """
        return transport_gone(self.transport), False

    def lost(self, why: Failure) -> None:
        """The connection has gone."""
        self.deaf = True
        if not why.check(ConnectionClosed, OSError):
            self.fail(why)  # raised in a call of the transport's into what serves: a producer, for one
        self.attempt(self.closed, why)
        self.over(why)

    def over(self, why: Failure) -> None:
        """Close the books: :attr:`done`. Nothing points in a circle any more."""
        self.side.receiver = None
        if not self.done.called:
            clean = why.check(ConnectionDone) is not None
            self.done.callback(self._reason or (CloseReason.NORMAL if clean else CloseReason.CLIENT_RESET))

    # -- for a subclass ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Give the connection to the code that serves."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """The client has said something."""
        raise NotImplementedError

    def input_ended(self) -> None:
        """The client has ended its direction."""
        raise NotImplementedError

    def output_ended(self) -> None:
        """Our FIN has gone out."""

    def closed(self, why: Failure) -> None:
        """Tell the code that serves that the connection has gone."""
        raise NotImplementedError
