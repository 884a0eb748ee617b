"""Ending our direction of a connection, in order or as a cut, whatever its transport can do.

A FIN ends one direction of a TCP connection and leaves the other open. Twisted's TLS cannot do that
(``loseWriteConnection`` on a TLS transport reaches the raw socket below it, twisted#5341, and cuts the encryption off),
so there the end of one direction is the end of both. smartproxy's TLS can: its transport has an ``end_output``, which
sends a close_notify.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport, ITCPTransport

if TYPE_CHECKING:
    from smartproxy.flow.side import SideTransport

#: Seconds that a client has to read why it was refused, before the connection is reset. Until then its bytes are
#: read and discarded: closing a socket with unread bytes sends RST, which can overtake the answer (RFC 9112, 9.6).
#: HAProxy gives a client none, nginx (lingering_time) up to 30.
LINGER: Final = 2.0


def can_half_close(transport: object) -> bool:
    """Whether one direction of ``transport`` can be ended without the other."""
    if ISSLTransport.providedBy(transport):
        return False
    return ITCPTransport.providedBy(transport) or IHalfCloseableDescriptor.providedBy(transport)


def end_output(transport: SideTransport) -> None:
    """End our direction, after everything that was written before.

    The producer is unregistered first: a paused one that stays registered keeps a connection from ever closing
    (twisted#6461).
    """
    transport.unregisterProducer()
    own = getattr(transport, "end_output", None)
    if own is not None:
        own()
    elif can_half_close(transport):
        transport.loseWriteConnection()
    else:
        transport.loseConnection()


def cut_output(transport: SideTransport) -> None:
    """End the connection so that the peer does not take what was sent for the whole.

    smartproxy's TLS does that behind everything that was written: it ends without close_notify. Without TLS there is
    only the RST, which drops what the kernel has not sent yet.
    """
    own = getattr(transport, "cut_output", None)
    if own is not None:
        own()
    else:
        transport.abortConnection()
