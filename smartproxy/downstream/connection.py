"""Listening: Twisted's pair of factory and protocol for the client's side.

The factory is PROXY-aware in the sense that matters: the address that it is given is the peer's, and who
the client is stands open until the narrator has found out. It holds what all connections of one listener
share; everything that happens to a connection is begun by ``carry``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger

from smartproxy.flow.side import Side
from smartproxy.model.address import Endpoint, unmapped
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.net.keep_alive import apply_keepalive, options
from smartproxy.net.liveness import transport_gone

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.model.plan import KeepAlive

#: Seconds that a client which has ended its direction without a word may still wait for its target. It may
#: be a client that only listens (``nc host 13 </dev/null``), but more often it is a scanner that has gone.
SILENT_FIN = 1.0

log = Logger()

#: What happens to a connection, from beginning to end.
Carry = Callable[["Downstream", Accepted], Coroutine[Deferred[Any], Any, None]]


class Downstream(Side):
    """A client's connection.

    :ivar why: what the connection came to while nobody was relaying it.
    """

    why = CloseReason.NORMAL
    _carried: Deferred[None] | None = None

    def __init__(self, factory: DownstreamFactory, accepted: Accepted) -> None:
        self._factory = factory
        self.accepted = accepted
        self.hold = factory.hold

    def connectionMade(self) -> None:
        """A client is here: carry it."""
        if not self._factory.inherits:
            self.transport.setTcpNoDelay(True)
            apply_keepalive(self.transport, options(self._factory.keep_alive))
        self._carried = Deferred.fromCoroutine(self._factory.carry(self, self.accepted))

    def vanished(self, reason: Failure = connectionDone) -> None:
        """It has gone before it was linked: whatever is under way for it stops."""
        self.abort(CloseReason.NORMAL if reason.check(ConnectionDone) else CloseReason.CLIENT_RESET)

    def left(self) -> None:
        """It has ended its direction while its target is being dialled."""
        if not self.buffered:
            self._factory.deadlines.call_later(SILENT_FIN, self._give_up)

    def abort(self, reason: CloseReason) -> None:
        """Stop whatever is under way for it."""
        self.why = reason
        if self._carried is not None:
            self._carried.cancel()

    def gone(self) -> tuple[bool, bool]:
        """Before it is linked there is one socket only, and nothing else that could be gone."""
        return transport_gone(self.transport), False

    def _give_up(self) -> None:
        if self.receiver is None and not self.is_detached:  # nor has a relay taken the socket
            self.abort(CloseReason.NORMAL)


class DownstreamFactory(ServerFactory):
    """All connections of one listener.

    :param name: of the listener, ``address:port`` as the configuration has it.
    :param port: its number.
    :param carry: what to do with a connection. A reload puts another in its place; connections that live
        go on as they began.
    :param hold: bytes of a client that may be held before its target is there.
    :param keep_alive: what its connections shall have; those of a port that :attr:`inherits` have it already.
    :param refuse: why the next connection is not even begun, if it is not. It counts and logs what it refuses.
    """

    noisy = False

    def __init__(
        self,
        name: str,
        port: int,
        carry: Carry,
        refuse: Callable[[str], RejectReason | None],
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

    def buildProtocol(self, addr: Any) -> Downstream | None:
        """A socket has come in, from ``addr``; it has ``host`` and ``port``, as Twisted's addresses have."""
        peer = Endpoint(unmapped(addr.host), addr.port)
        if self.refuse(peer.host) is not None:
            return None
        return Downstream(self, Accepted(self.name, self.port, peer, self._clock()))
