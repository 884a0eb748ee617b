"""Ending a client's TLS, and beginning a target's: the handshake, within its deadline.

A client's context is chosen by the ClientHello that was looked at before, and the connection is made on it:
a context that is changed in the middle of a handshake keeps the verification of the one before
(CVE-2025-23419). What comes out is another side, on the plaintext; the phases behind this one see no
difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone

from smartproxy.errors import HandshakeFailed, HandshakeRefused, NotTls
from smartproxy.flow.side import Side
from smartproxy.model.facts import TlsFacts
from smartproxy.tls.channel import Channel
from smartproxy.tls.handshake import handshake
from smartproxy.tls.identity import peer_identity
from smartproxy.tls.transport import TlsTransport
from smartproxy.wire.tls_alert import Alert

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.metrics.counters import Counters
    from smartproxy.model.facts import Routed
    from smartproxy.model.plan import RoutePlan, TerminationPlan
    from smartproxy.wire.client_hello import ClientHello


class _Inner(Side):
    """A client's connection, from the inside of its TLS. When it goes, the outside has gone."""

    def __init__(self, outer: Side) -> None:
        self._outer = outer
        self.hold = outer.hold

    def vanished(self, reason: Failure = connectionDone) -> None:
        """It has gone before it was linked."""
        self._outer.vanished(reason)


class Handshakes:
    """How many are under way, so that a flood of them leaves room for the connections that stand.

    :param most: 0 is no limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.active = 0

    def __enter__(self) -> None:
        if self._most and self.active >= self._most:
            raise HandshakeRefused("too many handshakes at once", Alert.INTERNAL_ERROR)
        self.active += 1

    def __exit__(self, *_: object) -> None:
        self.active -= 1


class Contexts(Protocol):
    """Who knows the context for a hello: :class:`~smartproxy.tls.contexts.ServerContexts`."""

    def for_hello(self, route: RoutePlan, hello: ClientHello) -> Any: ...


class Terminate:
    """Ends the TLS of clients.

    :param clock: monotonic seconds. :param counters: how each handshake ended is told to it.
    """

    def __init__(
        self,
        contexts: Contexts,
        handshakes: Handshakes,
        deadlines: Deadlines,
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._contexts = contexts
        self._handshakes = handshakes
        self._deadlines = deadlines
        self._clock = clock
        self._counters = counters

    async def __call__(self, client: Side, routed: Routed) -> tuple[Side, TlsFacts]:
        """The client's plaintext, paused; and what was agreed on.

        :raises Refused: where there is no certificate for it, or no handshake.
        """
        plan = routed.route.tls
        assert plan is not None  # noqa: S101 - only then is this asked
        began = self._clock()
        try:
            channel = await self._handshake(client, routed, plan)
        except NotTls:
            self._counters.no_handshake("not_tls")
            raise
        except HandshakeRefused:
            self._counters.no_handshake("refused")
            raise
        except (HandshakeFailed, CancelledError):
            self._counters.no_handshake("failed")
            raise
        facts = _agreed(channel, plan)
        self._counters.handshake(self._clock() - began, facts.version, resumed=facts.resumed)
        inner = _Inner(client)
        TlsTransport(channel, client, inner)
        return inner, facts

    async def _handshake(self, client: Side, routed: Routed, plan: TerminationPlan) -> Channel:
        hello = routed.detected.hello
        if hello is None:
            raise NotTls
        with self._handshakes:
            context = self._contexts.for_hello(routed.route, hello)
            if isinstance(context, Deferred):
                context = await context
            connection = SSL.Connection(context, None)
            connection.set_accept_state()
            channel = Channel(connection)
            await handshake(client, channel, self._deadlines, plan.handshake_timeout)
        return channel


def _agreed(channel: Channel, plan: TerminationPlan) -> TlsFacts:
    connection = channel.connection
    asked = plan.client_auth
    shown = None if asked is None else peer_identity(connection, verified=bool(asked.ca))
    alpn = connection.get_alpn_proto_negotiated().decode("latin-1") if plan.alpn else ""
    return TlsFacts(
        channel.version,
        channel.cipher,
        alpn or None,
        client=shown and (shown.common_name or next(iter(shown.names), shown.fingerprint)),
        common_name=shown.common_name if shown is not None else "",
        verified=shown is not None and shown.verified,
        resumed=channel.resumed,
    )
