"""How a client's HTTP/1 connection waits, and how it ends: its one deadline, its last answer, and the lingering behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.flow.deadline import MovableDeadline
from smartproxy.net.half_close import LINGER, end_output
from smartproxy.serving.served import Served

if TYPE_CHECKING:
    from smartproxy.flow.side import Side
    from smartproxy.http.services import HttpServices
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.record import ConnectionRecord


class ClientConnection(Served):
    """The base of :class:`~smartproxy.http.downstream1.HttpDownstream`: all that does not depend on requests and answers.

    :ivar is_closing: whether our direction was ended, or is about to be: nothing is parsed any more.
    :ivar is_ended: whether the client has ended its own.
    """

    def __init__(self, record: ConnectionRecord, side: Side, services: HttpServices) -> None:
        super().__init__(record, side, services.clock)
        self.is_closing = False
        self.is_ended = False
        self._is_paused = False
        self._pauses = 0
        self._services = services
        self._deadline = MovableDeadline(services.deadlines, self._expired)
        services.clients.add(self)

    def wait(self, seconds: float) -> None:
        """Set the deadline of what is waited for now, in place of the last one; 0 is none."""
        self._deadline.move(seconds, self.clock())

    def pause_request(self) -> None:
        """Read no more of the client."""
        self._is_paused = True
        self._pauses += 1
        self.side.transport.pauseProducing()

    def resume_request(self) -> None:
        """Read on."""
        self._is_paused = False
        self.side.transport.resumeProducing()

    def pauses(self) -> int | None:
        """How often reading was paused; ``None`` while it is."""
        return None if self._is_paused else self._pauses

    def may_follow(self, exchange: Exchange, now: float) -> bool:
        """Whether another request may follow ``exchange`` on the connection, if its request was received whole."""
        if self.is_ended or self._services.draining() or not exchange.terms.persists:
            return False
        lifetime = exchange.routed.route.timeouts.max_lifetime
        return not 0 < lifetime <= now - self.record.opened_at

    def close(self) -> None:
        """End our direction, and read what the client still sends for a moment: a RST could overtake the answer."""
        self.is_closing = True
        if self.is_ended:
            self.wait(0)
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        end_output(self.transport)
        self.wait(LINGER)
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost, which :meth:`closed` handles."""

    def leave(self) -> None:
        """It is lost, or carries HTTP no more: nothing is waited for."""
        self._deadline.cancel()
        self._services.clients.discard(self)

    def _expired(self) -> None:
        """The deadline was reached."""
        raise NotImplementedError

    def close_idle(self) -> None:
        """Close it, if it waits for another request: the proxy stops."""
        raise NotImplementedError
