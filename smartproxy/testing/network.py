"""A reactor without sockets: listening, connecting, names and time, all in memory.

It has what a :class:`~smartproxy.SmartProxy` asks of a reactor (``IReactorTCP``, ``IReactorTime``,
``IReactorPluggableNameResolver``), so the proxy in the test is the real one, with the relay that works on any transport.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet import error
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IListeningPort,
    IReactorPluggableNameResolver,
    IReactorTCP,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.proxy.service import SmartProxy
from smartproxy.testing.connection import FarEnd, Nature, address, pair
from smartproxy.wire.host import is_address

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from smartproxy.settings import Settings
    from smartproxy.testing.connection import Address

#: Seconds in one step of time: no timer of the proxy is shorter.
_STEP = 0.05
#: Seconds that are only a rounding error.
_NOTHING = 1e-9
#: Turns after which something keeps itself busy for ever.
_TURNS = 100_000
#: What listening on every address is called.
_EVERY = ("", "0.0.0.0", "::")
_FIRST_FREE_PORT = 49152


@implementer(IListeningPort)
class _Port:
    """Somebody listens."""

    def __init__(self, network: MemoryNetwork, place: tuple[str, int], factory: Any) -> None:
        self.network = network
        self.place = place
        self.factory = factory

    def startListening(self) -> None:
        """From now on.

        :raises CannotListenError: where somebody does already.
        """
        if self.place in self.network.ports:
            raise error.CannotListenError(self.place[0], self.place[1], OSError("Address already in use"))
        self.network.ports[self.place] = self
        self.factory.doStart()

    def stopListening(self) -> Deferred[None]:
        """No longer; the connections that stand go on."""
        if self.network.ports.pop(self.place, None) is not None:
            self.factory.doStop()
        return succeed(None)

    def getHost(self) -> Address:
        """Where."""
        return address(self.place[0] or "0.0.0.0", self.place[1])  # what getHost says of every address


@implementer(IConnector)
class _Connector:
    """Somebody connects."""

    def __init__(self, network: MemoryNetwork, to: tuple[str, int], factory: Any, timeout: float) -> None:
        self.to = to
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
        here, there = self._network.pair(("127.0.0.1", self._network.free_port()), self.to)
        accepted = port.factory.buildProtocol(here.address)
        here.carry(self._factory.buildProtocol(there.address))
        if accepted is None:
            there.carry(FarEnd())
            there.loseConnection()
        else:
            there.carry(accepted)

    def _fail(self, why: Exception) -> None:
        self._factory.clientConnectionFailed(self, Failure(why))

    def stopConnecting(self) -> None:
        """Give it up."""
        self._call.cancel()
        self._fail(error.UserError())

    def disconnect(self) -> None:
        """Likewise."""
        self.stopConnecting()

    def connect(self) -> NoReturn:
        """Nobody connects twice here."""
        raise NotImplementedError("a connection that was given up is not tried again")

    def getDestination(self) -> Address:
        """Where to."""
        return address(*self.to)


class Backend(Factory):
    """Something to proxy to, played by the test.

    :ivar connections: what has been connected, as the test's ends, in order.
    """

    noisy = False

    def __init__(self) -> None:
        self.connections: list[FarEnd] = []
        self.port: Any = None

    def buildProtocol(self, addr: Any) -> Any:
        """One more connection."""
        made = FarEnd()
        self.connections.append(made)
        return made

    def close(self) -> None:
        """Listen no more: who connects now is refused."""
        self.port.stopListening()


@implementer(IReactorTCP, IReactorPluggableNameResolver, IHostnameResolver)
class MemoryNetwork(Clock):
    """All machines, and their time.

    :param nature: of all connections that are made from now on; it can be set again at any time.
    :ivar names: what names resolve to: ``network.names["db.internal"] = ["10.0.0.7"]``.
    :ivar silent: ``(host, port)`` that never answer, as behind a firewall that drops.
    """

    def __init__(self, nature: Nature | None = None) -> None:
        super().__init__()
        self.nature = nature or Nature()
        self.names: dict[str, Sequence[str]] = {}
        self.silent: set[tuple[str, int]] = set()
        self.ports: dict[tuple[str, int], _Port] = {}
        self._next_port = _FIRST_FREE_PORT
        self.nameResolver: Any = self

    # -- for a test ------------------------------------------------------------------------------------

    def start(self, settings: Settings) -> SmartProxy:
        """A proxy that runs on this network."""
        proxy = SmartProxy(settings, self)
        proxy.startService()
        return proxy

    def stop(self, proxy: SmartProxy) -> None:
        """Stop it, and wait for what it waits for."""
        self.result(proxy.stopService())

    def backend(self, host: str, port: int) -> Backend:
        """Something that listens there. A Twisted factory listens with :meth:`listenTCP`."""
        made = Backend()
        made.port = self.listenTCP(port, made, interface=host)
        return made

    def connect(
        self, port: int, host: str = "127.0.0.1", *, client: tuple[str, int] = ("192.0.2.1", 50000)
    ) -> FarEnd:
        """A client from ``client`` that connects to ``(host, port)``.

        :raises twisted.internet.error.ConnectionRefusedError: where nobody listens.
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
        """Until nothing moves any more without time going by."""
        for _ in range(_TURNS):
            if not self.calls or self.calls[0].getTime() > self.seconds():
                return
            self.advance(0)
        raise AssertionError("it never comes to rest")

    def run(self, seconds: float) -> None:
        """Let so much time go by, in small steps."""
        end = self.seconds() + seconds
        self.settle()
        while (left := end - self.seconds()) > _NOTHING:
            self.advance(min(left, _STEP))
            self.settle()

    def result(self, awaited: Deferred[Any] | Coroutine[Any, Any, Any], within: float = 3600.0) -> Any:
        """What it comes to, or what it raises, in at most so many seconds of this network's time."""
        waiting = awaited if isinstance(awaited, Deferred) else Deferred.fromCoroutine(awaited)
        outcome: list[Any] = []
        waiting.addBoth(outcome.append)
        end = self.seconds() + within
        self.settle()
        while not outcome:
            if self.seconds() >= end:
                raise AssertionError(f"nothing came of it in {within} s")
            self.run(_STEP)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    # -- for what connects them ------------------------------------------------------------------------

    def reached(self, host: str, port: int) -> _Port | None:
        """Who is reached from here: every address of this machine is not that of another one."""
        if ip_address(host).is_loopback:
            return self.listening(host, port)
        return self.ports.get((host, port))

    def listening(self, host: str, port: int) -> _Port | None:
        """Who listens there, on this address or on every one."""
        found = (self.ports.get((interface, port)) for interface in (host, *_EVERY))
        return next((one for one in found if one is not None), None)

    def pair(self, near: tuple[str, int], far: tuple[str, int]) -> Any:
        """Both ends of a new connection."""
        return pair(self, self.nature, address(*near), address(*far))

    def free_port(self) -> int:
        """One that nobody had before."""
        self._next_port += 1
        return self._next_port

    # -- the reactor -----------------------------------------------------------------------------------

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        """See IReactorTCP."""
        made = _Port(self, (interface, port or self.free_port()), factory)
        made.startListening()
        return made

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Any:
        """See IReactorTCP. ``host`` is an address; the proxy resolves names itself."""
        connector = _Connector(self, (host, port), factory, timeout)
        factory.startedConnecting(connector)
        return connector

    def installNameResolver(self, resolver: Any) -> Any:
        """See IReactorPluggableNameResolver."""
        before, self.nameResolver = self.nameResolver, resolver
        return before

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """See IHostnameResolver."""
        resolutionReceiver.resolutionBegan(self)
        for found in self.names.get(hostName, (hostName,) if is_address(hostName) else ()):
            resolutionReceiver.addressResolved(address(found, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolutionReceiver
