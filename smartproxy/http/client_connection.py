"""How a client's HTTP/1 connection waits, sends, counts, and ends: its one deadline, its last answer, the lingering behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.connections.delivery import Delivery
from smartproxy.flow.deadline import MovableDeadline
from smartproxy.http.errors import NO_FIELDS
from smartproxy.http.states import RequestState
from smartproxy.model.ending import detail_of
from smartproxy.model.exchange import CLIENT_LEFT
from smartproxy.model.outcome import CloseReason, RelayKind
from smartproxy.net.half_close import LINGER, end_output
from smartproxy.serving.served import Served

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.python.failure import Failure

    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.flow.side import Side
    from smartproxy.http.interfaces import Answerer
    from smartproxy.http.reply import ClientReply
    from smartproxy.http.request_body import RequestBody
    from smartproxy.http.services import HttpServices
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import HttpPlan
    from smartproxy.model.record import ConnectionRecord, RouteShare

#: The status of a request that the proxy has ended before an answer; the client gets none.
_ENDED = 503

_HEAD, _BODY, _COMPLETE = RequestState


class ClientConnection(Served):
    """The base of :class:`~smartproxy.http.downstream1.HttpDownstream`, which reads requests and writes answers.

    :ivar is_closing: whether our direction was ended, or is about to be: nothing is parsed any more.
    :ivar is_ended: whether the client has ended its own.

    ``_first`` has the facts and the route that it was admitted to, ``_held`` is what was received and not read yet, ``_request``
    is what of a request is to be read next, ``_exchange`` is the one in progress, ``_answerer`` what answers it, ``_reply`` writes
    the answer, and ``_share`` counts for its route.
    """

    # A dict of as many attributes would not share its keys with those of others, and take over a KiB of an idle connection.
    __slots__ = (
        "_answerer", "_body", "_deadline", "_delivery", "_exchange", "_first", "_held", "_is_full", "_is_holding", "_is_outdated",
        "_is_paused", "_is_postponed", "_patience", "_pauses", "_plan", "_reply", "_request", "_services", "_share", "is_closing",
        "is_ended",
    )  # fmt: skip

    def __init__(
        self, record: ConnectionRecord, side: Side, first: Routed, plan: HttpPlan, services: HttpServices
    ) -> None:
        super().__init__(record, side, services.clock)
        self.is_closing = False
        self.is_ended = False
        self._first = first
        self._plan = plan
        #: Whether the routes that it has are not in force, and it cannot have those that are.
        self._is_outdated = False
        self._is_paused = False
        self._is_holding = False  # not read, because of what is held
        self._is_full = False  # the client does not read
        self._is_postponed = False  # the next request that is held waits for a later event loop iteration
        self._pauses = 0
        self._held: bytes | bytearray = b""  # extended by appended()
        self._exchange: Exchange | None = None
        self._request = _HEAD
        self._reply: ClientReply | None = None
        self._answerer: Answerer | None = None
        self._body: RequestBody | None = None
        self._share: ConnectionRecord | RouteShare = record
        self._delivery: Delivery | None = None  # made when it is needed, which is for few connections
        #: Seconds that the client may take nothing of its last answer: those of the route of that.
        self._patience = 0.0
        self._services = services
        self._deadline = MovableDeadline(services.deadlines, self._expired)
        services.clients.add(self)

    def start(self) -> AwaitableEvent[CloseReason]:
        """Start, with the bytes that were received already. Returns :attr:`done`."""
        held, ended = self.side.consume(), self.side.ended
        self.side.attach(self)
        self.transport.registerProducer(self, True)
        if held:
            self.data_received(held)
        else:
            self.wait(self._first.route.timeouts.initial_data)
        if ended:
            self.input_ended()
        elif not self._is_paused and not self._is_holding:
            self.transport.resumeProducing()
        return self.done

    def wait(self, seconds: float) -> None:
        """Set the deadline of what is waited for now, in place of the last one; 0 is none."""
        self._deadline.move(seconds, self.clock())

    def wait_for_body(self) -> None:
        """Set the deadline of the next piece of a body; once its answer was begun, only bytes either way are waited for."""
        exchange, seconds = self._exchange, self._plan.request_timeout
        if exchange is not None and exchange.answered_at is not None:
            seconds = exchange.routed.route.timeouts.inactivity
        self._deadline.move(seconds, self.clock())

    def is_silent_for(self, seconds: float) -> bool:
        """Whether no byte has moved for so long, nor was taken by the client. If not, the deadline is set again."""
        left = seconds - self._silent()
        if left <= 0 and self._still_takes():
            left = seconds
        if left > 0:
            self.wait(left)
        return left <= 0

    def _waits_for_target(self) -> bool:
        """Whether the rest of a body is not read, because the target does not read what it got. The client is not too slow then."""
        moving = None if self._body is None else self._body.moving
        return self._is_paused or (moving is not None and moving.is_blocked)

    def pause_request(self) -> None:
        """Read no more of the client."""
        self._is_paused = True
        self._pauses += 1
        self.side.transport.pauseProducing()

    def resume_request(self) -> None:
        """Read on. Where a body is awaited, its deadline is set again."""
        if self._is_paused and self._request is _BODY:
            self.wait_for_body()
        self._is_paused = False
        if not self._is_holding:
            self.side.transport.resumeProducing()

    def hold(self, *, is_much: bool) -> None:
        """Pause reading while ``is_much`` is held of the client. Apart from :meth:`pause_request`: each pause has to end."""
        if is_much is self._is_holding:
            return
        self._is_holding = is_much
        if is_much:
            self.side.transport.pauseProducing()
        elif not self._is_paused:
            self.side.transport.resumeProducing()

    def pauses(self) -> int | None:
        """How often reading was paused; ``None`` while it is."""
        return None if self._is_paused else self._pauses

    def may_follow(self, exchange: Exchange, now: float) -> bool:
        """Whether another request may follow ``exchange`` on the connection, if its request was received whole."""
        is_last = self.is_ended and not self._held  # requests that were sent before the end are answered
        if is_last or self._is_outdated or self._services.draining() or not exchange.terms.persists:
            return False
        lifetime = exchange.routed.route.timeouts.max_lifetime
        return not 0 < lifetime <= now - self.record.opened_at

    def pauseProducing(self) -> None:
        """The client does not read: no further request of it is answered, and no more of this answer is produced."""
        self._is_full = True
        if self._answerer is not None:
            self._answerer.pause_answer()

    def resumeProducing(self) -> None:
        """It reads again."""
        self._is_full = False
        if self._answerer is not None:
            self._answerer.resume_answer()
        else:
            self._go_on()

    def _send(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.response_bytes += len(data)
        self.side.transport.write(data)
        self._share.moved_out(len(data), self.clock())

    def answer_moved(self, count: int) -> None:
        """Count it."""
        self.record.relay = RelayKind.SPLICE
        if self._exchange is not None:
            self._exchange.response_bytes += count
        self._share.moved_out(count, self.clock())

    def request_moved(self, count: int) -> None:
        """Count a part of a body that was moved from socket to socket."""
        now = self.clock()
        self.record.relay = RelayKind.SPLICE
        self._share.moved_in(count, now)
        if self._exchange is not None:
            self._exchange.request_bytes += count
        self.wait_for_body()

    def close(self) -> None:
        """End our direction, and read what the client still sends for a moment: a RST could overtake the answer."""
        self.is_closing = True
        self.wait(LINGER)
        if self.is_ended:
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        end_output(self.transport)
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost, which :meth:`closed` handles."""

    def leave(self) -> None:
        """It is lost, or carries HTTP no more: nothing is waited for."""
        self._deadline.cancel()
        self._services.clients.discard(self)

    # -- of what reads requests and writes answers -----------------------------------------------------

    def failed(self, status: int, detail: str, fields: Mapping[str, str] = NO_FIELDS) -> None:
        """Answer in the place of a target; where its answer was begun, cut the client off."""
        raise NotImplementedError

    def _refuse_head(self, status: int, detail: str) -> None:
        """Answer a head that is malformed, or not complete in time."""
        raise NotImplementedError

    def _cut(self, reason: CloseReason, detail: str) -> None:
        """End an exchange within its answer, and soon the connection."""
        raise NotImplementedError

    def _over(self) -> float:
        """The exchange has ended: count it, and log it. Returns the time."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Answer what was held while the client did not read, or others had their turn."""
        raise NotImplementedError

    # -- ends --------------------------------------------------------------------------------------------

    def _expired(self) -> None:
        if self.is_closing:
            self._linger_on()
        elif self._request is _HEAD and (self._is_full or not self._held):
            self.close()
        elif self._exchange is not None and self._reply is not None and self._reply.is_started:
            seconds = self._exchange.routed.route.timeouts.inactivity
            if self.is_silent_for(seconds):
                self._cut(CloseReason.INACTIVITY, f"no byte moved for {seconds:g} s (inactivityTimeout)")
                self.transport.abortConnection()
        elif self._request is _COMPLETE:
            self.failed(504, "no answer in time (http.responseTimeout)")
        elif self._exchange is not None and self._waits_for_target():
            seconds = self._exchange.routed.route.timeouts.inactivity
            if not seconds:
                self.wait(self._plan.request_timeout)
            elif self.is_silent_for(seconds):
                self.failed(504, f"the target has read nothing for {seconds:g} s (inactivityTimeout)")
        elif self._exchange is not None:
            self.failed(408, "the request was not complete in time (http.requestTimeout)")
        else:
            self._refuse_head(408, "the head was not complete in time (http.requestTimeout)")

    def _linger_on(self) -> None:
        """Reset the connection, unless the client still takes what was written: a RST would drop what it has not got yet.

        The kernel has accepted an answer of megabytes at once. A client that takes nothing of it has ``halfCloseTimeout``.
        """
        if self._still_takes() or (self.acknowledged() is not None and self._silent() < self._patience):
            self.wait(LINGER)
        else:
            self.transport.abortConnection()

    def _still_takes(self) -> bool:
        """Whether the client has acknowledged bytes since the last call, and others wait for that. It is activity."""
        self._delivery = self._delivery or Delivery()
        return self._delivery.goes_on(self.record, self.clock())

    def _silent(self) -> float:
        """Seconds since a byte has moved."""
        return self.clock() - self.record.last_activity_at

    def abort(self, reason: CloseReason) -> None:
        """Reset the connection now; but where a target is down that has not answered yet, answer in its place."""
        is_answered = self._reply is None or self._reply.is_started
        if reason is CloseReason.TARGET_DOWN and not is_answered and not self.is_closing:
            self.failed(502, detail_of(self.record, reason) or reason)
        else:
            super().abort(reason)

    def close_idle(self) -> None:
        """Close it, if it waits for another request than its first: the proxy stops."""
        if self._request is _HEAD and not self._held and self.record.exchanges and not self.is_closing:
            self.close()

    def input_ended(self) -> None:
        """The client has ended its direction. An answer in progress is still delivered."""
        self.is_ended = True
        if self.is_closing:
            self.transport.loseConnection()
        elif self._request is not _COMPLETE:
            self._nothing_follows()
        elif self._answerer is not None:
            self._answerer.client_ended()

    def _nothing_follows(self) -> None:
        """The client has ended its direction, and what is held of it goes no further: it is a part of a request at most."""
        if self._request is _BODY:
            self._reason, self.is_closing = CloseReason.CLIENT_RESET, True
            self.transport.unregisterProducer()
            self.transport.loseConnection()  # behind the answers to requests before it
        elif self._request is _HEAD and not ((self._is_full or self._is_postponed) and self._held):
            self.close()

    def closed(self, why: Failure) -> None:
        """The connection is lost: no answer is wanted any more."""
        self.is_closing = True
        self.leave()
        exchange, answerer = self._exchange, self._answerer
        if exchange is not None:
            self._reason = self._reason or CloseReason.CLIENT_RESET
            if self._reason is CloseReason.CLIENT_RESET:
                exchange.status, exchange.detail = CLIENT_LEFT, "the client has left"
            else:
                exchange.status = exchange.status or _ENDED
                exchange.detail = detail_of(self.record, self._reason) or self._reason
            self._over()
        if answerer is not None:
            answerer.cancel()
