"""A whole proxy in memory, with the clients, the backends and the clock under control of the test.

::

    proxy = MemoryProxy(case, routes=[route("web")])
    client = proxy.client()             # a client connects
    backend = proxy.backend()           # the backend that is being dialled accepts
    client.write(b"ask")
    proxy.settle()
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IConnector, IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from zope.interface import implementer

from smartproxy.settings import Settings
from smartproxy.testing import FarEnd, MemoryNetwork, MemoryTransport, Nature

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from smartproxy.testing import Backend

#: The interface that a proxy listens on for every address.
_EVERY = "::"


def route(name="web", *, port=8080, hosts="10.0.0.1", match=None, **more):
    """A route as in a configuration file; it forwards to port 9000 of ``hosts``."""
    action = more.pop("action", {"type": "forward", "targets": [{"host": hosts, "port": 9000}]})
    return {"name": name, "match": {"ports": [port]} | (match or {}), "action": action} | more


def settings(**configuration) -> Settings:
    """Settings as from a configuration file, with one route unless ``routes`` is given."""
    said = {"routes": [route()], "acceleration": "off"} | configuration
    return Settings.parse(json.dumps(said), "json")


@implementer(IConnector)
class HeldDial:
    """A connection attempt of the proxy that is pending until the test answers it.

    :ivar to: host and port.
    :ivar stopped: whether the proxy has cancelled it.
    """

    def __init__(self, to: tuple[str, int], factory: Any, connect: Callable[[], object]) -> None:
        self.to = to
        self.stopped = False
        self.connect = connect
        self._factory = factory

    def getDestination(self) -> IPv4Address:
        return IPv4Address("TCP", *self.to)

    def fail(self, exception: Exception) -> None:
        self._factory.clientConnectionFailed(self, Failure(exception))

    def stopConnecting(self) -> None:
        self.stopped = True
        self.fail(error.UserError())

    def disconnect(self) -> None:
        self.stopConnecting()


class LatePort(proxyForInterface(IListeningPort)):  # type: ignore[misc]  # made at run time
    """Closes in a later event loop iteration, as the port of a real reactor does."""

    network: HeldNetwork

    def stopListening(self) -> Deferred[None]:
        return deferLater(self.network, 0, self.original.stopListening)


class HeldNetwork(MemoryNetwork):
    """A network on which nothing is connected before the test says so.

    :ivar dials: the connection attempts so far, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dials: list[HeldDial] = []
        self._occupied: set[int] = set()

    def occupy(self, port: int) -> None:
        """Let another program listen on ``port``, on every address."""
        self.listenTCP(port, Factory(), interface=_EVERY)
        self._occupied.add(port)

    def listenTCP(self, port, factory, backlog=50, interface=""):
        late = LatePort(super().listenTCP(port, factory, backlog, interface))
        late.network = self
        return late

    def connectTCP(self, host, port, factory, timeout=30, bindAddress=None):
        connect = partial(super().connectTCP, host, port, factory, timeout, bindAddress)
        self.dials.append(HeldDial((host, port), factory, connect))
        return self.dials[-1]

    def listening_on(self) -> set[int]:
        """The ports of the proxy: it listens on every address."""
        return {port for interface, port in self.ports if interface == _EVERY} - self._occupied


class MemoryProxy:
    """A running proxy. After the test it is stopped, and the test fails if it leaves a timer or a listening port.

    :ivar service: the proxy itself.
    :ivar backends: the backends that were dialled, by host and port.
    :ivar ends: the proxy's end of each connection.
    """

    def __init__(self, case, said: Settings | None = None, **configuration) -> None:
        self.case = case
        self.network = HeldNetwork()
        self.service = self.network.start(said or settings(**configuration))
        self.backends: dict[tuple[str, int], Backend] = {}
        self.ends: list[MemoryTransport] = []
        case.addCleanup(self.stop)

    # -- peers and time ------------------------------------------------------------------------------

    def client(self, ip="192.0.2.1", *, port=8080, nature=None) -> FarEnd:
        """Connect a client. One that is refused at once has :attr:`FarEnd.ended`."""
        self.network.nature = nature or Nature()
        far = self.network.connect(port, "203.0.113.5", client=(ip, 50000))
        self.network.nature = Nature()
        return self._connected(far)

    def _connected(self, far: FarEnd) -> FarEnd:
        self.ends.append(far.transport.peer)
        self.settle()
        return far

    def dialled(self):
        """The host and port of the latest connection attempt."""
        host, port = self.network.dials[-1].to
        return f"{host}:{port}"

    def backend(self) -> FarEnd:
        """Let the backend that is being dialled accept the connection."""
        dial = self.network.dials[-1]
        if dial.to not in self.backends:
            self.backends[dial.to] = self.network.backend(*dial.to)
        dial.connect()
        self.settle()
        return self._connected(self.backends[dial.to].connections[-1])

    def backend_fails(self, exception=None) -> None:
        self.network.dials[-1].fail(exception or error.ConnectionRefusedError())
        self.settle()

    def settle(self) -> None:
        """Run until nothing is pending but timers."""
        self.network.settle()

    def pass_time(self, seconds) -> None:
        self.network.run(seconds)

    def stop(self) -> None:
        stopped = self.service.stopService()
        self.settle()
        self.pass_time(40)
        self.case.successResultOf(stopped)
        self.case.assertEqual(self.network.getDelayedCalls(), [])
        self.case.assertEqual(self.network.listening_on(), set())

    # -- results -------------------------------------------------------------------------------------

    @property
    def record(self):
        (record,) = self.service.connections
        return record

    def closed(self, route="web"):
        return {str(reason): count for reason, count in self.service.counters.route(route).closed.items()}

    def rejected(self):
        return {str(reason): count for reason, count in self.service.counters.rejected.items() if count}

    def assert_empty(self) -> None:
        """Assert that no connection is registered or counted as active, and that no transport is open."""
        registry = self.service.registry
        self.case.assertEqual((registry.live, registry.by_ip, registry.by_route), ({}, {}, {}))
        self.case.assertEqual({tally.active for tally in self.service.counters.routes.values()} | {0}, {0})
        self.case.assertEqual([transport for transport in self.ends if transport.connected], [])
        self.case.assertEqual([transport for transport in self.ends if transport.producer], [])
