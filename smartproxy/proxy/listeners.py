"""The listening sockets of a proxy: one for each (address, port), shared by the routes that are heard there.

A change of configuration is carried out in an order that can be given up: first the new ports are opened;
only when all of them stand are the paths of the others exchanged and those closed that nobody wants.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from smartproxy.downstream.connection import DownstreamFactory
from smartproxy.flow.side import HOLD
from smartproxy.net.port import BACKLOG, PollerPort, listening_at
from smartproxy.routing.table import listener_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smartproxy.model.address import Endpoint
    from smartproxy.proxy.assembly import Machinery, Paths

#: What is asked for in a configuration: ``""`` is every address.
Place = tuple[str, int]


class Listeners:
    """All listening sockets.

    :param max_pending: bytes of a client that may be held while its target is dialled.
    """

    def __init__(self, machinery: Machinery, *, max_pending: int) -> None:
        self._machinery = machinery
        self._hold = min(HOLD, max_pending) if max_pending else HOLD
        self._open: dict[Place, tuple[Any, DownstreamFactory]] = {}

    def apply(self, paths: Paths) -> Deferred[Any]:
        """Listen where ``paths`` has routes, and nowhere else. Fires when what was closed is closed.

        :raises CannotListenError: where a port cannot be had; then nothing has changed.
        """
        wanted = paths.table.listeners()
        changed = {place: paths.path(*place) for place in wanted & self._open.keys()}
        fresh: dict[Place, tuple[Any, DownstreamFactory]] = {}
        try:
            for place in sorted(wanted - self._open.keys()):
                fresh[place] = self._listen(place, paths, wanted)
        except BaseException:
            _closed(port for port, _ in fresh.values())
            raise
        for place, path in changed.items():
            port, factory = self._open[place]
            factory.carry, factory.refuse = path.carry, path.unwanted
            factory.keep_alive = path.keep_alive
            if isinstance(port, PollerPort):
                port.set_keep_alive(path.keep_alive)
        gone = [self._open.pop(place)[0] for place in self._open.keys() - wanted]
        self._open.update(fresh)
        return _closed(gone)

    def close(self) -> Deferred[Any]:
        """Listen nowhere. Fires when all are closed."""
        ports = [port for port, _ in self._open.values()]
        self._open.clear()
        return _closed(ports)

    def addresses(self) -> dict[Place, Endpoint]:
        """Where the sockets really are: a port of 0 has been given a number by the kernel."""
        return {place: listening_at(port) for place, (port, _) in self._open.items()}

    def _listen(self, place: Place, paths: Paths, wanted: Iterable[Place]) -> tuple[Any, DownstreamFactory]:
        address, number = place
        path = paths.path(address, number)
        machinery = self._machinery
        factory = DownstreamFactory(
            listener_name(address, number),
            number,
            path.carry,
            path.unwanted,
            machinery.deadlines,
            machinery.clock,
            keep_alive=path.keep_alive,
            hold=self._hold,
        )
        if machinery.poller is None:
            port = machinery.reactor.listenTCP(number, factory, BACKLOG, _interface(address))
            return port, factory
        factory.inherits = True
        shares = sum(other == number for _, other in wanted) > 1
        port = PollerPort(
            number,
            factory,
            _interface(address),
            machinery.reactor,
            machinery.poller,
            keep_alive=path.keep_alive,
            shares=shares,
        )
        port.startListening()
        return port, factory


def _interface(address: str) -> str:
    """What to bind: every address is ``::``, which takes IPv4 too, where the system has IPv6."""
    if address:
        return address
    return "::" if _has_ipv6() else "0.0.0.0"


def _has_ipv6() -> bool:
    if not socket.has_ipv6:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _closed(ports: Iterable[Any]) -> Deferred[Any]:
    return DeferredList([maybeDeferred(port.stopListening) for port in ports])
