"""The proxy on every reactor there is, as a program of its own: bytes both ways, and a clean stop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent

#: Real sockets over loopback: an echo behind a proxy, half-closed at the end, and a coroutine that serves.
PROGRAM = """
import sys
from importlib import import_module

import_module(f"twisted.internet.{sys.argv[1]}reactor").install()

from twisted.internet import protocol, reactor, task
from twisted.internet.interfaces import IReactorFDSet
from zope.interface import classImplementsOnly, implementedBy

if sys.argv[2] == "without":
    provided = [each for each in implementedBy(type(reactor)).flattened() if each is not IReactorFDSet]
    classImplementsOnly(type(reactor), *provided)
    assert not IReactorFDSet.providedBy(reactor)

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.protocols.wire import Echo
from zope.interface import implementer

from smartproxy import Settings, SmartProxy

SENT = bytes(range(256)) * 4096


@implementer(IHalfCloseableProtocol)
class Ends(Echo):
    def readConnectionLost(self):
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass


@implementer(IHalfCloseableProtocol)
class Client(protocol.Protocol):
    def __init__(self):
        self.received, self.ended = b"", Deferred()

    def connectionMade(self):
        self.transport.write(SENT)
        self.transport.loseWriteConnection()

    def dataReceived(self, data):
        self.received += data

    def writeConnectionLost(self):
        pass

    def readConnectionLost(self):
        self.transport.loseConnection()

    def connectionLost(self, reason):
        self.ended.callback(None)


async def main(reactor):
    factory = protocol.Factory.forProtocol(Ends)
    backend = reactor.listenTCP(0, factory, interface="127.0.0.1")
    ports = [int(port) for port in sys.argv[4:]]
    match = [{"ports": port, "address": "127.0.0.1"} for port in ports]
    target = {"host": "127.0.0.1", "port": backend.getHost().port}
    handler = {"type": "handler", "handler": "smartproxy.serving.ready:echo"}
    proxy = SmartProxy(
        Settings(
            acceleration=sys.argv[3],
            routes=[
                {"name": "forward", "match": match[0], "action": {"targets": [target]}},
                {"name": "served", "match": match[1], "action": handler},
            ],
        ),
        reactor,
    )
    proxy.startService()
    watching = any(type(reader).__name__ == "Poller" for reader in reactor.getReaders())
    relay = ["poller" if watching else "transports"]
    for port in ports:
        client = Client()
        connecting = TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(protocol.Factory.forProtocol(lambda: client))
        await connecting
        while not proxy.connections:
            await task.deferLater(reactor, 0)
        record = proxy.connections[-1]
        await client.ended
        relay.append(str(record.relay))
        assert client.received == SENT, len(client.received)
    await proxy.stopService()
    await backend.stopListening()
    counters = [proxy.counters.route(name) for name in ("forward", "served")]
    assert [(t.received, t.sent, t.active) for t in counters] == [(len(SENT), len(SENT), 0)] * 2, counters
    assert all(dict(t.closed) == {"normal": 1} for t in counters), [t.closed for t in counters]
    left = [reader for reader in reactor.getReaders() if "Waker" not in type(reader).__name__]
    print(type(reactor).__name__, *relay, "left:", *left)


task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class ReactorTests(SynchronousTestCase):
    def run_on(self, reactor, acceleration, descriptors="with"):
        """What the program prints. ``descriptors``: ``without`` for a reactor that cannot watch them."""
        arguments = [reactor, descriptors, acceleration, *map(str, free_ports(2))]
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, *arguments],
            capture_output=True, text=True, timeout=60, cwd=ROOT, check=False,
        )  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.strip()

    def all_ways_on(self, reactor, name):
        """By splice, by copying, and between the transports of Twisted, on a reactor without ``IReactorFDSet``."""
        self.assertEqual(self.run_on(reactor, "auto"), f"{name} poller splice None left:")
        self.assertEqual(self.run_on(reactor, "off"), f"{name} poller transport None left:")
        self.assertEqual(self.run_on(reactor, "auto", "without"), f"{name} transports transport None left:")

    def test_epoll(self):
        self.all_ways_on("epoll", "EPollReactor")

    def test_asyncio(self):
        self.all_ways_on("asyncio", "AsyncioSelectorReactor")

    def test_select(self):
        self.all_ways_on("select", "SelectReactor")

    def test_poll(self):
        self.all_ways_on("poll", "PollReactor")
