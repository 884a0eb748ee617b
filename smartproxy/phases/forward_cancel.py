"""Forwarding a PostgreSQL client's request to cancel a query, which names no server.

The request comes on a connection of its own (PostgreSQL manual, 55.2.8): the process and the secret key of a session, which
only that session's server knows. libpq before version 17 and most drivers send it in plain text and without SNI, so on a port
with routes by SNI nothing says which server is meant. In passthrough the key of a session is encrypted, so it cannot be
remembered here either. Therefore every target that may have the session gets the request: those of the routes of this
listener that PostgreSQL clients have been connected by, as far as their conditions and lists admit this client. A server
that does not know the key ignores the request; the key protects sessions, as it does without a proxy. Within TLS that is
terminated here, the targets are those of the route.

One request of a client makes a connection to each of several targets, so their number is bounded: :data:`MOST` for each
request, and :data:`AT_ONCE` for all requests together.

The client may close without waiting: forwarding does not depend on its connection. A client that waits is closed when every
target has closed, because its library takes that as the sign that the query was cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from smartproxy.errors import Completed, DialFailed, PeerClosed, Refused
from smartproxy.flow.coroutines import unfailed
from smartproxy.model.facts import Routed
from smartproxy.model.outcome import CloseReason, ConnectionState, RejectReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.flow.side import Side
    from smartproxy.metrics.counters import CancelResult, Counters
    from smartproxy.model.facts import Detected
    from smartproxy.model.plan import RoutePlan, TargetPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.connect import Connect
    from smartproxy.upstream.member import Member

#: Targets that get one request. A port with more PostgreSQL servers is not usual.
MOST: Final = 32
#: Connections for requests that are open at once. A request takes a round trip or two, so this serves some thousand a second.
AT_ONCE: Final = 128
#: Seconds for a target to be connected and to close. The server closes as soon as it has sent the signal.
PATIENCE: Final = 5.0

log = Logger()


class CancelTable(Protocol):
    """Finds the routes of a request: :class:`~smartproxy.routing.table.RouteTable`."""

    def find(self, facts: Detected) -> RoutePlan | None: ...

    def named(self, facts: Detected, names: set[str]) -> list[RoutePlan]: ...


class CancelsInProgress:
    """Connections for requests that are open. It lives as long as the proxy.

    :ivar number: how many.
    """

    def __init__(self) -> None:
        self.number = 0


class _CancelTarget(NamedTuple):
    """One target of a request.

    :ivar header: PROXY header for it.
    """

    routed: Routed
    candidate: Candidate
    header: bytes


class ForwardCancel:
    """Forwards requests to cancel.

    :param admits: whether the lists of a route admit the client.
    :param send_proxy_header: builds the PROXY header for a target.
    :param postgres: names of the routes that PostgreSQL clients have been connected by.
    """

    def __init__(
        self,
        table: CancelTable,
        connect: Connect,
        send_proxy_header: Callable[[Routed, TargetPlan, Side], bytes],
        admits: Callable[[Routed], bool],
        postgres: set[str],
        in_progress: CancelsInProgress,
        clock: IReactorTime,
        counters: Counters,
    ) -> None:
        self._table = table
        self._connect = connect
        self._send_proxy_header = send_proxy_header
        self._admits = admits
        self._postgres = postgres
        self._in_progress = in_progress
        self._clock = clock
        self._counters = counters

    async def __call__(
        self, record: ConnectionRecord, side: Side, detected: Detected, route: RoutePlan | None = None
    ) -> None:
        """Forward the request that ``side`` has sent. Returns where no target can be meant; then nothing was done.

        :param route: the route of the client, where its TLS was terminated; else those of the listener are looked for.
        :raises Completed: when every target has closed.
        :raises Refused: if the request reached none.
        """
        routes = [route] if route is not None else self._routes(detected)
        attempts = [attempt for one in routes for attempt in self._attempts(detected, one, side)]
        if not attempts:
            return
        record.state = ConnectionState.CONNECTING
        message = side.consume()
        chosen = attempts[: max(0, min(MOST, AT_ONCE - self._in_progress.number))]
        for _ in attempts[len(chosen) :]:
            self._counters.cancel("dropped")
        forwarded = _Forwarded(record, side, len(message), len(chosen), self._clock.seconds)
        for attempt in chosen:
            self._begin(attempt, message, forwarded)
        try:
            raise Completed(await unfailed(forwarded.done))
        finally:
            del forwarded  # it has the refusal, whose traceback refers to this frame: a reference cycle

    def _routes(self, detected: Detected) -> list[RoutePlan]:
        routes = self._table.named(detected, self._postgres) if self._postgres else []
        found = self._table.find(detected)  # clients without TLS have a route of their own, perhaps
        if found is not None and found not in routes and found.handler is None:
            routes.append(found)
        return routes

    def _attempts(self, detected: Detected, route: RoutePlan, side: Side) -> Iterator[_CancelTarget]:
        if not self._admits(Routed(detected, route)):
            return
        for candidate in self._connect.candidates(route):
            if candidate.is_chosen:
                continue  # it chooses by the facts of a session, which are not known
            # A target with TLS gets the request within TLS; a PostgreSQL server is asked for it first.
            asks = route.tls is not None and candidate.target.tls is not None
            routed = Routed(detected._replace(start_tls=asks), route)
            yield _CancelTarget(routed, candidate, self._send_proxy_header(routed, candidate.target, side))

    def _begin(self, attempt: _CancelTarget, message: bytes, forwarded: _Forwarded) -> None:
        def count(result: CancelResult) -> None:
            self._in_progress.number -= 1
            self._counters.cancel(result)

        def has_failed(why: Failure) -> None:
            count("failed")
            if not isinstance(why.value, Refused):
                log.failure("a cancel request could not be forwarded", failure=why)
                forwarded.failed(None)
                return
            why.cleanFailure()  # frames of the traceback refer to this failure, and to the client's connection
            forwarded.failed(why.value)

        def has_closed(_: None) -> None:
            count("ok")
            forwarded.ended()

        self._in_progress.number += 1
        forwarding = Deferred.fromCoroutine(self._forward(attempt, message, forwarded))
        forwarding.addTimeout(PATIENCE, self._clock, _no_answer).addCallbacks(has_closed, has_failed)

    async def _forward(self, attempt: _CancelTarget, message: bytes, forwarded: _Forwarded) -> None:
        """Send ``message`` to one target, and wait until it closes."""
        connected = await self._connect.to(attempt.candidate, attempt.routed, attempt.header)
        side = connected.side
        try:
            side.transport.write(connected.header + message)
            forwarded.sent(attempt.candidate.member)
            side.transport.resumeProducing()
            await side.wait_for(1)
        except PeerClosed:
            side.transport.loseConnection()
        except CancelledError:
            side.transport.abortConnection()
            raise
        else:
            side.transport.abortConnection()
            raise DialFailed(
                RejectReason.UPSTREAM_UNREACHABLE, f"{connected.address} answered a cancel request"
            )
        finally:
            connected.on_closed()


class _Forwarded:
    """One request, until every target has closed.

    :ivar done: fires then. The client's end cancels it, which does not stop the forwarding.
    """

    def __init__(
        self, record: ConnectionRecord, side: Side, size: int, targets: int, clock: Callable[[], float]
    ) -> None:
        self.done: Deferred[CloseReason] = Deferred()
        self._record = record
        self._side = side
        self._size = size
        self._open = targets
        self._clock = clock
        self._why = Refused(RejectReason.GLOBAL_LIMIT, "too many cancel requests at once")
        self._is_sent = False
        self._finish()

    def sent(self, member: Member) -> None:
        """A target has got the request. Its bytes are counted once, for the first one."""
        if not self._is_sent:
            self._is_sent = True
            member.received += self._size
            self._record.moved_in(self._size, self._clock())

    def failed(self, why: Refused | None) -> None:
        """A target could not be connected, or did not close in time."""
        self._why = why or Refused(
            RejectReason.UPSTREAM_UNREACHABLE, "a cancel request could not be forwarded"
        )
        self.ended()

    def ended(self) -> None:
        """The connection to a target has ended."""
        self._open -= 1
        self._finish()

    def _finish(self) -> None:
        if self._open or self.done.called:
            return
        if self._is_sent:
            self._side.transport.loseConnection()
            self.done.callback(CloseReason.NORMAL)
        else:
            self.done.errback(self._why)


def _no_answer(cancelled: Failure | None, seconds: float) -> Failure:
    if cancelled is not None:
        cancelled.cleanFailure()  # likewise
    raise DialFailed(RejectReason.UPSTREAM_TIMEOUT, f"a cancel request was not completed in {seconds:g} s")
