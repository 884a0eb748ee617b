"""Cuts loops: connections whose target is a listener of this proxy, and that come back to the route they came from.

Without that, one client whose route has its own listener as target would open connections until descriptors are short.

A connection that this proxy opens to one of its own listeners is accepted by it with the local address of the dialed socket as
peer. So the local addresses of such sockets are kept, with the port that they are connected to and the routes that their
connections have passed: the kernel may give the same local address to a client's socket that is connected to another port. A
route that is among those of its client's connection is not passed again: the target counts as unreachable, and the next one is
tried. One route may still hand connections to another. A loop through another machine cannot be recognised here.

Only dials to a port number of a listener come here: for others the cost is one look-up in a set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.net.own_addresses import WILDCARDS, is_own_address
from smartproxy.wire.host import is_loopback

if TYPE_CHECKING:
    from smartproxy.model.address import Endpoint
    from smartproxy.model.facts import Accepted

_NONE: Final[frozenset[str]] = frozenset()


class Loops:
    """The connections of this proxy to itself. It lives as long as the proxy.

    :ivar ports: the port numbers of the listeners.
    """

    def __init__(self) -> None:
        self.ports: frozenset[int] = frozenset()
        self._passed: dict[tuple[Endpoint, int], frozenset[str]] = {}

    def __len__(self) -> int:
        """The number of connections to itself."""
        return len(self._passed)

    def check(self, to: Endpoint, client: Accepted, route: str) -> None:
        """Refuse to dial ``to`` in a loop.

        :param client: the client's connection.
        :param route: the name of its route.
        :raises DialFailed: if the connection has passed ``route`` before, and ``to`` is this machine.
        """
        if route in self._passed.get((client.peer, client.port), _NONE) and is_own_address(to.host):
            why = f"{to} is a listener of this proxy, and the connection came back to the same route: a loop"
            raise DialFailed(RejectReason.UPSTREAM_UNREACHABLE, why)

    def add(self, local: Endpoint, to: Endpoint, client: Accepted, route: str) -> bool:
        """Keep the local address of a socket that connects to ``to``, if that is this machine. Returns whether it is.

        The kernel connects to an address of this machine from the same one, and to any loopback address from one; but a
        target may be dialed from another address (``bind``).
        """
        if local.host != to.host and not is_loopback(local.host) and not is_own_address(to.host):
            return False
        self._passed[local, to.port] = self._passed.get((client.peer, client.port), _NONE) | {route}
        return True

    def forget(self, local: Endpoint, port: int) -> None:
        """The socket is closed, or was not connected.

        :param port: that it was to be connected to.
        """
        self._passed.pop((local, port), None)


def own_source(host: str) -> str:
    """The address from which the kernel connects to ``host``, where that is this machine; else empty."""
    if host in WILDCARDS:
        return "::1" if ":" in host else "127.0.0.1"
    return host if is_own_address(host) else ""
