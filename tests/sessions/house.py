"""A whole proxy in memory: the test is its clients, its backends and its clock.

::

    house = House(case, routes=[route("web")])
    client = house.client()             # somebody connects
    backend = house.backend()           # and the backend that is being dialled answers
    client.write(b"ask")
    house.settle()
"""

from __future__ import annotations

import json

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from smartproxy.flow.deadline import TICK
from smartproxy.proxy.service import SmartProxy
from smartproxy.settings import Settings
from tests.pipes import Nature, connection


def route(name="web", *, port=8080, hosts="10.0.0.1", match=None, **more):
    """As in a file: to port 9000 of ``hosts``."""
    action = more.pop("action", {"type": "forward", "targets": [{"host": hosts, "port": 9000}]})
    return {"name": name, "match": {"ports": [port]} | (match or {}), "action": action} | more


def settings(**configuration) -> Settings:
    """As in a file, in memory; one route unless told otherwise."""
    said = {"routes": [route()], "acceleration": "off"} | configuration
    return Settings.parse(json.dumps(said), "json")


class MemoryPort:
    """A listening socket. It closes a little later, as real ones do."""

    def __init__(self, reactor, port, factory):
        self.reactor = reactor
        self.port = port
        self.factory = factory
        self.listening = True

    def getHost(self):
        return IPv4Address("TCP", "0.0.0.0", self.port)

    def stopListening(self):
        closed = Deferred()
        self.reactor.callLater(0, self._close, closed)
        return closed

    def _close(self, closed):
        self.listening = False
        closed.callback(None)


class HouseReactor(MemoryReactorClock):
    """Listens in memory; ports can be taken by somebody else."""

    def __init__(self):
        super().__init__()
        self.ports = []
        self.taken = set()

    def listenTCP(self, port, factory, backlog=50, interface=""):
        if port in self.taken:
            raise error.CannotListenError(interface, port, OSError("taken"))
        self.ports.append(MemoryPort(self, port, factory))
        return self.ports[-1]

    def listening(self):
        return {port.port for port in self.ports if port.listening}


class House:
    """A running proxy. It is stopped after the test, and leaves nothing behind."""

    def __init__(self, case, said: Settings | None = None, **configuration) -> None:
        self.case = case
        self.reactor = HouseReactor()
        self.proxy = SmartProxy(said or settings(**configuration), self.reactor)
        self.proxy.startService()
        self.ends = []
        case.addCleanup(self.stop)

    # -- the world -----------------------------------------------------------------------------------

    def client(self, ip="192.0.2.1", *, port=8080, nature=None):
        """Somebody connects; ``None`` if he is not even begun with."""
        listening = next(
            each for each in reversed(self.reactor.ports) if each.port == port and each.listening
        )
        protocol = listening.factory.buildProtocol(IPv4Address("TCP", ip, 50000))
        if protocol is None:
            return None
        transport, far = connection(self.reactor, nature or Nature(), near=("203.0.113.5", port))
        self.ends.append(transport)
        transport.carry(protocol)
        self.settle()
        return far

    def dialled(self):
        """Where to, the last time."""
        host, port, *_ = self.reactor.tcpClients[-1]
        return f"{host}:{port}"

    def backend(self):
        """The backend that is being dialled answers."""
        factory = self.reactor.tcpClients[-1][2]
        transport, far = connection(self.reactor)
        self.ends.append(transport)
        transport.carry(factory.buildProtocol(None))
        self.settle()
        return far

    def backend_fails(self, exception=None) -> None:
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(None, Failure(exception or error.ConnectionRefusedError()))
        self.settle()

    def settle(self) -> None:
        """Until nothing moves that does not wait for time to pass."""
        now = self.reactor.seconds()
        while any(call.getTime() <= now for call in self.reactor.getDelayedCalls()):
            self.reactor.advance(0)

    def pass_time(self, seconds) -> None:
        for _ in range(round(seconds / TICK)):
            self.reactor.advance(TICK)

    def stop(self) -> None:
        stopped = self.proxy.stopService()
        self.settle()
        self.pass_time(40)
        self.case.successResultOf(stopped)
        self.case.assertEqual(self.reactor.getDelayedCalls(), [])
        self.case.assertEqual(self.reactor.listening(), set())

    # -- what came of it -----------------------------------------------------------------------------

    @property
    def record(self):
        (record,) = self.proxy.connections
        return record

    def closed(self, route="web"):
        return {str(reason): count for reason, count in self.proxy.counters.route(route).closed.items()}

    def rejected(self):
        return {str(reason): count for reason, count in self.proxy.counters.rejected.items() if count}

    def assert_empty(self) -> None:
        """Nothing lives, nothing is counted as living, and no transport is open."""
        registry = self.proxy.registry
        self.case.assertEqual((registry.live, registry.by_ip, registry.by_route), ({}, {}, {}))
        self.case.assertEqual({tally.active for tally in self.proxy.counters.routes.values()} | {0}, {0})
        self.case.assertEqual([transport for transport in self.ends if transport.connected], [])
        self.case.assertEqual([transport for transport in self.ends if transport.producer], [])
