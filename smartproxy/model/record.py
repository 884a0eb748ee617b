"""The record of a connection: the only thing that changes while bytes flow.

It is the first layer of the metrics: totals are the sums of the records, and have no other source. The only call on the
byte path is :meth:`ConnectionRecord.moved_in` or :meth:`~ConnectionRecord.moved_out`, made when bytes were handed to the
other side, never when they were buffered; the same call feeds the meters (throughput, route, client).

A connection of TCP has one route, and its record counts for it. The requests of an HTTP connection may go to several routes in
turn: the record counts for the first, and a :class:`RouteShare` for each other one::

    share = registry.share(record, "api")     # the record itself, where "api" is its route
    share.moved_in(len(head), now)            # counts for the connection and the route, and feeds the meters, in one call

The record's own counters are of the whole connection. What no share has counted is that of one more route, ``rest``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from smartproxy.model import facts
from smartproxy.model.outcome import (
    LONGEST_DETAIL,
    LONGEST_PATH,
    CloseReason,
    ConnectionState,
    EndedBy,
    EndingDetail,
    Outcome,
    RelayKind,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smartproxy.model.address import Endpoint, TargetAddress
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.proxy_header import ProxyHeader


class Meter:
    """Counts bytes. The counters only increase; a reader keeps the last value that it has seen."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


class Owner(Protocol):
    """Holds the sockets of a connection: the client's protocol first, then a relay or the code that serves it."""

    def abort(self, reason: CloseReason) -> None:
        """End the connection now. The first reason counts."""

    def gone(self) -> tuple[bool, bool]:
        """Whether the client's and the upstream's connection no longer exist, according to the kernel."""

    def acknowledged(self) -> int | None:
        """How many bytes both peers have acknowledged so far; ``None`` if nothing waits to be acknowledged."""


class NoOwner:
    """The owner of a record whose connection is not made yet, or has ended: there is nothing to end."""

    def abort(self, reason: CloseReason) -> None:
        """Do nothing."""

    def gone(self) -> tuple[bool, bool]:
        """Neither: there is no socket."""
        return False, False

    def acknowledged(self) -> int | None:
        """``None``: there is no socket."""
        return None


NO_OWNER = NoOwner()


class Watched(Protocol):
    """Holds the timeouts of a connection."""

    def half_closed(self) -> None:
        """Apply the timeout of half-closed connections: a direction has ended."""

    def cancel(self) -> None:
        """Stop: the connection has ended."""


class RequestUnderWay(Protocol):
    """An HTTP request: :class:`~smartproxy.model.exchange.Exchange`."""

    head: RequestHead
    routed: facts.Routed
    member: Any

    def unsettled(self) -> tuple[int, int]:
        """Bytes received and sent that are not in those of its member yet."""


class ConnectionRecord:
    """The current state of one live connection.

    :ivar owner: holds the connection's sockets, and can end it.
    :ivar member: the member of a target group that it is connected to, whose bytes it counts; ``None`` before.
    :ivar watch: holds its timeouts, once it is linked.
    :ivar target: the address that was dialed last; the connected one once it is linked.
    :ivar attempts: how many addresses were dialed.
    :ivar is_linked: whether it has come as far as a relay, a handler or HTTP.
    :ivar relay: how its bytes are moved; ``None`` before it is linked, for handlers, and for HTTP of which nothing is spliced.
    :ivar is_http: whether it is served request by request now.
    :ivar exchange: its HTTP request under way, or that which has made a tunnel of it; ``None`` between two, and without a route.
    :ivar exchanges: how many HTTP requests of it have ended.
    :ivar dial_seconds: how long connecting to a target took, all attempts together; ``None`` where none was needed.
    :ivar ended_first: the end whose FIN was passed on first; ``None`` while both directions are open.
    :ivar refused_by: the route that was found but did not admit the connection; ``route`` is ``None`` then.
    :ivar details: why it ended, by outcome; ``None`` while nothing has explained it.
    :ivar half_closed_at: when a direction last ended, in monotonic seconds; ``None`` while both are open.
    :ivar header: the PROXY header of a trusted peer, if it sent one.
    :ivar sni: the server name of the ClientHello; ``None`` without TLS, or where it has none.
    :ivar host: the Host of the HTTP request that was looked at, inside of terminated TLS too; ``None`` without one.
    :ivar path: the path of the same request, as much as is shown.
    :ivar secured: the TLS parameters negotiated with the client, if its TLS is terminated here.
    :ivar tls: whether it carries TLS, according to its first bytes or its route.
    :ivar shares: what it has moved for other routes than ``route``; ``None`` without one.
    :ivar stuck_detection: whether it is closed as stuck when it gets no answer.
    :ivar identified: whether the client is known; until then ``client`` is the peer.
    :ivar counted: whether the connection counts for the address of its client.
    :ivar bytes_received: payload from the client, handed to the upstream side.
    :ivar bytes_sent: payload from the upstream side, handed to the client.
    :ivar opened_at: monotonic seconds.
    :ivar last_activity_at: likewise, of the last byte either way.
    """

    __slots__ = (
        "attempts", "bytes_received", "bytes_sent", "client", "counted", "details", "dial_seconds", "ended_first", "exchange",
        "exchanges",
        "half_closed_at", "header", "host", "id", "identified", "is_http", "is_linked", "keep_alive", "last_activity_at", "listener", "member",
        "meters", "opened_at", "owner", "path", "peer", "protocol", "refused_by", "relay", "route", "secured", "shares",
        "sni", "state", "stuck_detection", "target", "tls", "watch",
    )  # fmt: skip

    def __init__(self, number: int, accepted: facts.Accepted) -> None:
        self.id = number
        self.state = ConnectionState.ACCEPTED
        self.listener = accepted.listener
        self.peer = accepted.peer
        self.client: Endpoint = accepted.peer
        self.header: ProxyHeader | None = None
        self.protocol = facts.ApplicationProtocol.UNSEEN
        self.sni: str | None = None
        self.host: str | None = None
        self.path: str | None = None
        self.tls = False
        self.route: str | None = None
        self.refused_by: str | None = None
        self.target: TargetAddress | None = None
        self.attempts = 0
        self.dial_seconds: float | None = None
        self.is_http = False
        self.exchange: RequestUnderWay | None = None
        self.exchanges = 0
        self.member: object = None
        self.relay: RelayKind | None = None
        self.is_linked = False
        self.keep_alive = False
        self.bytes_received = 0
        self.bytes_sent = 0
        self.opened_at = accepted.at
        self.last_activity_at = accepted.at
        self.meters: tuple[Meter, ...] = ()
        self.shares: RouteShares | None = None
        self.identified = False
        self.counted = False
        self.owner: Owner = NO_OWNER
        self.watch: Watched | None = None
        self.half_closed_at: float | None = None
        self.ended_first: EndedBy | None = None
        self.details: dict[Outcome, EndingDetail] | None = None
        self.stuck_detection = False
        self.secured: facts.TlsFacts | None = None

    @property
    def proxy_version(self) -> int:
        """0, 1 or 2: the PROXY protocol version that announced the client."""
        return 0 if self.header is None else self.header.version

    @property
    def route_in_use(self) -> str | None:
        """The route of what it carries now: HTTP requests after the first one may have another than :attr:`route`."""
        return self.route if self.exchange is None else self.exchange.routed.route.name

    @property
    def member_in_use(self) -> object:
        """The member of a target group that it is connected to now, by itself or for a request; ``None`` without one."""
        return self.member if self.exchange is None else self.exchange.member

    def unsettled(self) -> tuple[int, int]:
        """Bytes received and sent that are not in those of :attr:`member_in_use` yet."""
        return (self.bytes_received, self.bytes_sent) if self.exchange is None else self.exchange.unsettled()

    def link(self, owner: Owner, relay: RelayKind | None = None) -> None:
        """Store what moves the connection's bytes from now on."""
        self.is_linked = True
        self.state = ConnectionState.RELAYING
        self.relay = relay
        self.owner = owner

    def note_detected(self, detected: facts.Detected) -> None:
        """Store the protocol, and the names, that ``detected`` has."""
        self.protocol = detected.protocol
        self.note_names(detected)

    def note_names(self, detected: facts.Detected) -> None:
        """Store the server name, and the Host and path of the request, that ``detected`` has."""
        if detected.hello is not None:
            self.sni = detected.hello.server_name
        if detected.request is not None:
            self.host = detected.request.host
            self.path = detected.request.path[:LONGEST_PATH]

    def explain(self, outcome: Outcome, text: str, side: EndedBy | None = None) -> None:
        """Store why the connection ends with ``outcome``, for the logs. The first text for an outcome counts.

        :param side: the end that ended it, where it is not that of the outcome.
        """
        if self.details is None:
            self.details = {}
        self.details.setdefault(outcome, EndingDetail(text[:LONGEST_DETAIL], side))

    def half_closed(self, by: EndedBy | None = None) -> None:
        """Tell the timeouts that a direction has ended, ``by`` the FIN of this end."""
        if self.ended_first is None:
            self.ended_first = by
        if self.watch is not None:
            self.watch.half_closed()

    def note_end(self, by: EndedBy) -> None:
        """Store which end closes the connection, where no direction has ended before."""
        self.ended_first = self.ended_first or by

    def closed(self) -> None:
        """Release the owner and the timeouts, so that no circle of references is left: the connection has ended."""
        self.state = ConnectionState.CLOSING
        self.owner = NO_OWNER
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None

    def moved_in(self, count: int, now: float) -> None:
        """Count bytes of the client that were handed to the upstream side."""
        self.bytes_received += count
        self.last_activity_at = now
        for meter in self.meters:
            meter.received += count

    def moved_out(self, count: int, now: float) -> None:
        """Count bytes of the upstream side that were handed to the client."""
        self.bytes_sent += count
        self.last_activity_at = now
        for meter in self.meters:
            meter.sent += count


class RouteShare:
    """Counts what one connection moves for one route. Its methods are those of the record.

    :ivar meters: of the proxy, the client and the route.
    :ivar received: payload bytes from the client.
    :ivar sent: payload bytes to the client.
    """

    __slots__ = ("_record", "meters", "received", "sent")

    def __init__(self, record: ConnectionRecord, meters: tuple[Meter, ...]) -> None:
        self._record = record
        self.meters = meters
        self.received = 0
        self.sent = 0

    def moved_in(self, count: int, now: float) -> None:
        """Count bytes of the client that were handed to the upstream side."""
        record = self._record
        self.received += count
        record.bytes_received += count
        record.last_activity_at = now
        for meter in self.meters:
            meter.received += count

    def moved_out(self, count: int, now: float) -> None:
        """Count bytes of the upstream side that were handed to the client."""
        record = self._record
        self.sent += count
        record.bytes_sent += count
        record.last_activity_at = now
        for meter in self.meters:
            meter.sent += count


class RouteShares:
    """The shares of one connection.

    :ivar rest: the route of the bytes that no share has counted.
    :ivar of: the shares by route.
    """

    __slots__ = ("of", "rest")

    def __init__(self, rest: str) -> None:
        self.rest = rest
        self.of: dict[str, RouteShare] = {}

    def divide(self, record: ConnectionRecord) -> Iterator[tuple[str, int, int]]:
        """Route, bytes received and bytes sent. Together they are the counters of ``record``, whose shares these are."""
        received, sent = record.bytes_received, record.bytes_sent
        for route, share in self.of.items():
            received -= share.received
            sent -= share.sent
            yield route, share.received, share.sent
        yield self.rest, received, sent


class ClosedConnection(NamedTuple):
    """A closed connection.

    :ivar outcome: how it ended, or why it was refused.
    :ivar at: when, in monotonic seconds.
    """

    record: ConnectionRecord
    outcome: Outcome
    at: float
