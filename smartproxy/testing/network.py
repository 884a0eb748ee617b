"""An in-memory reactor: listening, connecting, name resolution and time, without sockets.

It implements what a :class:`~smartproxy.SmartProxy` needs of a reactor (``IReactorTCP``, ``IReactorTime``,
``IReactorPluggableNameResolver``, ``connectUNIX``). So the proxy under test is the real one, with the relay for any transport.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from twisted.internet import error
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IHostResolution,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorTCP,
)
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.proxy.service import SmartProxy
from smartproxy.testing.connection import address, is_path, pair
from smartproxy.testing.far_end import FarEnd
from smartproxy.testing.nature import Nature
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from twisted.internet.interfaces import IAddress, IResolutionReceiver
    from twisted.internet.protocol import ClientFactory, Protocol

    from smartproxy.settings import Settings
    from smartproxy.testing.connection import Address, CarriedProtocol, MemoryTransport

T = TypeVar("T")

#: Seconds per step of time; no timer of the proxy is shorter.
_STEP = 0.05
#: A shorter time in seconds is a rounding error.
_NOTHING = 1e-9
#: Iterations after which :meth:`MemoryNetwork.settle` assumes an endless loop.
_TURNS = 100_000
#: Interfaces that mean every local address.
_EVERY = ("", "0.0.0.0", "::")
_FIRST_FREE_PORT = 49152
#: In place of the port of a unix socket, which has none.
_UNIX = 1


@implementer(IListeningPort)
class _Port:
    """A listening port."""

    def __init__(self, network: MemoryNetwork, place: tuple[str, int], factory: ServerFactory) -> None:
        self.network = network
        self.place = place
        self.factory = factory

    def startListening(self) -> None:
        """Start listening.

        :raises CannotListenError: if the address and port are in use.
        """
        if self.place in self.network.ports:
            raise error.CannotListenError(self.place[0], self.place[1], OSError("Address already in use"))
        self.network.ports[self.place] = self
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """Stop listening; established connections stay open."""
        if self.network.ports.pop(self.place, None) is not None:
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> Address:
        """The address listened on; 0.0.0.0 for every address, as with Twisted's ports."""
        return address(self.place[0] or "0.0.0.0", self.place[1])


@implementer(IConnector)
class _Connector:
    """An attempt to connect."""

    def __init__(
        self,
        network: MemoryNetwork,
        to: tuple[str, int],
        factory: ClientFactory[Any],
        timeout: float,
        bind: tuple[str, int] | None,
    ) -> None:
        self.to = to
        host, number = bind or ("127.0.0.1", 0)
        self._local = (host, number or network.free_port())
        self.transport = self  # as of Twisted's connectors: it has the local address
        self._network = network
        self._factory = factory
        self._call = network.callLater(0, self._arrive)
        self._timeout = timeout

    def _arrive(self) -> None:
        if self.to in self._network.silent:
            self._call = self._network.callLater(self._timeout, self._fail, error.TimeoutError())
            return
        port = self._network.reached(*self.to)
        if port is None:
            self._fail(error.ConnectionRefusedError())
            return
        here, there = self._network.pair(self._local, self.to)
        accepted = port.factory.buildProtocol(here.address)
        here.carry(cast("CarriedProtocol", self._factory.buildProtocol(there.address)))
        if accepted is None:
            there.carry(FarEnd())
            there.loseConnection()
        else:
            there.carry(accepted)

    def _fail(self, why: Exception) -> None:
        self._factory.clientConnectionFailed(self, Failure(why))

    def stopConnecting(self) -> None:
        """Cancel the attempt."""
        self._call.cancel()
        self._fail(error.UserError())

    def disconnect(self) -> None:
        """Cancel the attempt."""
        self.stopConnecting()

    def connect(self) -> NoReturn:
        """Not supported: the proxy does not reuse a connector."""
        raise NotImplementedError("a connector cannot be used twice")

    def getHost(self) -> Address:
        """The address that is connected from."""
        return address(*self._local)

    def getDestination(self) -> Address:
        """The address that is connected to."""
        return address(*self.to)


@implementer(IHostResolution)
class _Resolution:
    """A name resolution that is complete as soon as it begins."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> NoReturn:
        """Not supported: there is nothing to cancel."""
        raise NotImplementedError("the resolution is complete")


class Backend(ServerFactory):
    """A target that the test controls.

    :ivar connections: the accepted connections in order, as the test's ends.
    """

    noisy = False

    def __init__(self) -> None:
        self.connections: list[FarEnd] = []
        self.port: IListeningPort | None = None

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Accept a connection."""
        end = FarEnd()
        self.connections.append(end)
        # An end has the methods that a transport calls, but not the rest of Twisted's class.
        return cast("Protocol", end)

    def close(self) -> None:
        """Stop listening: further connections are refused."""
        if self.port is not None:
            self.port.stopListening()


@implementer(IReactorTCP, IReactorPluggableNameResolver, IHostnameResolver)
class MemoryNetwork(Clock):
    """A network of all hosts of a test, and its clock.

    :param nature: the properties of new connections; can be set at any time.
    :ivar names: addresses by host name: ``network.names["db.internal"] = ["10.0.0.7"]``.
    :ivar silent: pairs ``(host, port)`` that never reply, as behind a firewall that drops packets.
    """

    def __init__(self, nature: Nature | None = None) -> None:
        super().__init__()
        self.nature = nature or Nature()
        self.names: dict[str, Sequence[str]] = {}
        self.silent: set[tuple[str, int]] = set()
        self.ports: dict[tuple[str, int], _Port] = {}
        self._next_port = _FIRST_FREE_PORT
        self.nameResolver: IHostnameResolver = self

    # -- for a test ------------------------------------------------------------------------------------

    def start(self, settings: Settings) -> SmartProxy:
        """Start a proxy on this network."""
        proxy = SmartProxy(settings, self)
        proxy.startService()
        return proxy

    def stop(self, proxy: SmartProxy) -> None:
        """Stop a proxy, and advance the clock until it has stopped."""
        self.result(proxy.stopService())

    def backend(self, host: str, port: int) -> Backend:
        """Listen on ``(host, port)``. For a Twisted factory, use :meth:`listenTCP`."""
        made = Backend()
        made.port = self.listenTCP(port, made, interface=host)
        return made

    def unix_backend(self, path: str) -> Backend:
        """Listen on the unix socket ``path``: absolute, or ``@`` and a name."""
        return self.backend(path, _UNIX)

    def connect(
        self, port: int, host: str = "127.0.0.1", *, client: tuple[str, int] = ("192.0.2.1", 50000)
    ) -> FarEnd:
        """Connect from ``client`` to ``(host, port)``, and return the client's end.

        :raises twisted.internet.error.ConnectionRefusedError: if nothing listens there.
        """
        listening = self.listening(host, port)
        if listening is None:
            raise error.ConnectionRefusedError
        here, there = self.pair((host, port), client)
        end = FarEnd(there)
        protocol = listening.factory.buildProtocol(there.address)
        if protocol is None:
            here.carry(FarEnd())
            here.loseConnection()
        else:
            here.carry(protocol)
        return end

    def settle(self) -> None:
        """Run all calls that are due, until none is left for the current time."""
        for _ in range(_TURNS):
            if not self.calls or self.calls[0].getTime() > self.seconds():
                return
            self.advance(0)
        raise AssertionError(f"there are still due calls after {_TURNS} iterations")

    def run(self, seconds: float) -> None:
        """Advance the clock by ``seconds`` in small steps, and settle after each."""
        end = self.seconds() + seconds
        self.settle()
        while (left := end - self.seconds()) > _NOTHING:
            self.advance(min(left, _STEP))
            self.settle()

    def result(self, awaited: Deferred[T] | Coroutine[Deferred[Any], Any, T], within: float = 3600.0) -> T:
        """Advance the clock until ``awaited`` has a result, and return or raise it.

        :raises AssertionError: if it has none ``within`` so many seconds of the network's time.
        """
        waiting = awaited if isinstance(awaited, Deferred) else Deferred.fromCoroutine(awaited)
        outcome: list[T | Failure] = []
        waiting.addBoth(outcome.append)
        end = self.seconds() + within
        self.settle()
        while not outcome:
            if self.seconds() >= end:
                raise AssertionError(f"no result within {within} s")
            self.run(_STEP)
        (result,) = outcome
        if isinstance(result, Failure):
            result.raiseException()
        return result

    # -- for connectors --------------------------------------------------------------------------------

    def reached(self, host: str, port: int) -> _Port | None:
        """The port that the proxy's host reaches at an address.

        A port on every address is reached through loopback only: another address belongs to another host.
        """
        if not is_path(host) and ip_address(host).is_loopback:
            return self.listening(host, port)
        return self.ports.get((host, port))

    def listening(self, host: str, port: int) -> _Port | None:
        """The port that listens on ``host`` or on every address."""
        found = (self.ports.get((interface, port)) for interface in (host, *_EVERY))
        return next((one for one in found if one is not None), None)

    def pair(self, near: tuple[str, int], far: tuple[str, int]) -> tuple[MemoryTransport, MemoryTransport]:
        """Create both ends of a connection."""
        return pair(self, self.nature, address(*near), address(*far))

    def free_port(self) -> int:
        """Return a port number that was not used before."""
        self._next_port += 1
        return self._next_port

    # -- the reactor -----------------------------------------------------------------------------------

    def listenTCP(
        self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """See IReactorTCP."""
        made = _Port(self, (interface, port or self.free_port()), factory)
        made.startListening()
        return made

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """See IReactorTCP. ``host`` must be an address; the proxy resolves names before."""
        connector = _Connector(self, (host, port), factory, timeout, bindAddress)
        factory.startedConnecting(connector)
        return connector

    def connectUNIX(
        self,
        address: str,
        factory: ClientFactory[Any],
        timeout: float = 30,
        checkPID: bool = False,
    ) -> IConnector:
        """See IReactorUNIX."""
        return self.connectTCP(address, _UNIX, factory, timeout)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """See IReactorPluggableNameResolver."""
        before, self.nameResolver = self.nameResolver, resolver
        return before

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See IHostnameResolver. Resolution is immediate."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for found in self.names.get(hostName, (hostName,) if is_address(hostName) else ()):
            resolutionReceiver.addressResolved(address(found, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution
