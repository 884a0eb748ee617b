"""The listening sockets of a proxy: one for each (address, port), shared by the routes that match there.

A change of configuration can fail without effect: new ports are bound first. After every bind has succeeded, existing
listeners switch to the new configuration and unused ports are closed.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from smartproxy.downstream.connection import DownstreamFactory
from smartproxy.flow.side import HOLD
from smartproxy.net.port import BACKLOG, PollerPort, listening_at
from smartproxy.routing.table import listener_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from twisted.internet.interfaces import IListeningPort

    from smartproxy.model.address import Endpoint
    from smartproxy.proxy.assembly import Paths
    from smartproxy.proxy.runtime import Runtime

    _Listener: TypeAlias = tuple[IListeningPort, DownstreamFactory]

#: Address and port as configured; the address ``""`` is every address.
Place = tuple[str, int]


class Listeners:
    """All listening sockets.

    :param max_pending: bytes of a client that may be buffered while its target is dialed.
    """

    def __init__(self, runtime: Runtime, *, max_pending: int) -> None:
        self._runtime = runtime
        self._hold = min(HOLD, max_pending) if max_pending else HOLD
        self._open: dict[Place, _Listener] = {}

    def apply(self, paths: Paths) -> Deferred[None]:
        """Listen where ``paths`` has routes, and nowhere else. Fires when unused ports are closed.

        :raises CannotListenError: where a port cannot be bound; then nothing has changed.
        """
        wanted = paths.table.listeners()
        changed = {place: paths.path(*place) for place in wanted & self._open.keys()}
        fresh: dict[Place, _Listener] = {}
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
        unused = [self._open.pop(place)[0] for place in self._open.keys() - wanted]
        self._open.update(fresh)
        return _closed(unused)

    def close(self) -> Deferred[None]:
        """Close every listening socket. Fires when all are closed."""
        ports = [port for port, _ in self._open.values()]
        self._open.clear()
        return _closed(ports)

    def addresses(self) -> dict[Place, Endpoint]:
        """The bound addresses: for port 0 the kernel has chosen a number."""
        return {place: listening_at(port) for place, (port, _) in self._open.items()}

    def _listen(self, place: Place, paths: Paths, wanted: Iterable[Place]) -> _Listener:
        address, number = place
        path = paths.path(address, number)
        runtime = self._runtime
        factory = DownstreamFactory(
            listener_name(address, number),
            number,
            path.carry,
            path.unwanted,
            runtime.clocks.deadlines,
            runtime.clocks.seconds,
            keep_alive=path.keep_alive,
            hold=self._hold,
        )
        if runtime.sockets.poller is None:
            port = runtime.reactor.listenTCP(number, factory, BACKLOG, _interface(address))
            return port, factory
        factory.inherits = True
        shares = sum(other == number for _, other in wanted) > 1
        port = PollerPort(
            number,
            factory,
            _interface(address),
            runtime.reactor,
            runtime.sockets.poller,
            keep_alive=path.keep_alive,
            shares=shares,
        )
        port.startListening()
        return port, factory


def _interface(address: str) -> str:
    """The address to bind. Every address is ``::``, which accepts IPv4 too, where the system has IPv6."""
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


def _closed(ports: Iterable[IListeningPort]) -> Deferred[None]:
    """Close ``ports``. Fires when all are closed."""
    closing = DeferredList([maybeDeferred(port.stopListening) for port in ports])
    return closing.addCallback(lambda _: None)
