"""Starting and stopping a proxy more than once, in any order, and several proxies under one parent."""

from __future__ import annotations

import gc
import signal
from pathlib import Path

from twisted.application.service import Application, IServiceCollection, MultiService
from twisted.internet import protocol, reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from smartproxy import Route, Settings, SmartProxy
from smartproxy.serving.ready import echo
from smartproxy.tap import TwistdProxy
from tests.ports import free_ports
from tests.reactors import watch_no_descriptors
from tests.sessions.memory_proxy import HeldNetwork, MemoryProxy, route, settings


class ParentTests(SynchronousTestCase):
    def setUp(self):
        self.network = HeldNetwork()

    def proxies(self, count):
        return [
            SmartProxy(settings(routes=[route(port=8080 + number)]), self.network) for number in range(count)
        ]

    def test_several_proxies_have_one_parent(self):
        """An application may have a proxy per network; the names of services must be unique in their parent."""
        application = Application("edge")
        proxies = self.proxies(3)
        for proxy in proxies:
            proxy.setServiceParent(application)
        parent = IServiceCollection(application)
        names = ("smartproxy", "smartproxy-2", "smartproxy-3")
        self.assertEqual([parent.getServiceNamed(name) for name in names], proxies)

    def test_several_proxies_start_and_stop_with_their_parent(self):
        parent = MultiService()
        for proxy in self.proxies(2):
            proxy.setServiceParent(parent)
        parent.startService()
        self.assertEqual(self.network.listening_on(), {8080, 8081})
        stopped = parent.stopService()
        self.network.settle()
        self.successResultOf(stopped)
        self.assertEqual(self.network.listening_on(), set())

    def test_name_that_the_program_has_set_is_kept(self):
        parent = MultiService()
        first, second = self.proxies(2)
        first.name = second.name = "edge"
        first.setServiceParent(parent)
        second.setServiceParent(parent)
        self.assertEqual((first.name, second.name), ("edge", "edge-2"))

    def test_same_parent_again_keeps_the_name(self):
        parent = MultiService()
        (proxy,) = self.proxies(1)
        proxy.setServiceParent(parent)
        proxy.setServiceParent(parent)
        self.assertIs(parent.getServiceNamed("smartproxy"), proxy)


class RestartTests(SynchronousTestCase):
    def stop(self, proxy):
        stopped = proxy.service.stopService()
        proxy.settle()
        self.successResultOf(stopped)

    def test_stopped_proxy_is_started_again(self):
        proxy = MemoryProxy(self)
        first = proxy.client()
        proxy.backend().fin()
        first.fin()
        proxy.settle()
        self.stop(proxy)
        proxy.service.startService()
        self.assertEqual((proxy.service.draining, proxy.service.status()["state"]), (False, "running"))
        client = proxy.client()
        backend = proxy.backend()
        client.write(b"hello")
        proxy.settle()
        self.assertEqual((backend.received, proxy.service.metrics.connections.total()), (b"hello", 2))

    def test_drained_proxy_accepts_after_a_restart(self):
        proxy = MemoryProxy(self)
        proxy.service.drain()
        self.stop(proxy)
        proxy.service.startService()
        self.assertEqual(proxy.network.listening_on(), {8080})
        proxy.client()
        self.assertEqual(proxy.rejected(), {})

    def test_restarted_proxy_sweeps_and_logs(self):
        """Every timer runs again, and the access log is open."""
        path = Path(self.mktemp())
        proxy = MemoryProxy(self, accessLog={"path": str(path)}, inactivityTimeout="5s", keepAlive=False)
        for _ in range(2):
            self.stop(proxy)
            proxy.service.startService()
        proxy.client()
        proxy.backend()
        proxy.pass_time(10)
        self.assertEqual(proxy.closed(), {"inactivity": 1})
        self.assertEqual(len(path.read_text().splitlines()), 1)

    def test_started_twice_is_started_once(self):
        proxy = MemoryProxy(self)
        logged = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        proxy.service.startService()
        proxy.client()
        self.assertEqual(proxy.service.metrics.connections.active(), 1)
        warnings = [formatEvent(event) for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual(warnings, ["smartproxy is running: a second startService() has no effect"])

    def test_failed_start_is_repeated(self):
        network = HeldNetwork()
        other = network.listenTCP(8081, protocol.Factory(), interface="::")
        proxy = SmartProxy(settings(routes=[route(), route("b", port=8081)]), network)
        self.assertRaises(CannotListenError, proxy.startService)
        other.stopListening()
        network.settle()
        proxy.startService()
        self.assertEqual(network.listening_on(), {8080, 8081})
        proxy.stopService()
        network.settle()

    def test_start_during_a_stop_follows_it(self):
        proxy = MemoryProxy(self)
        proxy.client()
        stopped = proxy.service.stopService()
        proxy.service.startService()
        self.assertNoResult(stopped)
        proxy.pass_time(31)
        self.successResultOf(stopped)
        self.assertEqual(proxy.network.listening_on(), {8080})
        self.assertFalse(proxy.service.draining)

    def test_start_follows_a_stop_that_a_deadline_has_completed(self):
        """The sweep of deadlines would be stopped and started within itself: two of them ran, and one was never stopped."""
        proxy = MemoryProxy(self)
        proxy.client().fin()  # while its target is being dialed: a deadline ends it
        proxy.settle()
        stopped = proxy.service.stopService()
        proxy.service.startService()
        proxy.pass_time(10)
        self.successResultOf(stopped)
        self.assertEqual(proxy.closed(), {"normal": 1})
        swept = []
        self.patch(proxy.service._runtime.clocks.deadlines, "_collect", swept.append)
        proxy.pass_time(10)
        self.assertEqual(len(swept), len(set(swept)))
        self.stop(proxy)
        proxy.pass_time(10)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_everything_is_counted_when_the_stop_is_complete(self):
        proxy = MemoryProxy(self)
        client, backend = proxy.client(), proxy.backend()
        client.write(b"hello")
        proxy.settle()
        counted = []
        proxy.service.stopService().addCallback(
            lambda _: counted.append([one.received for one in proxy.service.groups.targets()])
        )
        client.fin()
        backend.fin()
        proxy.settle()
        self.assertEqual(counted, [[5]])

    def test_start_that_fails_after_a_stop_is_logged(self):
        proxy = MemoryProxy(self)
        proxy.client()
        proxy.service.stopService()
        proxy.service.startService()
        proxy.settle()
        proxy.network.occupy(8080)
        proxy.pass_time(31)
        self.assertEqual(len(self.flushLoggedErrors(CannotListenError)), 1)

    def test_last_call_wins(self):
        proxy = MemoryProxy(self)
        proxy.client()
        proxy.service.stopService()
        proxy.service.startService()
        last = proxy.service.stopService()
        proxy.pass_time(31)
        self.successResultOf(last)
        self.assertEqual(proxy.network.listening_on(), set())


class DoubleStopTests(SynchronousTestCase):
    def setUp(self):
        self.proxy = MemoryProxy(self)
        self.proxy.client()
        self.ends = []
        runtime = self.proxy.service._runtime
        stop = runtime.stop
        self.patch(runtime, "stop", lambda: self.ends.append(stop()))

    def test_second_stop_waits_for_the_first(self):
        """A signal and an embedding program may both stop it; it is torn down once."""
        first, second = self.proxy.service.stopService(), self.proxy.service.stopService()
        self.proxy.pass_time(29)
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.proxy.pass_time(2)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(len(self.ends), 1)

    def test_stop_of_a_stopped_proxy_does_nothing(self):
        self.proxy.service.stopService()
        self.proxy.pass_time(31)
        self.successResultOf(self.proxy.service.stopService())
        self.assertEqual(len(self.ends), 1)

    def test_caller_that_gives_up_does_not_end_the_stop(self):
        first, second = self.proxy.service.stopService(), self.proxy.service.stopService()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.proxy.pass_time(31)
        self.successResultOf(second)
        self.assertEqual(len(self.ends), 1)


class SignalTests(SynchronousTestCase):
    def test_restarted_proxy_still_calls_the_former_sigusr1_handler_once(self):
        """Its own handler must not become its predecessor: the first signal would recurse for ever."""
        called = []
        before = signal.signal(signal.SIGUSR1, lambda *_: called.append("before"))
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        network = HeldNetwork()
        network.callFromThread = lambda _call: called.append("reopen")
        network.callWhenRunning = lambda call: call()
        proxy = TwistdProxy(settings(), network)
        for _ in range(2):
            proxy.startService()
            stopped = proxy.stopService()
            network.settle()
            self.successResultOf(stopped)
        signal.raise_signal(signal.SIGUSR1)
        self.assertEqual(called, ["reopen", "before"])


class Asking(protocol.Protocol):
    def __init__(self):
        self.answered = Deferred()

    def connectionMade(self):
        self.transport.write(b"hello")

    def dataReceived(self, data):
        self.answered.callback(data)

    def connectionLost(self, reason=protocol.connectionDone):
        self.lost.callback(None)


class OnSocketsTests(TestCase):
    """The poller's epoll set is closed by a stop."""

    def test_restarted_proxy_serves_on_real_sockets(self):
        return Deferred.fromCoroutine(self.restart("auto", "splice"))

    def test_restarted_proxy_serves_without_acceleration(self):
        return Deferred.fromCoroutine(self.restart("off", "off"))

    def test_restarted_proxy_serves_without_a_poller(self):
        watch_no_descriptors(self)
        return Deferred.fromCoroutine(self.restart("auto", "off"))

    async def restart(self, acceleration, shown):
        (port,) = free_ports(1)
        match = {"ports": port, "address": "127.0.0.1"}
        served = Route(name="echo", match=match, action={"type": "handler", "handler": echo})
        proxy = SmartProxy(Settings(routes=[served], acceleration=acceleration), reactor)
        for _ in range(3):
            proxy.startService()
            asking = Asking()
            asking.lost = Deferred()
            await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), asking)
            self.assertEqual(await asking.answered, b"hello")
            asking.transport.loseConnection()
            await asking.lost
            self.assertEqual(proxy.status()["acceleration"], shown)
            await proxy.stopService()
        self.assertEqual(proxy.metrics.connections.total(), 3)
