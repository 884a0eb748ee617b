"""The proxy of a worker: on sockets that it is given, by configurations that it is told."""

from __future__ import annotations

import socket

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError, WorkerFailed
from smartproxy.proxy.given import Given, ListeningSocket
from smartproxy.settings import Settings
from smartproxy.tls.material import TlsMaterial
from smartproxy.workers.worker_proxy import WorkerProxy
from tests.pumps import Pump

_FIRST = 7 * 10**11


class WorkerProxyCase(SynchronousTestCase):
    def setUp(self):
        self.pump = Pump(self)
        self.held = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.held.close)
        self.place = ("127.0.0.1", self.held.getsockname()[1])
        self.settings = self.written("one")
        given = Given(self.settings.compile(), TlsMaterial(), _FIRST)
        self.worker = WorkerProxy(self.settings, given, self.pump.reactor)
        self.worker._runtime.sockets.poller = self.pump.poller  # its sockets are the kernel's
        self.addCleanup(self.stop)

    def stop(self):
        self.worker.stopService()
        self.pump.reactor.advance(1)

    def written(self, *names, **more):
        match = {"ports": self.place[1], "address": self.place[0]}
        echo = {"type": "handler", "handler": "smartproxy.serving.ready:echo"}
        routes = [
            {"name": name, "match": match | {"clientIp": "127.0.0.1"}, "action": echo} for name in names
        ]
        return Settings.of({"routes": routes, **more})

    def copy(self):
        return socket.socket(fileno=socket.dup(self.held.fileno()))

    def give(self, slot=1, place=None, **more):
        opened = self.copy()
        self.worker.give(ListeningSocket(place or self.place, slot), opened, **more)
        return opened

    def start(self):
        self.give()
        self.worker.startService()

    def served(self):
        """Whether a new connection is served by this worker, and not left to others."""
        before = self.worker.registry.opened
        with socket.create_connection(self.place, timeout=5):
            for listener in list(self.worker._listeners._open.values()):
                listener.port.doRead()
        return self.worker.registry.opened - before


class SocketTests(WorkerProxyCase):
    def test_it_serves_on_the_socket_that_it_was_given(self):
        self.start()
        self.assertEqual(self.served(), 1)
        self.assertEqual(self.worker.addresses()[self.place].port, self.place[1])

    def test_numbers_of_connections_begin_where_they_are_told_to(self):
        self.start()
        with socket.create_connection(self.place, timeout=5):
            [listener] = self.worker._listeners._open.values()
            listener.port.doRead()
            self.assertEqual([record.id for record in self.worker.connections], [_FIRST])

    def test_sockets_of_another_worker_are_served_until_they_are_released(self):
        self.start()
        self.give(slot=2)
        self.worker.listen_on_given()
        self.assertEqual({key.slot for key in self.worker._listeners._open}, {1, 2})
        self.worker.release(2)
        self.pump.reactor.advance(0)
        self.assertEqual({key.slot for key in self.worker._listeners._open}, {1})
        self.assertEqual(self.served(), 1)

    def test_a_socket_that_it_has_already_is_closed(self):
        self.start()
        again = self.give()
        self.worker.listen_on_given()
        self.assertEqual(again.fileno(), -1)
        self.assertEqual(self.served(), 1)

    def test_nothing_is_served_after_a_drain(self):
        self.start()
        self.worker.drain()
        late = self.give(slot=2)
        self.worker.listen_on_given()
        self.assertEqual(late.fileno(), -1)
        self.assertEqual(self.worker._listeners._open, {})

    def test_the_socket_of_the_supervisor_listens_on(self):
        self.start()
        self.worker.drain()
        self.pump.reactor.advance(0)
        with socket.create_connection(self.place, timeout=5):
            accepted, _ = self.held.accept()
            accepted.close()


class ChangeTests(WorkerProxyCase):
    def prepare(self, settings):
        self.given_before = []

        def take(before):
            self.given_before.append(before)
            return settings

        return Deferred.fromCoroutine(self.worker.prepare(take))

    def names(self):
        return [route.name for route in self.worker.plan.routes]

    def test_a_prepared_configuration_is_not_in_force_before_it_is_committed(self):
        self.start()
        self.successResultOf(self.prepare(self.written("two")))
        self.assertEqual((self.names(), self.given_before), (["one"], [self.settings]))
        self.worker.commit()
        self.assertEqual(self.names(), ["two"])
        self.assertEqual(self.served(), 1)

    def test_a_configuration_as_written_is_not_kept(self):
        """Its routes take more memory than what is compiled from them, and a worker does not read it again."""
        self.start()
        self.successResultOf(self.prepare(self.written("two")))
        self.worker.commit()
        self.successResultOf(self.prepare(self.written("three")))
        (former,) = self.given_before
        self.assertEqual((self.names(), list(former.routes)), (["two"], []))

    def test_one_that_is_given_up_changes_nothing(self):
        self.start()
        other = ("127.0.0.1", self.place[1] + 1)
        self.successResultOf(self.prepare(self.written("two")))
        fresh = self.give(place=other, of_change=True)
        self.worker.abort()
        self.assertRaises(WorkerFailed, self.worker.commit)
        self.assertEqual((self.names(), fresh.fileno()), (["one"], -1))

    def test_a_socket_for_a_change_is_listened_on_when_that_is_committed(self):
        """Also where another worker ends in between, whose sockets are listened on at once."""
        self.start()
        fresh = self.give(slot=3, of_change=True)
        self.worker.listen_on_given()
        self.assertEqual(len(self.worker._listeners._open), 1)
        self.successResultOf(self.prepare(self.written("two")))
        self.worker.commit()
        self.assertEqual(len(self.worker._listeners._open), 2)
        self.assertNotEqual(fresh.fileno(), -1)

    def test_a_socket_of_another_worker_whose_place_a_change_has_removed_is_closed(self):
        """It was on its way during the change. Kept, it would keep the port from a later change that has it again."""
        self.start()
        other = ("127.0.0.1", self.place[1] + 1)
        late = self.give(slot=2, place=other)
        self.successResultOf(self.prepare(self.written("two")))
        self.worker.commit()
        self.worker.listen_on_given()
        self.assertEqual(late.fileno(), -1)

    def test_one_for_a_change_that_does_not_need_it_is_closed(self):
        self.start()
        fresh = self.give(place=("127.0.0.1", self.place[1] + 1), of_change=True)
        self.successResultOf(self.prepare(self.written("two")))
        self.worker.commit()
        self.assertEqual(fresh.fileno(), -1)

    def test_one_that_is_not_valid(self):
        self.start()
        log = {"path": "/nonexistent/directory/access.log"}
        self.failureResultOf(self.prepare(self.written("two", accessLog=log)), ConfigurationError)
        self.assertRaises(WorkerFailed, self.worker.commit)
        self.assertEqual(self.names(), ["one"])

    def test_the_last_one_that_was_prepared_is_committed(self):
        self.start()
        self.successResultOf(self.prepare(self.written("two")))
        self.successResultOf(self.prepare(self.written("three")))
        self.worker.commit()
        self.assertEqual(self.names(), ["three"])

    def test_a_failed_preparation_hinders_no_other(self):
        self.start()
        log = {"path": "/nonexistent/directory/access.log"}
        self.failureResultOf(self.prepare(self.written("two", accessLog=log)), ConfigurationError)
        self.successResultOf(self.prepare(self.written("two")))
        self.worker.commit()
        self.assertEqual(self.names(), ["two"])
