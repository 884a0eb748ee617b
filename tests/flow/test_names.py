"""Names are resolved in threads of their own, unless the program has a resolver of its own."""

from __future__ import annotations

import socket
import threading

from twisted.internet._resolver import GAIResolver
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from smartproxy.flow.names import OwnNames, with_own_names
from smartproxy.testing import MemoryNetwork
from tests.flow.test_threads import PATIENCE, ThreadedClock


@implementer(IReactorPluggableNameResolver)
class Reactor(ThreadedClock):
    """Its own threads must not be used: it has none."""

    def __init__(self):
        super().__init__()
        self.nameResolver = GAIResolver(self, lambda: None)


class Receiver:
    def __init__(self):
        self.found = []
        self.complete = False

    def resolutionBegan(self, resolution):
        self.resolution = resolution

    def addressResolved(self, address):
        self.found.append(address.host)

    def resolutionComplete(self):
        self.complete = True


class OwnNamesTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = Reactor()
        self.names = OwnNames(self.reactor, "name", 24)
        self.silent = threading.Event()
        self.addCleanup(self.silent.set)
        self.patch(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, name, *_):
        if name.startswith("silent"):
            self.silent.wait(PATIENCE)
        if name == "good.test":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]
        if name == "long.test":
            raise UnicodeError("label too long")
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    def resolve(self, name, names=None):
        receiver = Receiver()
        (names or self.names).resolveHostName(receiver, name)
        return receiver

    def test_implements_the_interface(self):
        verifyObject(IHostnameResolver, self.names)

    def test_silent_names_delay_no_other(self):
        """With the reactor's ten threads, the name behind ten silent ones waits for 10 to 30 s."""
        for number in range(23):
            self.resolve(f"silent{number}.test")
        good = self.resolve("good.test")
        self.reactor.turn(2)
        self.assertEqual((good.found, good.complete), (["192.0.2.1"], True))

    def test_every_failure_is_an_empty_answer(self):
        """GAIResolver never completes after another exception than gaierror: the name would stay in progress for ever."""
        for name in ("gone.test", "long.test"):
            failed = self.resolve(name)
            self.reactor.turn(2)
            self.assertEqual((failed.found, failed.complete), ([], True))

    def test_installed_resolver_is_used_at_any_time(self):
        network = MemoryNetwork()
        network.names["a.test"] = ["192.0.2.7"]
        self.reactor.nameResolver = network
        self.assertEqual(self.resolve("a.test").found, ["192.0.2.7"])
        self.assertEqual(self.resolve("a.test", OwnNames(network, "name", 1)).found, ["192.0.2.7"])

    def test_a_reactor_with_own_names_is_otherwise_the_same(self):
        """OCSP responders are asked through it: Twisted's agent takes the resolver from its reactor."""
        reactor = with_own_names(self.reactor, "ocsp-name", 1)
        self.assertTrue(IReactorPluggableNameResolver.providedBy(reactor))
        good = self.resolve("good.test", reactor.nameResolver)
        self.reactor.turn(2)
        self.assertEqual(good.found, ["192.0.2.1"])
        reactor.callLater(1, int)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_a_reactor_without_threads_stays_as_it_is(self):
        network = MemoryNetwork()
        self.assertIs(with_own_names(network, "ocsp-name", 1), network)
