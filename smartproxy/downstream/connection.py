"""Twisted's pair of factory and protocol for accepted connections.

The factory is PROXY-aware: the address it is given is only the peer's, and the client is unknown until the control path
has read a PROXY header or found that there is none. It holds what the connections of one listener share; ``carry``
starts the control path of each connection (:mod:`smartproxy.session`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger

from smartproxy.flow.coroutines import CancellableCoroutine
from smartproxy.flow.side import Side
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.net.keep_alive import apply_keepalive, options
from smartproxy.net.liveness import transport_gone
from smartproxy.wire.host import unmapped

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.plan import KeepAlive

#: Seconds for which a client that sent a FIN and no data is kept while its target is dialed. It may be one that only
#: reads (``nc host 13 </dev/null``), but more often it is a port scanner that has already disconnected.
SILENT_FIN = 1.0

log = Logger()

#: The control path of a connection.
Carry = Callable[["Downstream", Accepted], Coroutine[Deferred[Any], Any, None]]


class Downstream(Side):
    """A client's connection.

    It remembers its end: a cancel may reach the control path late, or be swallowed by what the path waits for. After
    each wait the path calls :meth:`require_live`.
    """

    _path: CancellableCoroutine[None] | None = None
    _end: CloseReason | RejectReason | None = None
    #: Why it was refused from outside of its path, in words.
    detail = ""

    def __init__(self, factory: DownstreamFactory, accepted: Accepted) -> None:
        self._factory = factory
        self.accepted = accepted
        self.hold = factory.hold

    def connectionMade(self) -> None:
        """Start the control path."""
        if not self._factory.inherits:
            self.transport.setTcpNoDelay(True)
            apply_keepalive(self.transport, options(self._factory.keep_alive))
        self._path = CancellableCoroutine(self._factory.carry(self, self.accepted), self._factory.call_soon)
        self._path.run()

    @property
    def why(self) -> CloseReason | RejectReason:
        """The outcome where the connection was ended from outside of its path."""
        return self._end or CloseReason.NORMAL

    @property
    def is_live(self) -> bool:
        """Whether nothing has ended the connection yet."""
        return self._end is None

    def require_live(self) -> None:
        """Go on only for a live connection.

        :raises CancelledError: if the connection was ended, however long ago.
        """
        if self._end is not None:
            raise CancelledError

    def vanished(self, reason: Failure = connectionDone) -> None:
        """The client disconnected before it was relayed: cancel the control path."""
        self.ended = True
        self.abort(CloseReason.NORMAL if reason.check(ConnectionDone) else CloseReason.CLIENT_RESET)

    def left(self) -> None:
        """The client sent a FIN while its target is being dialed."""
        if not self.buffered:
            self._factory.deadlines.call_later(SILENT_FIN, self._give_up)

    def abort(self, reason: CloseReason) -> None:
        """Cancel the control path; the connection ends with ``reason``. The first reason counts."""
        self._end = self._end or reason
        if self._path is not None:
            self._path.cancel()

    def refuse(self, reason: RejectReason, detail: str) -> None:
        """Reset the connection; it ends as refused for ``reason``. The first reason counts."""
        if self._end is None:
            self._end, self.detail = reason, detail
        self.transport.abortConnection()  # whose loss ends the path, or the relay

    def gone(self) -> tuple[bool, bool]:
        """Whether the client's socket is closed; there is no upstream socket yet."""
        return transport_gone(self.transport), False

    def acknowledged(self) -> int | None:
        """``None``: nothing was relayed to the client yet."""
        return None

    def _give_up(self) -> None:
        if self.receiver is None and not self.is_detached:  # nor has a relay taken the socket
            self.abort(CloseReason.NORMAL)


class DownstreamFactory(ServerFactory):
    """All connections of one listener.

    :param name: of the listener, ``address:port`` as the configuration has it.
    :param port: its number.
    :param carry: starts the control path of a connection. A reload replaces it; live connections keep theirs.
    :param hold: bytes of a client that may be buffered before its target is connected.
    :param keep_alive: TCP keep-alive of its connections; where the port :attr:`inherits`, they have it already.
    :param refuse: the reason to close a connection of a peer to the listener at once, or ``None``. It counts and logs what
        it refuses.
    :ivar inherits: whether accepted sockets have inherited their options from the listening socket.
    """

    noisy = False

    def __init__(
        self,
        name: str,
        port: int,
        carry: Carry,
        refuse: Callable[[str, str], RejectReason | None],
        deadlines: Deadlines,
        clock: Callable[[], float],
        *,
        keep_alive: KeepAlive,
        hold: int,
    ) -> None:
        self.hold = hold
        self.inherits = False
        self.keep_alive = keep_alive
        self.name = name
        self.port = port
        self.carry = carry
        self.deadlines = deadlines
        self.refuse = refuse
        self._clock = clock

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call ``call()`` in a later event loop iteration."""
        self.deadlines.call_later(0.0, call)

    def buildProtocol(self, addr: Any) -> Downstream | None:
        """A connection was accepted from ``addr``, which has ``host`` and ``port``."""
        peer = Endpoint(unmapped(addr.host), addr.port)
        if self.refuse(peer.host, self.name) is not None:
            return None
        return Downstream(self, Accepted(self.name, self.port, peer, self._clock()))
