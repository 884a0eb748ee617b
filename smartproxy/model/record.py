"""The one thing that changes while bytes flow: a connection's record.

It is the first layer of the metrics: the totals of all connections are the sums of their records, and
come from nowhere else. The one call on the byte path is :meth:`ConnectionRecord.moved_in` or
:meth:`~ConnectionRecord.moved_out`, made when bytes have been handed to the other side, never when they
were stored; it feeds the meters (throughput, route, client) in the same breath.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from smartproxy.model import facts
from smartproxy.model.outcome import CloseReason, ConnectionState, RejectReason, RelayKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.model.address import Endpoint


class Meter:
    """Bytes that went by since somebody last looked. Monotonic; a reader keeps his own last value."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


def _not_yet(reason: CloseReason) -> None:
    """A record whose connection has not been made yet cannot be ended."""


def _nothing_gone() -> tuple[bool, bool]:
    """Nor can its sockets be gone."""
    return False, False


class Watched(Protocol):
    """What holds a connection's timeouts."""

    def half_closed(self) -> None:
        """One direction has ended."""

    def cancel(self) -> None:
        """The connection has ended."""


class ConnectionRecord:
    """What is true of one live connection now.

    :ivar end: ends the connection, from outside of it, for the given reason.
    :ivar gone: asks the kernel whether the client's and the upstream's socket are gone.
    :ivar watch: holds its timeouts, from when it is linked. :ivar half_closed_at: when the first direction ended.
    :ivar sni: the server name of the ClientHello; ``None`` without TLS, or where it has none.
    :ivar host: the Host of the HTTP request that was looked at, inside of terminated TLS too; ``None`` without one.
    :ivar secured: what was agreed on with the client, where its TLS ends here.
    :ivar tls: whether it carries TLS, as its first bytes or its route say.
    :ivar stuck_detection: whether it is a zombie when it gets no answer.
    :ivar identified: whether the client is known; before, ``client`` is the peer.
    :ivar bytes_received: payload from the client, handed to the upstream side.
    :ivar bytes_sent: payload from the upstream side, handed to the client.
    :ivar opened_at: monotonic seconds. :ivar last_activity_at: likewise, of the last byte either way.
    """

    __slots__ = (
        "bytes_received", "bytes_sent", "client", "end", "gone", "half_closed_at", "host", "id", "identified",
        "keep_alive", "last_activity_at", "listener", "meters", "opened_at", "peer", "protocol",
        "proxy_version", "relay", "route", "secured", "sni", "state", "stuck_detection", "target", "tls", "watch",
    )  # fmt: skip

    def __init__(self, number: int, accepted: facts.Accepted) -> None:
        self.id = number
        self.state = ConnectionState.ACCEPTED
        self.listener = accepted.listener
        self.peer = accepted.peer
        self.client: Endpoint = accepted.peer
        self.proxy_version = 0
        self.protocol = facts.ApplicationProtocol.UNSEEN
        self.sni: str | None = None
        self.host: str | None = None
        self.tls = False
        self.route: str | None = None
        self.target: Endpoint | None = None
        self.relay: RelayKind | None = None
        self.keep_alive = False
        self.bytes_received = 0
        self.bytes_sent = 0
        self.opened_at = accepted.at
        self.last_activity_at = accepted.at
        self.meters: tuple[Meter, ...] = ()
        self.identified = False
        self.end: Callable[[CloseReason], object] = _not_yet
        self.gone: Callable[[], tuple[bool, bool]] = _nothing_gone
        self.watch: Watched | None = None
        self.half_closed_at: float | None = None
        self.stuck_detection = False
        self.secured: facts.TlsFacts | None = None

    def note_names(self, detected: facts.Detected) -> None:
        """Store the server name and the Host that ``detected`` has."""
        if detected.hello is not None:
            self.sni = detected.hello.server_name
        if detected.request is not None:
            self.host = detected.request.host

    def half_closed(self) -> None:
        """One of its directions has ended."""
        if self.watch is not None:
            self.watch.half_closed()

    def closed(self) -> None:
        """It has ended. What looked after it is let go, so that nothing points in a circle."""
        self.state = ConnectionState.CLOSING
        self.end = _not_yet
        self.gone = _nothing_gone
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None

    def moved_in(self, count: int, now: float) -> None:
        """``count`` bytes of the client have been handed to the upstream side."""
        self.bytes_received += count
        self.last_activity_at = now
        for meter in self.meters:
            meter.received += count

    def moved_out(self, count: int, now: float) -> None:
        """``count`` bytes of the upstream side have been handed to the client."""
        self.bytes_sent += count
        self.last_activity_at = now
        for meter in self.meters:
            meter.sent += count


class ClosedConnection(NamedTuple):
    """A closed connection: its record, how it ended or why it was refused, and when, in monotonic seconds."""

    record: ConnectionRecord
    outcome: CloseReason | RejectReason
    at: float
