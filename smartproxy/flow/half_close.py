"""Ending one direction of a connection: the one place that knows whether a transport can.

A FIN ends one direction of a TCP connection and leaves the other. TLS as Twisted speaks it cannot do that
(``loseWriteConnection`` on a TLS transport reaches the raw socket below it, twisted#5341, and cuts the
encryption off), so there the end of one direction is the end of both. Ours can: it has an ``end_output`` of
its own, which says close_notify.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport, ITCPTransport


def can_half_close(transport: Any) -> bool:
    """Whether one direction of ``transport`` can be ended without the other."""
    if ISSLTransport.providedBy(transport):
        return False
    return ITCPTransport.providedBy(transport) or IHalfCloseableDescriptor.providedBy(transport)


def end_output(transport: Any) -> None:
    """Send the end of our direction, after everything that was written before it.

    The producer goes first: a paused one that stays registered keeps a connection from ever closing
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
