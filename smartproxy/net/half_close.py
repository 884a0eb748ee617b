"""Ending our direction of a connection, in order, as a cut or with a reset, whatever its transport can do.

A FIN ends one direction of a TCP connection and leaves the other open. Twisted's TLS cannot do that
(``loseWriteConnection`` on a TLS transport reaches the raw socket below it, twisted#5341, and cuts the encryption off),
so there the end of one direction is the end of both. smartproxy's TLS can: its transport has an ``end_output``, which
sends a close_notify.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IPullProducer,
    ISSLTransport,
    ITCPTransport,
)
from zope.interface import classImplements

from smartproxy.net.lends_socket import LendsSocket
from smartproxy.net.outgoing import report_when_sent, unsent

if TYPE_CHECKING:
    from smartproxy.flow.side import SideTransport

#: Seconds that a client has to read why it was refused, before the connection is reset. Until then its bytes are
#: read and discarded: closing a socket with unread bytes sends RST, which can overtake the answer (RFC 9112, 9.6).
#: HAProxy gives a client none, nginx (lingering_time) up to 30.
LINGER: Final = 2.0


def has_unsent(transport: Any) -> bool:
    """Whether bytes that were written to ``transport`` wait for its kernel to take them: the peer does not read."""
    lower = getattr(transport, "lower", None)  # of one with TLS
    if lower is not None:
        return has_unsent(lower.transport)
    own: bool | None = getattr(transport, "has_unsent", None)
    # Those of Twisted have no question for it.
    return (
        bool(getattr(transport, "dataBuffer", b"") or getattr(transport, "_tempDataBuffer", ()))
        if own is None
        else own
    )


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
    """End the connection behind everything that was written, so that the peer does not take that for the whole.

    smartproxy's TLS ends without close_notify. Without TLS there is only the RST.
    """
    own = getattr(transport, "cut_output", None)
    if own is not None:
        own()
    else:
        reset_output(transport)


def reset_output(transport: Any) -> None:
    """Reset the connection behind everything that was written, with TLS or without. Its bytes are read no more.

    ``abortConnection`` would drop what the transport and the kernel have not sent yet.
    """
    own = getattr(transport, "reset_output", None)
    if own is not None:
        own()
    else:
        transport.pauseProducing()
        if isinstance(transport, LendsSocket):
            transport.read_to_end(wanted=False)
        transport.unregisterProducer()
        transport.registerProducer(_ResetBehind(transport), False)


def still_sends(transport: Any) -> bool:
    """Whether the kernel has not sent everything yet that was written to ``transport``."""
    handle = getattr(transport, "getHandle", lambda: None)()
    return isinstance(handle, socket.SocketType) and unsent(handle) > 0


class _ResetBehind:
    """A pull producer without data: when it is asked for some, the transport has nothing left to write.

    Then the kernel may still have something to send. With ``startWriting``, which Twisted's transports and
    :class:`~smartproxy.net.stream.Stream` have, it is asked again when the socket is writable, which means that all is sent.
    """

    __slots__ = ("_ask_again", "_asked", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._ask_again = getattr(transport, "startWriting", None)
        self._asked = False

    def resumeProducing(self) -> None:
        """Reset the connection if everything is sent."""
        # Twisted asks once within registerProducer, whatever is left to be written.
        first, self._asked = not self._asked, True
        if self._ask_again is not None and (first or self._kernel_has_more()):
            self._ask_again()
        else:
            self._transport.unregisterProducer()
            self._transport.abortConnection()

    def _kernel_has_more(self) -> bool:
        if not still_sends(self._transport):
            return False
        report_when_sent(self._transport.getHandle())
        return True

    def stopProducing(self) -> None:
        """The connection is lost."""


classImplements(_ResetBehind, IPullProducer)
