"""The listening sockets of a proxy: one for each (address, port), shared by the routes that match there.

A change of configuration can fail without effect: new ports are bound first. After every bind has succeeded, existing
listeners switch to the new configuration and unused ports are closed.

A process may also be given sockets that another one has bound, several for one place (:mod:`smartproxy.proxy.given`):
then it binds none.

Where ``127.0.0.1:80`` becomes ``:80``, the socket of the narrower address stays open and serves the wider listener: the
kernel may be giving it a connection at this moment, and closing it would reset that.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.posixbase import PosixReactorBase

from smartproxy.downstream.connection import DownstreamFactory
from smartproxy.net.activated import ActivatedSockets
from smartproxy.net.listening import BACKLOG, ListeningPort, ReactorPort, listen_together
from smartproxy.net.port import PollerPort, listening_at
from smartproxy.proxy.given import ListeningSocket
from smartproxy.routing.table import listener_name
from smartproxy.wire.host import addresses_overlap

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from smartproxy.model.address import Endpoint
    from smartproxy.net.listening import Listening
    from smartproxy.phases.exchange import ExchangeHttp
    from smartproxy.proxy.assembly import Paths
    from smartproxy.proxy.given import Given, Place
    from smartproxy.proxy.runtime import Runtime

#: Addresses that stand for others, the widest first.
_WILDCARDS = ("", "0.0.0.0")


class _Listener:
    """A listening socket.

    :ivar serves: the place whose routes its connections get: its own, or the wider one that has replaced it.
    """

    def __init__(
        self, port: Listening, factory: DownstreamFactory, place: Place, exchange: ExchangeHttp
    ) -> None:
        self.port = port
        self.serves = place
        self._factory = factory
        self._exchange = exchange

    def switch(self, place: Place, paths: Paths) -> None:
        """Give connections accepted from now on the path of ``place``, and those that speak HTTP its routes."""
        path = paths.path(*place)
        path.exchange.replace(self._exchange)
        self._exchange = path.exchange
        factory = self._factory
        factory.name = listener_name(*place)
        factory.carry, factory.refuse = path.carry, path.unwanted
        factory.keep_alive, factory.hold = path.keep_alive, paths.hold
        if isinstance(self.port, PollerPort):
            self.port.set_keep_alive(path.keep_alive)
        self.serves = place

    def retire(self) -> Listening:
        """Serve no further requests on its connections. Returns the port, which is to be closed."""
        self._exchange.retire()
        return self.port


class Listeners:
    """All listening sockets.

    :param given: has the sockets to listen on; ``None``: they are bound here.
    :ivar activated: sockets that a service manager has bound: they are used for their addresses, and others are bound.
    """

    def __init__(self, runtime: Runtime, given: Given | None = None) -> None:
        self._runtime = runtime
        self.activated = ActivatedSockets()
        self._given = given
        self._paths: Paths | None = None
        self._open: dict[ListeningSocket, _Listener] = {}

    def apply(self, paths: Paths) -> Deferred[None]:
        """Listen where ``paths`` has routes, and nowhere else. Fires when unused ports are closed.

        :raises CannotListenError: where a port cannot be bound; then nothing has changed.
        """
        wanted = paths.listeners()
        given = self._given
        fresh = self._bound(wanted, paths) if given is None else self._begun(wanted, paths, given)
        unused = []
        for key, listener in list(self._open.items()):
            serves = serving(key.place, wanted)
            if serves is None:
                unused.append(self._open.pop(key).retire())
            else:
                listener.switch(serves, paths)
        self._open.update(fresh)
        self._paths = paths
        if given is not None:
            _close_all(given.sockets_of_change)
        self._runtime.targets.loops.ports = frozenset(key.place[1] for key in self._open)
        return _all(port.retire() for port in unused)

    def _bound(self, wanted: Collection[Place], paths: Paths) -> dict[ListeningSocket, _Listener]:
        """Listeners on sockets that are bound now, or by a service manager before, for the places that have none."""
        missing = {ListeningSocket(place) for place in wanted} - self._open.keys()
        fresh = {key: self._listener(key.place, paths) for key in sorted(missing)}
        passed = {key: self._passed(key.place) for key in fresh}
        listen_together(
            [listener.port for key, listener in fresh.items() if passed[key] is None],
            [one.port for one in self._open.values()],
        )
        for key, opened in passed.items():
            if opened is not None:
                _begin(fresh[key], opened)
        return fresh

    def _passed(self, place: Place) -> socket.socket | None:
        opened, *others = self.activated.take(interface_of(place[0]), place[1]) or (None,)
        for other in others:  # for several processes
            other.close()
        return opened

    def _begun(
        self, wanted: Collection[Place], paths: Paths, given: Given
    ) -> dict[ListeningSocket, _Listener]:
        fresh = self._take(given.sockets, wanted, paths)
        self._open.update(fresh)  # else a socket of a change might be taken for the same place
        return fresh | self._take(given.sockets_of_change, wanted, paths)

    def _take(
        self, sockets: dict[ListeningSocket, socket.socket], wanted: Collection[Place], paths: Paths
    ) -> dict[ListeningSocket, _Listener]:
        """Listeners on those of these sockets whose connections ``paths`` has a use for."""
        fresh = {}
        for key in sorted(sockets):
            place = serving(key.place, wanted)
            if place is not None and key not in self._open:
                listener = fresh[key] = self._listener(place, paths)
                _begin(listener, sockets.pop(key))
        return fresh

    def take(self) -> None:
        """Listen on the sockets that were given: those of another process that has ended.

        Those that are not used are closed: a change may have removed their places since, and each holds its port.
        """
        if self._given is None:
            return
        if self._paths is not None:
            self._open.update(self._take(self._given.sockets, self._paths.listeners(), self._paths))
        _close_all(self._given.sockets)

    def release(self, slot: int) -> Deferred[None]:
        """Close the sockets of ``slot``: another process accepts from its copies of them. Fires when they are closed."""
        released = [self._open.pop(key).retire() for key in list(self._open) if key.slot == slot]
        return _all(maybeDeferred(port.stopListening) for port in released)

    def close(self) -> Deferred[None]:
        """Close every listening socket. Fires when all are closed."""
        ports = [listener.port for listener in self._open.values()]
        self._open.clear()
        self._paths = None
        if self._given is not None:
            _close_all(self._given.sockets)
            _close_all(self._given.sockets_of_change)
        return _all(maybeDeferred(port.stopListening) for port in ports)

    def descriptors(self) -> dict[str, list[int]]:
        """The descriptors of the sockets, by the names of listeners."""
        return {
            listener_name(*key.place): [listener.port.fileno()]
            for key, listener in self._open.items()
            if isinstance(listener.port, ListeningPort)
        }

    def addresses(self) -> dict[Place, Endpoint]:
        """The bound addresses: for port 0 the kernel has chosen a number."""
        return {
            key.place: listening_at(listener.port)
            for key, listener in self._open.items()
            if listener.serves == key.place
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
        return _Listener(self._port(number, factory, interface_of(address)), factory, place, path.exchange)

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


def _close_all(sockets: dict[ListeningSocket, socket.socket]) -> None:
    for opened in sockets.values():
        opened.close()
    sockets.clear()


def _begin(listener: _Listener, opened: socket.socket) -> None:
    """Accept from a socket that listens already."""
    assert isinstance(listener.port, ListeningPort)  # noqa: S101 - a given socket is one of the kernel
    listener.port.adopt(opened)
    listener.port.startListening()


def serving(place: Place, wanted: Collection[Place]) -> Place | None:
    """The place of ``wanted`` that gets the connections of a socket on ``place``, if there is one."""
    address, number = place
    if place in wanted or not address:
        return place if place in wanted else None
    wider = ((wildcard, number) for wildcard in _WILDCARDS if addresses_overlap(address, wildcard))
    return next((one for one in wider if one in wanted), None)


def interface_of(address: str) -> str:
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
