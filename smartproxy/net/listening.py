"""Listening sockets that are opened together, beside each other, or not at all.

::

    listen_together(fresh, held)        # CannotListenError: then none of fresh listens, and nothing has changed
    port.retire()                       # closes it; connections that the kernel has completed are accepted first

The kernel refuses ``127.0.0.1:80`` beside ``[::]:80``, unless both sockets have SO_REUSEPORT when the second one is bound
and when it begins to listen; then connections go to the more specific address. The option is set for that moment only,
and never before the first socket of a port number is bound: otherwise a second proxy that was started by mistake could
bind the same addresses, and the kernel would send it half of the connections (socket(7)).
"""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import tcp
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError

from smartproxy.model.address import Endpoint
from smartproxy.wire.host import addresses_overlap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory

#: Pending connections in the kernel, which limits this to net.core.somaxconn (4096 since Linux 5.4).
BACKLOG = 4096
#: Listeners that a log line names.
_NAMED = 8


class Listening(Protocol):
    """A port that can be opened together with others.

    :ivar port: its number; 0 is any that is free.
    :ivar interface: the address to bind.
    """

    port: Any  # Twisted declares that it may be None
    interface: Any

    def bind(self, *, reuse_port: bool) -> None:
        """Bind the socket; clients are still refused.

        :raises CannotListenError: if address and port cannot be had.
        """

    def listen(self) -> None:
        """Let the kernel complete connections.

        :raises CannotListenError: if another process was faster.
        """

    def startListening(self) -> None:
        """Begin to accept."""

    def discard(self) -> None:
        """Close a port that does not accept yet."""

    def set_reuse_port(self, reuse_port: bool) -> None:
        """Set or clear SO_REUSEPORT."""

    def stopListening(self) -> Any:
        """Close the port."""

    def retire(self) -> Deferred[Any]:
        """Close the port. Connections that the kernel has completed are accepted first: closing resets them."""

    def getHost(self) -> Any:
        """The address that it listens on."""


def listen_together(fresh: Iterable[Listening], held: Iterable[Listening] = ()) -> None:
    """Listen on all ports of ``fresh``, or on none. No client can connect to one before all are bound.

    :param held: ports of this process that listen already, and may have the same numbers.
    :raises CannotListenError: of the first port that cannot be had.
    """
    by_number: dict[int, list[Listening]] = {}
    for port in held:
        by_number.setdefault(port.port, []).append(port)
    bound: list[Listening] = []
    sharing: list[Listening] = []
    try:
        for port in fresh:
            same_number = by_number.setdefault(port.port, [])
            beside = [other for other in same_number if _overlap(other, port)]
            for other in beside:
                other.set_reuse_port(True)
            port.bind(reuse_port=bool(beside))
            same_number.append(port)
            bound.append(port)
            sharing += [*beside, port]
        for port in bound:
            port.listen()
    except BaseException:
        for port in bound:
            port.discard()
        raise
    finally:
        for port in sharing:
            port.set_reuse_port(False)
    for port in bound:
        port.startListening()


def named(places: Iterable[Endpoint]) -> str:
    """``[::]:80, [::]:443``, for a log line: the first ones, and how many more there are."""
    ordered = sorted(places, key=lambda place: (place.port, place.host))
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return ", ".join(map(str, ordered[:_NAMED])) + more


def reason(failed: CannotListenError) -> str:
    """``cannot listen on 127.0.0.1:80: [Errno 98] Address already in use``, for a log line or a reply."""
    if isinstance(failed.port, bytes):  # the path of a unix socket
        place = f"unix:{os.fsdecode(failed.port)}"
    else:
        place = str(Endpoint(failed.interface or "*", failed.port))
    return f"cannot listen on {place}: {failed.socketError}"


class ListeningPort(tcp.Port):
    """Twisted's port, opened in three steps, without its log lines. ``::`` accepts IPv4 too.

    :ivar retiring: whether it accepts what the kernel has completed, and then closes.
    """

    retiring = False
    #: Other processes may have copies of the socket: a service manager, for the next start. To close is enough.
    _shouldShutdown = False

    def createInternetSocket(self) -> socket.socket:
        """The socket, not bound yet."""
        created: socket.socket = super().createInternetSocket()
        if created.family == socket.AF_INET6:
            created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return created

    def bind(self, *, reuse_port: bool = False) -> None:
        """See :class:`Listening`."""
        created = self.createInternetSocket()
        try:
            created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
            created.bind((self.interface, self.port))
        except OSError as why:
            created.close()
            raise CannotListenError(self.interface, self.port, why) from why
        self._preexistingSocket = created

    def listen(self) -> None:
        """See :class:`Listening`."""
        assert self._preexistingSocket is not None  # noqa: S101 - bind() comes first
        try:
            self._preexistingSocket.listen(self.backlog)
        except OSError as why:
            raise CannotListenError(self.interface, self.port, why) from why

    def adopt(self, opened: socket.socket) -> None:
        """Use ``opened``, which listens already, instead of a socket of its own.

        Other processes have copies of it: to close the port closes this copy, and the socket listens on.
        """
        opened.setblocking(False)
        self._preexistingSocket = opened

    def startListening(self) -> None:
        """Begin to accept; a port that is not opened with others is bound now."""
        if self._preexistingSocket is None:
            self.bind()
            self.listen()
        opened, self._preexistingSocket = self._preexistingSocket, None
        assert opened is not None  # noqa: S101 - bind() sets it
        self._realPortNumber = opened.getsockname()[1]
        begin_to_accept(self, opened)

    def discard(self) -> None:
        """See :class:`Listening`."""
        if self._preexistingSocket is not None:
            self._preexistingSocket.close()
            self._preexistingSocket = None

    def set_reuse_port(self, reuse_port: bool) -> None:
        """See :class:`Listening`."""
        opened = self._preexistingSocket or (self.socket if self.connected else None)
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)

    def retire(self) -> Deferred[Any]:
        """See :class:`Listening`."""
        self.retiring = True
        return maybeDeferred(self.stopListening)

    def connectionLost(self, reason: Any) -> None:
        """Close the socket, in the event loop iteration after ``stopListening``."""
        if self.retiring:
            self._accept_completed()
        super().connectionLost(reason)

    def _logConnectionLostMsg(self) -> None:
        """Log nothing."""

    def _accept_completed(self) -> None:
        """Accept what waits in the kernel's queue, which has at most :data:`BACKLOG` connections."""
        for _ in range(BACKLOG):
            if not self._has_completed():
                return
            self.doRead()

    def _has_completed(self) -> bool:
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        return bool(waiting.poll(0))


def begin_to_accept(port: Any, opened: socket.socket) -> None:
    """Do what Twisted's ``Port.startListening`` does with a listening socket, without logging it.

    A proxy logs all its listeners in one line; with Twisted's it would be a line for each, with the name of a class.

    :param port: a ``twisted.internet.tcp.Port``, whose types say less than it takes.
    """
    tcp._reservedFD.reserve()  # noqa: SLF001 - Twisted closes it to accept and drop when descriptors are short
    port.factory.doStart()
    port.connected = True
    port.socket = opened
    port.fileno = opened.fileno
    port.numberAccepts = 100  # Twisted's value
    port.startReading()


class ReactorPort:
    """A port of a reactor that opens no sockets of the kernel, such as one in memory: it is opened in one step."""

    def __init__(self, port: int, factory: IProtocolFactory, interface: str, reactor: Any) -> None:
        self.port = port
        self.interface = interface
        self._factory = factory
        self._reactor = reactor
        self._opened: IListeningPort | None = None

    def bind(self, *, reuse_port: bool) -> None:
        """See :class:`Listening`; addresses on one port are the reactor's business."""
        self._opened = self._reactor.listenTCP(self.port, self._factory, BACKLOG, self.interface)

    def listen(self) -> None:
        """It listens already."""

    def startListening(self) -> None:
        """It accepts already."""

    def set_reuse_port(self, reuse_port: bool) -> None:
        """There is no such option."""

    def discard(self) -> None:
        """See :class:`Listening`."""
        self.retire()

    def retire(self) -> Deferred[Any]:
        """See :class:`Listening`."""
        assert self._opened is not None  # noqa: S101 - bind() comes first
        return maybeDeferred(self._opened.stopListening)

    stopListening = retire

    def getHost(self) -> Any:
        """See :class:`Listening`."""
        assert self._opened is not None  # noqa: S101 - bind() comes first
        return self._opened.getHost()


def _overlap(one: Listening, other: Listening) -> bool:
    """Whether the kernel refuses one beside the other without SO_REUSEPORT, and not because they are the same."""
    if not one.port or one.interface == other.interface:
        return False
    return addresses_overlap(one.interface, other.interface)
