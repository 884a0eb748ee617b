"""Terminating a client's TLS: the handshake, within its deadline and the limit of handshakes.

The deadline is that of the whole, with the wait for a certificate that an embedder's callable chooses.

The context is chosen by the ClientHello that was parsed before, and the connection is made on it. A context that is
exchanged in the middle of a handshake keeps the verification of the former one (CVE-2025-23419). The result is
another side, on the plaintext; the phases behind this one see no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone

from smartproxy.errors import HandshakeFailed, HandshakeRefused, NotTls
from smartproxy.flow.callables import description_of
from smartproxy.flow.coroutines import unfailed
from smartproxy.flow.side import Side, destination_of
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
    from smartproxy.security.handshake_limit import HandshakeLimit
    from smartproxy.tls.server_contexts import ServerContexts

T = TypeVar("T")

#: Why a handshake has ended whose deadline has passed.
_TOO_LONG = "took too long"


class _DecryptedSide(Side):
    """The plaintext side of a client's connection. Its end, before a relay takes over, is that of the encrypted side."""

    def __init__(self, encrypted: Side) -> None:
        self._encrypted = encrypted
        self.hold = encrypted.hold

    def vanished(self, reason: Failure = connectionDone) -> None:
        """The client disconnected before a relay took over."""
        self.ended = True
        self._encrypted.vanished(reason)


class _HandshakeAttempt:
    """One handshake, which its deadline can end, or another one that needs room.

    :param seconds: its deadline; 0 for none.
    :ivar began: monotonic seconds.
    :ivar cancel: ends what it waits for now.
    :ivar why: what has ended it; empty while nothing has.
    """

    __slots__ = ("_seconds", "began", "cancel", "why")

    def __init__(self, began: float, cancel: Callable[[], object], seconds: float) -> None:
        self._seconds = seconds
        self.began = began
        self.cancel = cancel
        self.why = ""

    def time_out(self) -> None:
        """End it: its deadline has passed."""
        self.give_up(_TOO_LONG)

    def give_up(self, why: str) -> None:
        """End it now."""
        self.why = why
        self.cancel()

    async def wait_for(self, awaited: Deferred[T], what: str, alert: Alert = Alert.INTERNAL_ERROR) -> T:
        """The result of ``awaited``, before the handshake is begun.

        :param what: names it, for the log.
        :param alert: for the client, if the handshake is ended meanwhile.
        :raises HandshakeRefused: if the handshake is ended meanwhile.
        """
        waiting, self.cancel = self.cancel, awaited.cancel
        try:
            return await unfailed(awaited)
        except CancelledError:
            if not self.why:
                raise
            raise HandshakeRefused(self.in_words(what), alert) from None
        finally:
            self.cancel = waiting

    def in_words(self, what: str) -> str:
        """Why it has ended while ``what`` was in progress."""
        if self.why is _TOO_LONG:
            return f"{what} took too long (tlsHandshakeTimeout {self._seconds:g} s)"
        return self.why


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
        except Exception:  # also what an embedder's callable raises, which is logged elsewhere
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
        seconds = plan.handshake_timeout
        attempt = _HandshakeAttempt(self._clock(), client.expire, seconds)
        due = self._deadlines.call_later(seconds, attempt.time_out) if seconds else None
        self._handshakes.begin(attempt, routed.detected.client_ip)
        try:
            announced = routed.detected.announced
            context = self._contexts.for_hello(
                routed.route, hello, lambda: destination_of(announced, client).host
            )
            if isinstance(context, Deferred):
                context = await attempt.wait_for(context, *_waited_for(routed, plan, hello.server_name))
            turn = self._handshakes.turn()
            if turn is not None:
                await attempt.wait_for(turn, "the wait for other handshakes")
            connection = SSL.Connection(context, None)
            connection.set_accept_state()
            channel = Channel(connection)
            await handshake(client, channel, self._deadlines, 0)
        except HandshakeFailed:
            if attempt.why:
                raise HandshakeFailed(attempt.in_words("the handshake"), alert_sent=False) from None
            raise
        finally:
            self._handshakes.end(attempt)
            if due is not None:
                due.cancel()
        return channel


def _waited_for(routed: Routed, plan: TerminationPlan, name: str | None) -> tuple[str, Alert]:
    """What a handshake waits for before it has a context, and the alert where that takes too long."""
    if plan.certificate_for is None:
        # The order goes on, so that the client may succeed later: the alert is that of a name without a certificate.
        return f"the wait for the certificate of {name} (acme.onDemand)", Alert.UNRECOGNIZED_NAME
    return description_of("certificate", plan.certificate_for, routed.route.name), Alert.INTERNAL_ERROR


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
