"""A connection that is served by code in this process, whatever interface that code has.

It takes the place of a relay. There is only the client's socket; behind it is an application's code, which may raise at
any time. An exception ends this one connection, with a reset so that the client does not take half an answer for a
whole one, and is logged with the route.

Bytes are counted in the record once, when they are handed over: to the code as ``received``, by the code as ``sent``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionClosed, ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from smartproxy.flow.event import AwaitableEvent
from smartproxy.model.ending import about, in_words
from smartproxy.model.outcome import CloseReason, EndedBy
from smartproxy.net.liveness import transport_gone
from smartproxy.net.outgoing import acknowledged_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.side import Side, SideTransport
    from smartproxy.model.record import ConnectionRecord

log = Logger()


class Served:
    """One connection and the code that serves it. It owns the connection: see :attr:`ConnectionRecord.owner`.

    :param clock: monotonic seconds.
    :ivar done: happens with the reason when the connection has ended.
    :ivar deaf: whether received bytes are read and dropped, and not counted.
    """

    __slots__ = ("_reason", "clock", "deaf", "done", "record", "side")

    def __init__(self, record: ConnectionRecord, side: Side, clock: Callable[[], float]) -> None:
        self.record = record
        self.side = side
        self.clock = clock
        self.done: AwaitableEvent[CloseReason] = AwaitableEvent()
        self.deaf = False
        self._reason: CloseReason | None = None

    @property
    def transport(self) -> SideTransport:
        """The transport of the client."""
        return self.side.transport

    def start(self) -> AwaitableEvent[CloseReason]:
        """Start, with the bytes that were received already. Returns :attr:`done`."""
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
        """Call the code that serves. An exception ends this connection."""
        try:
            call(*args)
        except Exception:
            self.fail()

    def fail(self, why: Failure | None = None) -> None:
        """Log an exception of the code that serves, and reset the connection."""
        failure = why or Failure()
        log.failure(
            "connection {id} on route {route}: its handler failed: {about}",
            failure=failure,
            id=self.record.id,
            route=self.record.route,
            about=about(self.record),
        )
        self.record.explain(
            CloseReason.ERROR, f"its handler raised {in_words(failure.value)}", EndedBy.TARGET
        )
        self.deaf = True
        self.abort(CloseReason.ERROR)

    def reset(self) -> None:
        """Reset the connection, because the code that serves it wants that; counted like a reset by a target.

        No effect after its end, which has a reason already: code calls this to clean up, too.
        """
        if self.side.is_lost:
            return
        self.record.explain(CloseReason.UPSTREAM_RESET, "its handler reset the connection")
        self.abort(CloseReason.UPSTREAM_RESET)

    def abort(self, reason: CloseReason) -> None:
        """Reset the connection now. The first reason counts."""
        if not self.done.has_happened:
            self._reason = self._reason or reason
            self.transport.abortConnection()

    def gone(self) -> tuple[bool, bool]:
        """Whether the client's connection no longer exists. The other side is code in this process, and never gone.

        The kernel has to be asked: Twisted's transports do not notice a reset while they are paused.
        """
        return transport_gone(self.transport), False

    def acknowledged(self) -> int | None:
        """How many bytes the client has acknowledged so far; ``None`` if nothing waits to be acknowledged."""
        return acknowledged_by(self.transport)

    def lost(self, why: Failure) -> None:
        """Handle the loss of the connection."""
        self.deaf = True
        if not isinstance(why.value, (ConnectionClosed, OSError)):
            self.fail(
                why
            )  # an exception in a call from the transport into the code: of a producer, for example
        self.attempt(self.closed, why)
        self.over(why)

    def over(self, why: Failure) -> None:
        """Let :attr:`done` happen, and release the side, so that no circle of references is left."""
        self.side.receiver = None
        if not self.done.has_happened:
            clean = isinstance(why.value, ConnectionDone)
            self.done.happen(self._reason or (CloseReason.NORMAL if clean else CloseReason.CLIENT_RESET))

    # -- for a subclass ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Give the connection to the code that serves."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        """Handle received bytes."""
        raise NotImplementedError

    def input_ended(self) -> None:
        """Handle the end of the client's direction."""
        raise NotImplementedError

    def output_ended(self) -> None:
        """Handle that our FIN was sent."""

    def closed(self, why: Failure) -> None:
        """Tell the code that serves that the connection is lost."""
        raise NotImplementedError
