"""Ends of a connection within TLS that the path does not wait for: none holds a record, a limit or a target."""

from __future__ import annotations

import contextlib

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred

from smartproxy import Action, Match, Route, RouteTls, Settings, Target
from smartproxy.wire import tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.tls_case import REQUEST, TlsTestCase
from tests.tls.talk import client, client_context

#: A record that is too short to be decrypted.
BROKEN = b"\x17\x03\x03\x00\x05junk!"
CLIENT = ("192.0.2.1", 50000)


class BrokenRecordTests(TlsTestCase):
    """A record that cannot be decrypted ends the connection while the path does not wait for it."""

    def inside(self, name="web", **more):
        """A route that looks at what is inside of TLS."""
        return self.route(name, match={"path": "/api"}, **more)

    def last_flight(self, most=0):
        """A client, before it sends the last flight of its handshake; and that flight."""
        below = self.network.connect(443, client=CLIENT)
        connection = client(context=client_context(self.authority, most=most))
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        below.write(connection.bio_read(1 << 16))
        self.network.settle()
        connection.bio_write(below.received)
        with contextlib.suppress(SSL.WantReadError):  # TLS 1.2: the server's Finished is still to come
            connection.do_handshake()
        return below, connection.bio_read(1 << 16)

    def assert_nothing_is_held(self):
        """Without waiting for a timeout."""
        registry = self.proxy.registry
        self.assertEqual((registry.live, registry.by_ip, registry.by_route), ({}, {}, {}))
        self.assertEqual(self.backend.connections, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_behind_the_last_flight_on_a_route_that_looks_inside(self):
        for most in (0, SSL.TLS1_2_VERSION):
            self.start(self.inside(), maxConnectionsPerIP=1)
            for _ in range(3):
                below, flight = self.last_flight(most)
                below.write(flight + BROKEN)
                self.network.settle()
                self.assert_nothing_is_held()
            self.assertTrue(self.connect().shaken)
            self.network.stop(self.proxy)

    def test_behind_it_with_a_fin(self):
        self.start(self.inside())
        below, flight = self.last_flight()
        below.write(flight + BROKEN)
        below.fin()
        self.network.settle()
        self.assert_nothing_is_held()

    def test_behind_a_whole_request(self):
        """The request is complete, and is not sent to a target for a client that has gone."""
        self.start(self.inside())
        below = self.network.connect(443)
        end = self.within(below, client(self.authority))
        self.settle()
        end.connection.send(REQUEST)
        below.write(end.connection.bio_read(1 << 16) + BROKEN)
        self.network.settle()
        self.assert_nothing_is_held()

    def test_behind_the_last_flight_where_the_target_refuses(self):
        """What the client has sent is decrypted then, to answer in its protocol."""
        self.backend.close()
        self.start(self.route())
        below, flight = self.last_flight()
        below.write(flight + BROKEN)
        self.network.settle()
        self.assert_nothing_is_held()

    def test_while_the_target_is_dialed(self):
        self.start(self.route())
        self.network.silent.add(("10.0.0.1", 9000))
        below, flight = self.last_flight()
        below.write(flight + BROKEN)
        below.rst()
        self.network.settle()
        self.assert_nothing_is_held()


class Certificates:
    """A callable that treats its cancel in a certain way."""

    def __init__(self, fallback):
        self.fallback = fallback
        self.cancelled = 0

    async def swallows(self, name):
        try:
            await Deferred()
        except BaseException:
            self.cancelled += 1
        return self.fallback

    async def is_deaf(self, name):
        while True:
            try:
                await Deferred()
            except CancelledError:
                self.cancelled += 1

    def cannot_be_cancelled(self, name):
        self.cancelled += 1
        return Deferred(lambda _: 1 / 0)

    def each(self):
        for way in (self.swallows, self.is_deaf, self.cannot_be_cancelled):
            self.cancelled = 0
            yield way


class CertificateCallableTests(TlsTestCase):
    def chosen_by(self, choose, **more):
        self.proxy = self.network.start(
            Settings(
                routes=[
                    Route(
                        name="web",
                        match=Match(ports=443),
                        action=Action(
                            targets=[Target(host="10.0.0.1", port=9000)],
                            tls=RouteTls(mode="terminate", certificate=choose),
                        ),
                    )
                ],
                acceleration="off",
                graceful_shutdown_timeout=0,
                **more,
            )
        )
        self.addCleanup(self.network.stop, self.proxy)

    def setUp(self):
        super().setUp()
        self.certificates = Certificates(self.authority.leaf("a.example").plan())

    def over(self):
        self.assertEqual(self.certificates.cancelled, 1)
        self.assertEqual((self.proxy.connections, self.backend.connections), ([], []))
        self.network.stop(self.proxy)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_it_has_the_time_of_the_handshake(self):
        for choose in self.certificates.each():
            self.chosen_by(choose, tls_handshake_timeout="2s")
            end = self.connect()
            self.network.run(1.5)
            self.assertEqual(end.below.received, b"")
            self.network.run(1)
            self.assertEqual(end.below.received, tls_alert.build(Alert.INTERNAL_ERROR))
            self.assertEqual(self.rejected(), {"tls_error": 1})
            self.network.run(3)
            self.over()

    def test_reset_by_the_client(self):
        for choose in self.certificates.each():
            self.chosen_by(choose)
            self.connect().below.rst()
            self.network.settle()
            self.over()

    def test_ended_through_the_admin_api(self):
        for choose in self.certificates.each():
            self.chosen_by(choose)
            end = self.connect()
            self.assertTrue(self.proxy.end_connection(self.proxy.connections[0].id))
            self.network.settle()
            self.assertTrue(end.below.was_reset)
            self.over()

    def test_stop_of_the_proxy(self):
        for choose in self.certificates.each():
            self.chosen_by(choose)
            self.connect()
            self.network.result(self.proxy.stopService(), within=10)
            self.over()

    def test_wait_for_it_counts_to_the_deadline_of_the_handshake(self):
        """A client does not get the time twice."""
        waiting = Deferred()
        self.chosen_by(lambda name: waiting, tls_handshake_timeout="2s")
        below = self.network.connect(443)
        connection = client(self.authority)
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        below.write(connection.bio_read(1 << 16))
        self.network.run(1.5)
        self.assertEqual(self.rejected(), {})
        waiting.callback(self.certificates.fallback)
        self.network.run(1)
        self.assertEqual(self.rejected(), {"tls_error": 1})
