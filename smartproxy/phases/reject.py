"""Refusing a connection: an answer in the protocol of the client, then an orderly close.

A refused client gets a TLS alert or an HTTP response if its protocol is known. Then the connection is closed in this
order: send the answer, send a FIN, linger (:mod:`smartproxy.connections.lingering`), abort.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from smartproxy.errors import DialFailed, HandshakeFailed, HandshakeRefused, Misdirected, NotTls
from smartproxy.http.errors import NO_PAGES, status_for, status_of
from smartproxy.http.first_request import answer_to_begun, answer_to_first, method_of
from smartproxy.model.facts import ApplicationProtocol
from smartproxy.model.outcome import RejectReason
from smartproxy.net.half_close import end_output
from smartproxy.tls.transport import channel_of
from smartproxy.wire import http_head, tls_alert
from smartproxy.wire.sniff import SniffedProtocol, sniff
from smartproxy.wire.verdict import Done

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from smartproxy.connections.lingering import Lingering
    from smartproxy.errors import Refused
    from smartproxy.flow.side import Side
    from smartproxy.model.plan import ErrorPage, RoutePlan

_ALERTS = {
    RejectReason.NO_ROUTE: tls_alert.Alert.UNRECOGNIZED_NAME,
    RejectReason.TLS_ERROR: tls_alert.Alert.UNEXPECTED_MESSAGE,  # of bytes that are no ClientHello
    RejectReason.IP_BLOCKED: tls_alert.Alert.ACCESS_DENIED,
    RejectReason.IP_NOT_ALLOWED: tls_alert.Alert.ACCESS_DENIED,
}
#: The target could not be reached. Where the client's protocol has no answer for that, a FIN would look like an empty
#: reply of the target; a RST is what the client would have got without a proxy.
_UPSTREAM = frozenset(
    {RejectReason.UPSTREAM_REFUSED, RejectReason.UPSTREAM_UNREACHABLE, RejectReason.UPSTREAM_TIMEOUT}
)
#: Refused because of the first bytes, or because they are incomplete: only then do they decide on the answer.
_BY_FIRST_BYTES = frozenset({RejectReason.NO_ROUTE, RejectReason.INITIAL_DATA_TIMEOUT})

#: Refused by the route that was found.
_BY_ROUTE = frozenset({RejectReason.IP_BLOCKED, RejectReason.IP_NOT_ALLOWED, RejectReason.ROUTE_LIMIT})


def response_for(
    protocol: ApplicationProtocol,
    reason: RejectReason,
    held: bytes | bytearray = b"",
    pages: Mapping[int, ErrorPage] = NO_PAGES,
) -> bytes:
    """The answer to a client of ``protocol`` that is refused for ``reason``; empty where there is none.

    :param held: its first bytes, which may be a malformed or an incomplete request.
    :param pages: pages for HTTP clients, by status.
    """
    # What follows a request for TLS and is not a ClientHello is of no known protocol, but TLS was agreed on.
    if protocol is ApplicationProtocol.TLS or reason is RejectReason.TLS_ERROR:
        return tls_alert.build(_ALERTS.get(reason, tls_alert.Alert.INTERNAL_ERROR))
    if protocol is ApplicationProtocol.HTTP:
        return answer_to_first(status_for(reason), held, pages)
    if reason in _BY_FIRST_BYTES and http_head.begins_request(held):
        return answer_to_begun(held, pages)
    return b""


def refusal_response(
    protocol: ApplicationProtocol,
    refused: Refused,
    held: bytes | bytearray = b"",
    pages: Mapping[int, ErrorPage] = NO_PAGES,
) -> bytes:
    """The answer to a client of ``protocol`` that is refused by ``refused``, which may require a special one.

    :param held: as for :func:`response_for`, likewise ``pages``.
    """
    if isinstance(refused, HandshakeFailed):
        return b""  # OpenSSL has sent its alert
    if isinstance(refused, HandshakeRefused):
        return tls_alert.build(refused.alert)
    if isinstance(refused, NotTls) and (
        protocol is ApplicationProtocol.HTTP or http_head.begins_request(held)
    ):
        return answer_to_first(400, held, text="This port speaks TLS: use https.")
    if isinstance(refused, Misdirected):
        return answer_to_first(status_of(refused), held, pages)
    reason = refused.reason
    if isinstance(refused, DialFailed) and reason is RejectReason.TLS_ERROR:
        reason = RejectReason.UPSTREAM_UNREACHABLE  # it was the target's TLS, not the client's
    return response_for(protocol, reason, held, pages)


class RejectConnection:
    """Answers and closes refused connections.

    :param lingering: holds connections whose clients have an answer to read.
    :param routes: by name.
    :param pages: pages for HTTP clients without a route, by status.
    :param count: counts a request by method and status, where some route speaks HTTP.
    """

    def __init__(
        self,
        lingering: Lingering,
        routes: Mapping[str, RoutePlan] = MappingProxyType({}),
        pages: Mapping[int, ErrorPage] = NO_PAGES,
        count: Callable[[str, int], object] | None = None,
    ) -> None:
        self._lingering = lingering
        self._routes = routes
        self._pages = pages
        self._count = count

    def refuse(
        self,
        side: Side,
        protocol: ApplicationProtocol,
        refused: Refused,
        client: str,
        route: str | None = None,
    ) -> str:
        """Send the answer of ``protocol`` if it has one, and close.

        :param client: its address.
        :param route: the route that does not admit it, if that is why.
        :return: what was sent, in words; empty where nothing was.

        Where TLS is terminated here, the protocol is that of the decrypted bytes.
        """
        of_route = None if route is None else self._routes.get(route)
        http = None if of_route is None else of_route.http
        is_plain = of_route is not None and of_route.tls is None
        if channel_of(side.transport) is not None:
            protocol, is_plain = _inside(side), True
        is_http = route is None or (http is not None and http.request_ports is None)
        if is_plain and is_http and refused.reason in _BY_ROUTE:
            protocol = ApplicationProtocol.HTTP  # whether or not its request was received yet
        if side.is_lost:
            return ""
        pages = (None if http is None else http.error_pages) or self._pages
        response = refusal_response(protocol, refused, side.buffered, pages)
        if self._count is not None and response.startswith(b"HTTP/"):
            self._count(method_of(side.buffered), _status(response))
        answered = bool(response) or (isinstance(refused, HandshakeFailed) and refused.alert_sent)
        if not answered and (isinstance(refused, DialFailed) or refused.reason in _UPSTREAM):
            self.cut(side)
            return ""
        side.transport.write(response)
        self._lingering.attach(side, client)
        if answered and not side.ended:
            # A FIN behind the answer, and read on: an unread byte would reset the connection.
            end_output(side.transport)
            side.transport.resumeProducing()
        else:
            side.transport.loseConnection()
        return _in_words(response)

    def cut(self, side: Side) -> None:
        """Reset the connection. A side that was detached has no socket to reset."""
        side.transport.abortConnection()


def _in_words(response: bytes) -> str:
    """The alert, or the status, of an answer."""
    alert = tls_alert.parse(response)
    if isinstance(alert, Done):
        return f"sent {tls_alert.in_words(alert.value.description)}"
    return f"answered {_status(response)}" if response else ""


def _status(response: bytes) -> int:
    return int(response[9:12])


def _inside(side: Side) -> ApplicationProtocol:
    """The protocol of the decrypted bytes, as far as they were received."""
    side.transport.resumeProducing()  # a paused one may hold decrypted bytes
    kind = sniff(side.buffered)
    return (
        ApplicationProtocol.HTTP
        if isinstance(kind, Done) and kind.value is SniffedProtocol.HTTP
        else ApplicationProtocol.RAW
    )
