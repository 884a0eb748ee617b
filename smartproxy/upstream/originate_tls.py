"""TLS towards a target: the handshake, the check of the target's identity, and its session kept for the next time.

The result is another side, on the plaintext; what follows sees no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from OpenSSL import SSL

from smartproxy.errors import DialFailed, HandshakeFailed
from smartproxy.flow.side import Side
from smartproxy.model.outcome import RejectReason
from smartproxy.tls.channel import Channel
from smartproxy.tls.handshake import handshake
from smartproxy.tls.transport import TlsTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.plan import OriginationPlan


class Encrypted(NamedTuple):
    """A side within TLS towards a target. ``on_closed`` is to be called when its connection has ended."""

    side: Side
    on_closed: Callable[[], None]


class Origins(Protocol):
    """Who makes connections to targets: :class:`~smartproxy.tls.contexts.ClientContexts`."""

    def connection(self, tls: OriginationPlan, host: str) -> SSL.Connection: ...

    def verify(self, connection: SSL.Connection, tls: OriginationPlan, host: str) -> None: ...

    def keep(self, connection: SSL.Connection, tls: OriginationPlan, host: str) -> None: ...


class Originate:
    """Begins TLS with targets."""

    def __init__(self, contexts: Origins, deadlines: Deadlines) -> None:
        self._contexts = contexts
        self._deadlines = deadlines

    async def __call__(self, lower: Side, tls: OriginationPlan, host: str, seconds: float) -> Encrypted:
        """What goes to ``host`` within TLS, paused. ``lower`` stands, and is paused, too.

        :param seconds: that the handshake may take; 0 is for ever.
        :raises DialFailed: where there is no handshake, or the target is not who it should be; ``lower`` is cut then.
        """
        transport = lower.transport
        try:
            connection = self._contexts.connection(tls, host)
            channel = Channel(connection)
            transport.resumeProducing()
            await handshake(lower, channel, self._deadlines, seconds)
            transport.pauseProducing()
            self._contexts.verify(connection, tls, host)
        except HandshakeFailed as failed:
            transport.abortConnection()
            raise DialFailed(RejectReason.TLS_ERROR, f"TLS with {host}: {failed.detail}") from failed
        except SSL.Error as failed:
            transport.abortConnection()
            raise DialFailed(RejectReason.TLS_ERROR, f"TLS with {host}: no context for it") from failed
        except BaseException:
            transport.abortConnection()
            raise
        upper = Side()
        TlsTransport(channel, lower, upper)
        return Encrypted(upper, lambda: self._contexts.keep(connection, tls, host))
