"""TLS to a target: the handshake, the check of the target's name, and its session kept for the next connection.

The result is another side, on the plaintext; what follows sees no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from OpenSSL import SSL

from smartproxy.errors import DialFailed, HandshakeFailed, NameNotServed, ResumptionFailed
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

    async def __call__(
        self, lower: Side, tls: OriginationPlan, name: str, seconds: float, *, resume: bool = True
    ) -> Encrypted:
        """TLS with the target ``name`` over the connected side ``lower``. Both sides are paused, before and after.

        :param seconds: deadline of the handshake; 0 for none.
        :param resume: whether the session of the former connection is offered.
        :raises ResumptionFailed: if a session was offered, and the target failed the handshake. ``lower`` is aborted
            then, and the session is forgotten.
        :raises DialFailed: if the handshake fails or the certificate is not the target's; likewise.
        """
        transport, offered = lower.transport, False
        try:
            connection = self._contexts.connection(tls, name)
            offered = resume and self._contexts.resume(connection, tls, name)
            channel = Channel(connection)
            transport.resumeProducing()
            await handshake(lower, channel, self._deadlines, seconds)
            transport.pauseProducing()
            offered = False  # what fails from here on is not due to the session
            self._contexts.verify(connection, tls, name)
        except HandshakeFailed as failed:
            transport.abortConnection()
            if offered:
                self._contexts.forget(tls, name)
            kind = _kind_of(failed, tls, offered=offered)
            raise kind(RejectReason.TLS_ERROR, f"TLS with {name}: {failed.detail}") from failed
        except SSL.Error as failed:
            transport.abortConnection()
            raise DialFailed(RejectReason.TLS_ERROR, f"TLS with {name}: no context for it") from failed
        except BaseException:  # the client disconnected, which cancels this coroutine
            transport.abortConnection()
            raise
        upper = Side()
        TlsTransport(channel, lower, upper)
        return Encrypted(upper, lambda: self._contexts.keep(connection, tls, name))


def _kind_of(failed: HandshakeFailed, tls: OriginationPlan, *, offered: bool) -> type[DialFailed]:
    """What a failed handshake says of the target.

    :param offered: whether it may be due to a session that was offered.
    """
    if failed.timed_out:
        return DialFailed
    if offered:
        return ResumptionFailed
    return NameNotServed if tls.client_name else DialFailed
