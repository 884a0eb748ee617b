"""The listening sockets of a proxy: one for each (address, port), shared by the routes that match there.

A change of configuration can fail without effect: new ports are bound first. After every bind has succeeded, existing
listeners switch to the new configuration and unused ports are closed.

Where ``127.0.0.1:80`` becomes ``:80``, the socket of the narrower address stays open and serves the wider listener: the
kernel may be giving it a connection at this moment, and closing it would reset that.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.posixbase import PosixReactorBase

from smartproxy.downstream.connection import DownstreamFactory
from smartproxy.net.listening import BACKLOG, ListeningPort, ReactorPort, listen_together
from smartproxy.net.port import PollerPort, listening_at
from smartproxy.routing.table import listener_name
from smartproxy.wire.host import addresses_overlap

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from smartproxy.model.address import Endpoint
    from smartproxy.net.listening import Listening
    from smartproxy.proxy.assembly import Paths
    from smartproxy.proxy.runtime import Runtime

#: Address and port as configured; the address ``""`` is every address.
Place = tuple[str, int]

#: Addresses that stand for others, the widest first.
_WILDCARDS = ("", "0.0.0.0")


class _Listener:
    """A listening socket.

    :ivar serves: the place whose routes its connections get: its own, or the wider one that has replaced it.
    """

    def __init__(self, port: Listening, factory: DownstreamFactory, place: Place) -> None:
        self.port = port
        self.serves = place
        self._factory = factory

    def switch(self, place: Place, paths: Paths) -> None:
        """Give connections accepted from now on the path of ``place``."""
        path = paths.path(*place)
        factory = self._factory
        factory.name = listener_name(*place)
        factory.carry, factory.refuse = path.carry, path.unwanted
        factory.keep_alive, factory.hold = path.keep_alive, paths.hold
        if isinstance(self.port, PollerPort):
            self.port.set_keep_alive(path.keep_alive)
        self.serves = place


class Listeners:
    """All listening sockets."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._open: dict[Place, _Listener] = {}

    def apply(self, paths: Paths) -> Deferred[None]:
        """Listen where ``paths`` has routes, and nowhere else. Fires when unused ports are closed.

        :raises CannotListenError: where a port cannot be bound; then nothing has changed.
        """
        wanted = paths.listeners()
        fresh = {place: self._listener(place, paths) for place in sorted(wanted - self._open.keys())}
        listen_together(
            [listener.port for listener in fresh.values()], [one.port for one in self._open.values()]
        )
        unused = []
        for place, listener in list(self._open.items()):
            serves = _serving(place, wanted)
            if serves is None:
                unused.append(self._open.pop(place).port)
            else:
                listener.switch(serves, paths)
        self._open.update(fresh)
        self._runtime.targets.loops.ports = frozenset(number for _, number in self._open)
        return _all(port.retire() for port in unused)

    def close(self) -> Deferred[None]:
        """Close every listening socket. Fires when all are closed."""
        ports = [listener.port for listener in self._open.values()]
        self._open.clear()
        return _all(maybeDeferred(port.stopListening) for port in ports)

    def addresses(self) -> dict[Place, Endpoint]:
        """The bound addresses: for port 0 the kernel has chosen a number."""
        return {
            place: listening_at(listener.port)
            for place, listener in self._open.items()
            if listener.serves == place
        }

    def _listener(self, place: Place, paths: Paths) -> _Listener:
        """A listener for ``place`` that does not listen yet."""
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
            hold=paths.hold,
        )
        return _Listener(self._port(number, factory, _interface(address)), factory, place)

    def _port(self, number: int, factory: DownstreamFactory, interface: str) -> Listening:
        runtime = self._runtime
        if runtime.sockets.poller is not None:
            factory.inherits = True
            return PollerPort(
                number,
                factory,
                interface,
                runtime.reactor,
                runtime.sockets.poller,
                keep_alive=factory.keep_alive,
            )
        if isinstance(runtime.reactor, PosixReactorBase):
            return ListeningPort(number, factory, BACKLOG, interface, runtime.reactor)
        return ReactorPort(number, factory, interface, runtime.reactor)


def _serving(place: Place, wanted: Collection[Place]) -> Place | None:
    """The place of ``wanted`` that gets the connections of a socket on ``place``, if there is one."""
    address, number = place
    if place in wanted or not address:
        return place if place in wanted else None
    wider = ((wildcard, number) for wildcard in _WILDCARDS if addresses_overlap(address, wildcard))
    return next((one for one in wider if one in wanted), None)


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


def _all(closing: Iterable[Deferred[Any]]) -> Deferred[None]:
    """Fires when every one of ``closing`` has fired."""
    return DeferredList(list(closing)).addCallback(lambda _: None)
