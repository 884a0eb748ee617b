"""Letting a connection go that was not taken: with an answer in its own language, and in order.

A connection that was relayed has ended both its directions already. One that is refused gets a last word
where its protocol has one: an alert in TLS, a response in HTTP. Then: unregister, lose, linger, abort. To
linger is to read on and throw away until the client has closed too, because closing a socket with unread
bytes sends a RST, which would overtake the last word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import DialFailed, HandshakeFailed, HandshakeRefused, Misdirected, NotTls
from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.outcome import RejectReason
from smartproxy.net.half_close import end_output
from smartproxy.tls.transport import channel_of
from smartproxy.wire import http_head, tls_alert
from smartproxy.wire.sniff import SniffedProtocol, sniff
from smartproxy.wire.verdict import Done, Malformed

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from smartproxy.errors import Refused
    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.flow.side import Side

#: Seconds that a refused client has to read its answer and close. HAProxy gives it none, nginx
#: (lingering_time) up to 30.
LINGER = 2.0

_ALERTS = {
    RejectReason.NO_ROUTE: tls_alert.Alert.UNRECOGNIZED_NAME,
    RejectReason.TLS_ERROR: tls_alert.Alert.DECODE_ERROR,
    RejectReason.IP_BLOCKED: tls_alert.Alert.ACCESS_DENIED,
    RejectReason.IP_NOT_ALLOWED: tls_alert.Alert.ACCESS_DENIED,
}
_STATUSES = {
    RejectReason.NO_ROUTE: (404, "Not Found"),
    RejectReason.IP_BLOCKED: (403, "Forbidden"),
    RejectReason.IP_NOT_ALLOWED: (403, "Forbidden"),
    RejectReason.UPSTREAM_REFUSED: (502, "Bad Gateway"),
    RejectReason.UPSTREAM_UNREACHABLE: (502, "Bad Gateway"),
    RejectReason.UPSTREAM_TIMEOUT: (504, "Gateway Timeout"),
}


#: Refused for its target's sake. Where the protocol has no word for that, a FIN would be taken for an empty
#: answer; a RST is what the client would have got from the target.
_UPSTREAM = frozenset(
    {RejectReason.UPSTREAM_REFUSED, RejectReason.UPSTREAM_UNREACHABLE, RejectReason.UPSTREAM_TIMEOUT}
)
#: Refused for what its first bytes are, or are not yet: only then do these say what to answer.
_BY_FIRST_BYTES = frozenset({RejectReason.NO_ROUTE, RejectReason.INITIAL_DATA_TIMEOUT})


def response_for(protocol: ApplicationProtocol, reason: RejectReason, held: bytes = b"") -> bytes:
    """What a client that speaks ``protocol`` is told; a hello that is none was TLS before it was anything.

    ``held``: its first bytes. They may be a request that nobody could make out, or half of one.
    """
    if protocol is ApplicationProtocol.TLS or reason is RejectReason.TLS_ERROR:
        return tls_alert.build(_ALERTS.get(reason, tls_alert.Alert.INTERNAL_ERROR))
    if protocol is ApplicationProtocol.HTTP:
        return http_head.build_refusal(*_STATUSES.get(reason, (503, "Service Unavailable")))
    if reason in _BY_FIRST_BYTES and http_head.begins_request(held):
        head = http_head.parse(held)
        if isinstance(head, Malformed):
            return http_head.refusal_of(head)
        return http_head.build_refusal(408, "Request Timeout")
    return b""


def refusal_response(protocol: ApplicationProtocol, refused: Refused, held: bytes = b"") -> bytes:
    """The last word to a client that speaks ``protocol``, where the refusal itself may know a better one."""
    if isinstance(refused, HandshakeFailed):
        return b""  # OpenSSL has said it
    if isinstance(refused, HandshakeRefused):
        return tls_alert.build(refused.alert)
    if isinstance(refused, NotTls) and protocol is ApplicationProtocol.HTTP:
        return http_head.build_refusal(400, "Bad Request", "This port speaks TLS: use https.\n")
    if isinstance(refused, Misdirected):
        return http_head.build_refusal(421, "Misdirected Request", "This connection is for another host.\n")
    reason = refused.reason
    if isinstance(refused, DialFailed) and reason is RejectReason.TLS_ERROR:
        reason = RejectReason.UPSTREAM_UNREACHABLE  # the target's TLS, of which the client knows nothing
    return response_for(protocol, reason, held)


class _Lingering:
    """Reads and throws away, until the client has gone or its time is up."""

    def __init__(self, side: Side, deadlines: Deadlines) -> None:
        self._side = side
        self._deadline: Deadline | None = deadlines.call_later(LINGER, side.transport.abortConnection)

    def data_received(self, data: bytes) -> None:
        """Too late."""

    def input_ended(self) -> None:
        """It has closed, too."""
        self._side.transport.loseConnection()

    def output_ended(self) -> None:
        """The last word has been said. What is left is the client's to do."""

    def lost(self, why: Failure) -> None:
        """It has gone."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class RejectConnection:
    """Closes what was refused."""

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines

    def refuse(self, side: Side, protocol: ApplicationProtocol, refused: Refused) -> None:
        """Say so where the protocol has words for it, and close. Where TLS has ended here, what is inside of it counts."""
        if channel_of(side.transport) is not None:
            protocol = _inside(side)
        word = refusal_response(protocol, refused, side.buffered)
        told = bool(word) or (isinstance(refused, HandshakeFailed) and refused.told)
        if not told and (isinstance(refused, DialFailed) or refused.reason in _UPSTREAM):
            self.cut(side)
            return
        if not told or side.ended:
            side.transport.write(word)
            side.attach(_Lingering(side, self._deadlines))
            side.transport.loseConnection()
            return
        side.transport.write(word)
        side.attach(_Lingering(side, self._deadlines))
        end_output(side.transport)
        side.transport.resumeProducing()

    def cut(self, side: Side) -> None:
        """Close now, with a reset. A side that was detached has nothing to close."""
        side.transport.abortConnection()


def _inside(side: Side) -> ApplicationProtocol:
    """What is spoken within the TLS, as far as it has come."""
    side.transport.resumeProducing()
    kind = sniff(side.buffered)
    return (
        ApplicationProtocol.HTTP
        if isinstance(kind, Done) and kind.value is SniffedProtocol.HTTP
        else ApplicationProtocol.RAW
    )
