"""Refused connections whose sockets are still open, so that their clients can read why.

To linger is to read and discard until the client has closed, too: closing a socket with unread bytes makes the kernel
send RST, which can overtake the answer (RFC 9112, 9.6). Such a connection has no record any more and counts to no limit
of its client, so a flood of refused connections would hold thousands of sockets. Their number is bounded here, and with
live connections it does not exceed ``maxConnections``; a live connection takes the place of one that lingers.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

from smartproxy.net.half_close import LINGER
from smartproxy.security.client_key import ADDRESS, client_key
from smartproxy.security.eviction import EvictionQueue

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side

#: Sockets held at once: a share of the descriptors, so that live connections keep the rest, and at most this number. A
#: client that reads its answer closes within a round trip, so at 200 ms that serves 5,000 refusals a second.
_SHARE, _MOST = 8, 1024


def most_lingering() -> int:
    """How many sockets may linger with the present limit of descriptors."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if limit == resource.RLIM_INFINITY else max(1, min(_MOST, limit // _SHARE))


class Lingering:
    """All lingering connections of a proxy, across its reloads.

    :param deadlines: each lingers for at most ``LINGER`` seconds and is reset then.
    :ivar most: how many may linger. One more resets the oldest of the client that has most.
    :ivar ipv6_prefix: length of the IPv6 prefix that one client has.
    """

    def __init__(self, deadlines: Deadlines, most: int) -> None:
        self.most = most
        self.ipv6_prefix = ADDRESS
        self._deadlines = deadlines
        self._held: EvictionQueue[_Lingerer] = EvictionQueue()

    def __len__(self) -> int:
        """How many linger."""
        return len(self._held)

    def attach(self, side: Side, address: str) -> None:
        """Read and discard what ``side`` receives, until its connection is closed.

        :param address: of the client.
        """
        self._held.add(_Lingerer(self, side, self._deadlines), client_key(address, self.ipv6_prefix))
        if len(self._held) > self.most:
            self.make_room()

    def make_room(self) -> None:
        """Reset one connection, if any lingers."""
        evicted = self._held.evict()
        if evicted is not None:
            evicted.abort()

    def close(self) -> None:
        """Reset all of them."""
        while self._held:
            self.make_room()

    def forget(self, lingerer: _Lingerer) -> None:
        """Its connection is closed."""
        self._held.remove(lingerer)


class _Lingerer:
    """The receiver of one side: discards."""

    __slots__ = ("_deadline", "_lingering", "_side")

    def __init__(self, lingering: Lingering, side: Side, deadlines: Deadlines) -> None:
        self._lingering = lingering
        self._side = side
        self._deadline = deadlines.call_later(LINGER, self.abort)
        side.attach(self)

    def data_received(self, data: bytes) -> None:
        """Discard bytes that were sent before the client read its answer."""

    def input_ended(self) -> None:
        """The client has closed, too: nothing can be lost any more."""
        self._side.transport.loseConnection()

    def output_ended(self) -> None:
        """The answer and our FIN were sent; the client's FIN is awaited."""

    def lost(self, why: Failure) -> None:
        """The connection is closed."""
        self._deadline.cancel()
        self._lingering.forget(self)

    def abort(self) -> None:
        """Reset the connection, and count it no more."""
        self._deadline.cancel()
        self._lingering.forget(self)
        self._side.transport.abortConnection()
