"""TLS to a target: the handshake, the check of the target's name, and its session kept for the next connection.

The result is another side, on the plaintext; what follows sees no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
    from smartproxy.tls.client_contexts import ClientContexts


class Encrypted(NamedTuple):
    """TLS to a target after its handshake.

    :ivar side: its plaintext side.
    :ivar on_closed: to be called when the connection has ended; keeps its session.
    """

    side: Side
    on_closed: Callable[[], None]


class Originate:
    """Starts TLS with targets."""

    def __init__(self, contexts: ClientContexts, deadlines: Deadlines) -> None:
        self._contexts = contexts
        self._deadlines = deadlines

    async def __call__(self, lower: Side, tls: OriginationPlan, host: str, seconds: float) -> Encrypted:
        """TLS with ``host`` over the connected side ``lower``. Both sides are paused, before and after.

        :param seconds: deadline of the handshake; 0 for none.
        :raises DialFailed: if the handshake fails or the certificate is not the target's; ``lower`` is aborted then.
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
        except BaseException:  # the client disconnected, which cancels this coroutine
            transport.abortConnection()
            raise
        upper = Side()
        TlsTransport(channel, lower, upper)
        return Encrypted(upper, lambda: self._contexts.keep(connection, tls, host))
