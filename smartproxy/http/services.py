"""What a client's HTTP connection, and the forwarding of its requests, ask of their surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.flow.side import Side
    from smartproxy.http.in_force import InForce
    from smartproxy.http.interfaces import Answerer, AnswerReceiver, TunnelEnd
    from smartproxy.http.splice import Splicer
    from smartproxy.model.exchange import Exchange
    from smartproxy.model.facts import Routed
    from smartproxy.model.outcome import CloseReason
    from smartproxy.model.plan import ErrorPage, HttpPlan
    from smartproxy.model.record import ConnectionRecord, RouteShare
    from smartproxy.upstream.connect import Turn
    from smartproxy.upstream.connected import Connected
    from smartproxy.upstream.pool import Pool
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_head import HeadBlock, HeadLimits, RequestHead, RequestLine
    from smartproxy.wire.verdict import Malformed


class HttpClient(Protocol):
    """A connection of a client."""

    def close_idle(self) -> None:
        """Close it, if it waits for another request: the proxy stops."""


class HttpServices(NamedTuple):
    """What is the same for all connections of a listener, or of one.

    :ivar clock: monotonic seconds.
    :ivar trusted: whether the client is a proxy whose own fields are believed.
    :ivar route: the facts with the route of a request; raises :class:`~smartproxy.errors.Refused`.
    :ivar check: raises it where the lists of a request's route do not admit the client; the second argument are the facts that its
        connection has.
    :ivar share: what counts the bytes of a connection for a route.
    :ivar answerer: makes what answers an exchange.
    :ivar draining: whether this is to be the last exchange of each connection.
    :ivar in_turn: calls a function in a later event loop iteration that has time for it.
    :ivar clients: the connections of all clients.
    :ivar block_of: parses the lines of a request's head.
    :ivar line_of: parses its request line.
    :ivar head_limits: the widest of the listener's routes: the route of a request is not known before its head.
    :ivar error_pages: for requests without a route, by status.
    :ivar begun: called with an exchange that has a route.
    :ivar finished: called with an exchange that has ended, and the time, once.
    :ivar splicer: moves bodies from socket to socket.
    :ivar relay: makes a tunnel of a client's side and the connection to its target.
    :ivar in_force: what serves the listener's connections now.
    :ivar served_by: what these are services of: where it is not in force, a reload has put others in their place.
    :ivar carried_over: the facts of a connection as those in force have them, the terms of its route, and these services; ``None``
        where the connection cannot go on under them.
    """

    clock: Callable[[], float]
    trusted: bool
    deadlines: Deadlines
    route: Callable[[Routed, RequestHead], Routed]
    check: Callable[[Routed, Routed], None]
    share: Callable[[ConnectionRecord, str], ConnectionRecord | RouteShare]
    answerer: Callable[[Exchange, AnswerReceiver], Answerer]
    draining: Callable[[], bool]
    in_turn: Callable[[Callable[[], object]], object]
    clients: set[HttpClient]
    block_of: Callable[[bytes], HeadBlock | Malformed]
    line_of: Callable[[bytes], RequestLine | Malformed]
    head_limits: HeadLimits
    error_pages: Mapping[int, ErrorPage]
    begun: Callable[[Exchange], None]
    finished: Callable[[Exchange, float], None]
    splicer: Splicer
    relay: Callable[[ConnectionRecord, Side, Connected | TunnelEnd, Exchange], AwaitableEvent[CloseReason]]
    in_force: InForce[Any]
    served_by: object
    carried_over: Callable[[Routed], tuple[Routed, HttpPlan, HttpServices] | None]


class TargetServices(NamedTuple):
    """What forwarding asks of its surroundings.

    :ivar take: gives the target of an exchange, and an idle connection to it, if there is one. Raises
        :class:`~smartproxy.errors.Refused`.
    :ivar connect: connects an exchange to the target that it was given, or with ``None`` to one that it has not tried by an idle
        connection. The second argument raises once the exchange is over.
    :ivar pool: gets the connections that persist.
    :ivar call_soon: calls a function in a later event loop iteration.
    :ivar head_of: parses the head of an answer.
    :ivar splicer: moves bodies from socket to socket.
    """

    take: Callable[[Exchange], tuple[Connected | None, Turn]]
    connect: Callable[[Exchange, Callable[[], None], Turn | None], Awaitable[Connected]]
    pool: Pool
    call_soon: Callable[[Callable[[], object]], object]
    head_of: Callable[[bytes], AnswerHead | Malformed]
    splicer: Splicer
