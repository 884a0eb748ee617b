"""Changing the routes of a running proxy: a change is atomic, and connections of unchanged routes continue."""

from __future__ import annotations

import time

from twisted.internet import error, reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo
from twisted.trial.unittest import TestCase

from smartproxy import Route, Settings, SmartProxy
from smartproxy.errors import ConfigurationError
from smartproxy.metrics.families import families
from smartproxy.metrics.prometheus import exposition
from smartproxy.model.outcome import CloseReason
from smartproxy.serving.ready import echo
from tests.on_network import NetworkTestCase, a_route, served
from tests.ports import free_ports


class UpdateTests(NetworkTestCase):
    """``await proxy.update_routes([...])``: atomic; unchanged routes keep their connections."""

    def test_update_opens_new_ports_and_closes_unused_ones(self):
        self.start(a_route("a", 80), a_route("b", 81))
        self.update(a_route("b", 81), a_route("c", 82))
        self.assertRaises(error.ConnectionRefusedError, self.network.connect, 80)
        for port in (81, 82):
            self.connect(port)
        self.assertEqual([record.route for record in self.proxy.connections], ["b", "c"])
        self.assertEqual(sorted(port for _, port in self.proxy.addresses()), [81, 82])

    def test_unchanged_and_changed_routes_keep_their_connections(self):
        other = self.network.backend("10.0.0.6", 9000)
        self.start(a_route("same", 80), a_route("changed", 81), graceful_shutdown_timeout="1s")
        clients = [self.connect(port) for port in (80, 81)]
        self.update(a_route("same", 80), a_route("changed", 81, host="10.0.0.6"))
        self.network.run(5)
        for client in clients:
            client.write(b"still here")
        self.network.settle()
        self.assertEqual([end.received for end in self.backend.connections], [b"still here"] * 2)
        self.connect(81, b"new")
        self.assertEqual(other.connections[0].received, b"new")

    def test_turns_among_targets_continue_across_updates(self):
        """One connection after each of four updates: each target gets two, instead of the first target all four."""
        other = self.network.backend("10.0.0.6", 9000)
        web = a_route("web", 80, host=["10.0.0.5", "10.0.0.6"])
        self.start(web)
        for number in range(4):
            self.update(web, a_route(f"other-{number}", 81))
            self.connect(80)
        self.assertEqual((len(self.backend.connections), len(other.connections)), (2, 2))

    def test_connections_of_a_removed_route_have_the_grace_period(self):
        self.start(a_route("stays", 80), a_route("goes", 81), graceful_shutdown_timeout="10s")
        stays, goes = self.connect(80), self.connect(81)
        self.update(a_route("stays", 80))
        goes.write(b"going on")
        self.network.run(9)
        self.assertEqual(self.backend.connections[1].received, b"going on")
        self.assertFalse(goes.gone)
        self.network.run(2)
        self.assertTrue(goes.was_reset)
        self.assertFalse(stays.gone)
        self.assertEqual(self.closed("goes"), {CloseReason.ROUTE_REMOVED: 1})
        self.assertEqual(self.closed("stays"), {})

    def test_connection_of_a_removed_route_may_end_normally(self):
        self.start(a_route("stays", 80), a_route("goes", 81), graceful_shutdown_timeout="10s")
        goes = self.connect(81)
        self.update(a_route("stays", 80))
        goes.fin()
        self.backend.connections[0].fin()
        self.network.run(5)
        self.assertEqual(self.closed("goes"), {CloseReason.NORMAL: 1})
        self.network.run(15)
        self.assertEqual(self.proxy.metrics.closed()[CloseReason.ROUTE_REMOVED], 0)

    def test_handlers_of_a_removed_route_are_ended(self):
        self.start(a_route(), served(echo), graceful_shutdown_timeout="10s")
        client = self.connect(7)
        self.update(a_route())
        self.network.run(11)
        self.assertTrue(client.was_reset)
        self.assertEqual(self.closed("served"), {CloseReason.ROUTE_REMOVED: 1})

    def page(self):
        return b"".join(exposition(families(self.proxy.registry, self.proxy.counters))[0])

    def test_page_of_metrics_does_not_grow_with_updates(self):
        """Three hundred updates with new names, and connections in each: 8 KB were 786 KB."""
        self.start(a_route("first", 80), graceful_shutdown_timeout="1s")
        self.connect(80)
        self.network.run(1)
        before = len(self.page())
        for number in range(100):
            self.update(a_route(f"route-{number}", 80))
            self.connect(80)
            self.network.run(0.1)
        self.update(a_route("last-", 80))
        self.connect(80)
        self.network.run(30)
        self.assertEqual(list(self.proxy.counters.routes), ["last-"])
        self.assertLess(len(self.page()), before + 100)
        self.assertEqual(self.proxy.metrics.closed()[CloseReason.ROUTE_REMOVED], 101)

    def test_route_has_its_series_before_its_first_connection(self):
        self.start(a_route("web", 80))
        self.update(a_route("web", 80), a_route("new", 81))
        for name in (b"web", b"new"):
            for family in (b"connections_total", b"connections_active", b"received_bytes_total"):
                self.assertIn(b'smartproxy_%s{route="%s"} 0\n' % (family, name), self.page())

    def assert_change_refused(self, routes, raised, said):
        self.start(a_route("web", 80), a_route("other", 81))
        client = self.connect(80)
        before = (self.proxy.plan, self.proxy.addresses())
        problem = self.failureResultOf(self.proxy.update_routes(routes), raised).value
        self.assertIn(said, str(problem))
        self.assertEqual((self.proxy.plan, self.proxy.addresses()), before)
        self.network.run(60)
        client.write(b"hello")
        self.connect(81, b"hello")
        self.assertEqual([end.received for end in self.backend.connections], [b"hello"] * 2)

    def test_invalid_route_changes_nothing(self):
        self.assert_change_refused(
            [a_route("new", 82), a_route("new", 83)], ConfigurationError, "earlier route"
        )

    def test_port_that_cannot_be_bound_changes_nothing(self):
        self.network.listenTCP(90, Factory.forProtocol(Echo))
        self.network.listenTCP(90, Factory.forProtocol(Echo), interface="::")
        self.assert_change_refused([a_route("new", 82), a_route("taken", 90)], error.CannotListenError, "90")
        self.assertRaises(error.ConnectionRefusedError, self.network.connect, 82)

    def test_update_waits_for_the_previous_one(self):
        self.start(a_route("a", 80))
        closing = Deferred()
        port = self.network.listening("127.0.0.1", 80)
        stop = port.stopListening
        port.stopListening = lambda: stop().addCallback(lambda _: closing)
        first = self.proxy.update_routes([a_route("b", 81)])
        second = self.proxy.update_routes([a_route("c", 82)])
        self.assertEqual([route.name for route in self.proxy.plan.routes], ["b"])
        self.assertNoResult(first)
        closing.callback(None)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual([route.name for route in self.proxy.plan.routes], ["c"])
        self.assertEqual([port for _, port in self.proxy.addresses()], [82])

    def test_update_after_a_failed_one_is_applied(self):
        self.start(a_route("a", 80))
        self.failureResultOf(self.proxy.update_routes([]), ConfigurationError)
        self.update(a_route("b", 81))
        self.connect(81)


class CountTests(NetworkTestCase):
    """Every change of the configuration is counted, whoever asks for it."""

    def counted(self):
        counters = self.proxy.counters
        return (*counters.config_reloads.values(), counters.config_reload_ok)

    def test_before_the_first_change_the_start_counts_as_successful(self):
        began = int(time.time())
        self.start()
        self.assertEqual(self.counted(), (0, 0, True))
        self.assertGreaterEqual(self.proxy.counters.config_reload_at, began)

    def test_changes_are_counted_by_result(self):
        self.start()
        self.update(a_route("b", 81))
        self.assertEqual(self.counted(), (1, 0, True))
        self.failureResultOf(self.proxy.update_routes([]), ConfigurationError)
        self.assertEqual(self.counted(), (1, 1, False))
        self.failureResultOf(self.proxy.reload(), ConfigurationError)  # there is no file
        self.assertEqual(self.counted(), (1, 2, False))
        self.update(a_route("b", 82))
        self.assertEqual(self.counted(), (2, 2, True))

    def test_a_port_in_use_and_an_unexpected_error_count_as_failed(self):
        self.start()
        self.network.listenTCP(90, Factory.forProtocol(Echo), interface="::")
        self.failureResultOf(self.proxy.update_routes([a_route("b", 90)]), error.CannotListenError)
        self.patch(self.proxy._listeners, "apply", lambda paths: 1 / 0)
        self.failureResultOf(self.proxy.update_routes([a_route("b", 81)]), ZeroDivisionError)
        self.assertEqual(self.counted(), (0, 2, False))


class ReloadTests(TestCase):
    """A reload parses the file in a thread."""

    def test_reactor_runs_while_a_file_is_read(self):
        (port,) = free_ports(1)
        match = {"ports": port, "address": "127.0.0.1"}
        settings = Settings(routes=[Route(name="a", match=match, action={"type": "block"})])
        changed = settings.with_routes([Route(name="b", match=match, action={"type": "block"})])
        turned = []

        class Slow(Settings):
            def again(self):
                reactor.callFromThread(turned.append, None)
                while not turned:  # ends only if the reactor runs meanwhile
                    pass
                return changed

        proxy = SmartProxy(Slow(routes=settings.routes), reactor)
        proxy.startService()

        def check(_):
            self.assertEqual([route.name for route in proxy.plan.routes], ["b"])
            return proxy.stopService()

        return proxy.reload().addCallback(check)
