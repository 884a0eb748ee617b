"""Terminating a client's TLS: the handshake, within its deadline and under the limit of handshakes.

The context is chosen by the ClientHello that was parsed before, and the connection is made on it. A context that is
exchanged in the middle of a handshake keeps the verification of the former one (CVE-2025-23419). The result is
another side, on the plaintext; the phases behind this one see no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from smartproxy.model.plan import TerminationPlan
    from smartproxy.tls.server_contexts import ServerContexts


class _DecryptedSide(Side):
    """The plaintext side of a client's connection. Its end, before a relay takes over, is that of the encrypted side."""

    def __init__(self, encrypted: Side) -> None:
        self._encrypted = encrypted
        self.hold = encrypted.hold

    def vanished(self, reason: Failure = connectionDone) -> None:
        """The client disconnected before a relay took over."""
        self.ended = True
        self._encrypted.vanished(reason)


class HandshakeLimit:
    """Limits concurrent handshakes so that a flood of them cannot starve established connections.

    It lives as long as the proxy, so that handshakes begun before a reload still count. Used as a context manager
    around one handshake.

    :ivar limit: how many may be under way; 0 is no limit.
    :ivar active: how many are under way.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.active = 0

    def __enter__(self) -> None:
        if self.limit and self.active >= self.limit:
            raise HandshakeRefused("too many handshakes at once", Alert.INTERNAL_ERROR)
        self.active += 1

    def __exit__(self, *_: object) -> None:
        self.active -= 1


class Terminate:
    """Terminates the TLS of clients.

    :param contexts: gives the context for a ClientHello.
    :param clock: monotonic seconds.
    :param counters: counts how each handshake ended.
    """

    def __init__(
        self,
        contexts: ServerContexts,
        handshakes: HandshakeLimit,
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
        """The client's plaintext side, paused; and what was negotiated.

        :raises Refused: if there is no certificate for the client, or the handshake fails.
        """
        plan = routed.route.tls
        assert plan is not None  # noqa: S101 - only called for a route that terminates TLS
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
        facts = _negotiated(channel, plan)
        self._counters.handshake(self._clock() - began, facts.version, resumed=facts.resumed)
        decrypted = _DecryptedSide(client)
        TlsTransport(channel, client, decrypted)
        return decrypted, facts

    async def _handshake(self, client: Side, routed: Routed, plan: TerminationPlan) -> Channel:
        hello = routed.detected.hello
        if hello is None:
            raise NotTls
        # A wait for an embedder's certificate counts against the limit: it holds a client just as a handshake does.
        with self._handshakes:
            context = self._contexts.for_hello(routed.route, hello)
            if isinstance(context, Deferred):
                context = await context
            connection = SSL.Connection(context, None)
            connection.set_accept_state()
            channel = Channel(connection)
            await handshake(client, channel, self._deadlines, plan.handshake_timeout)
        return channel


def _negotiated(channel: Channel, plan: TerminationPlan) -> TlsFacts:
    connection = channel.connection
    asked = plan.client_auth
    peer = None if asked is None else peer_identity(connection, verified=bool(asked.ca))
    alpn = connection.get_alpn_proto_negotiated().decode("latin-1") if plan.alpn else ""
    return TlsFacts(
        channel.version,
        channel.cipher,
        alpn or None,
        client=peer and (peer.common_name or next(iter(peer.names), peer.fingerprint)),
        common_name=peer.common_name if peer is not None else "",
        verified=peer is not None and peer.verified,
        resumed=channel.resumed,
    )
