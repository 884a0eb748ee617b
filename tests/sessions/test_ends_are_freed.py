"""What a connection held is freed at its end, however it ends, without the collector of reference cycles."""

from __future__ import annotations

import contextlib
import gc
from types import CoroutineType

from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred

from smartproxy import Settings
from smartproxy.connections.lingering import _Lingerer
from smartproxy.errors import Refused
from smartproxy.flow.callables import _Question
from smartproxy.flow.side import Screen
from smartproxy.model.outcome import RejectReason
from smartproxy.model.record import ConnectionRecord
from smartproxy.phases.terminate_tls import _HandshakeAttempt
from smartproxy.testing import FarEnd
from smartproxy.wire import proxy_v1
from tests.on_network import HOST, NetworkTestCase, a_route, served
from tests.sessions.test_postgres_cancel import CancelCase
from tests.sessions.tls_case import TlsTestCase
from tests.tls.talk import client

PEER = ("192.0.2.1", 50000)
#: A record that cannot be decrypted.
BROKEN = b"\x17\x03\x03\x00\x05junk!"
#: Not the sides: the transports of the network in memory refer to them, and to each other.
HELD = (CoroutineType, ConnectionRecord, Screen, _HandshakeAttempt, _Lingerer, _Question)


def held():
    """The objects of connections; a coroutine that has ended holds nothing."""
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, HELD) and not (isinstance(each, CoroutineType) and each.cr_frame is None)
    ]


class _Freed:
    """Compares what is held before and after."""

    def watch(self):
        gc.collect()
        self.before = held()
        gc.disable()
        self.addCleanup(gc.enable)

    def assert_freed(self):
        self.network.run(3)
        self.assertEqual(self.proxy.connections, [])
        self.backend.connections.clear()
        before = {id(each) for each in self.before}
        self.assertEqual([each for each in held() if id(each) not in before], [])


class CallableTests(_Freed, NetworkTestCase):
    def cancelled_by(self, choose, end):
        self.start(a_route(host=choose, connection_timeout="2s"), proxy_ips=[])
        self.watch()
        end(self.connect(80))
        self.network.settle()
        self.assert_freed()

    async def swallows(self, facts):
        with contextlib.suppress(CancelledError):
            await Deferred()
        return HOST

    def ends_itself(self, facts):
        self.proxy.end_connection(self.proxy.connections[0].id)
        return HOST

    def test_reset_while_a_callable_is_waited_for(self):
        for choose in (self.swallows, self.ends_itself):
            self.cancelled_by(choose, lambda client: client.rst())
            self.network.stop(self.proxy)

    def test_callable_that_takes_too_long(self):
        self.cancelled_by(self.swallows, lambda client: self.network.run(2.5))

    def test_refused_client_that_lingers(self):
        route = {"name": "api", "match": {"ports": 80, "path": "/api"}}
        self.start({**route, "action": {"targets": [{"host": HOST, "port": 9000}]}})
        self.watch()
        for leave in (FarEnd.fin, FarEnd.rst, lambda _: None):
            client = self.connect(80, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertTrue(client.received.startswith(b"HTTP/1.1 404"))
            leave(client)
            self.network.settle()
            self.assert_freed()

    def test_coroutine_that_is_cancelled_or_fails(self):
        async def reads(connection):
            await connection.read(timeout=1)

        async def sleeps(connection):
            await connection.wait(1000)
            await connection.write(b"too late")

        self.start(served(reads, "reads", 7), served(sleeps, "sleeps", 8), graceful_shutdown_timeout=0)
        self.watch()
        for port in (7, 8):
            self.connect(port).rst()
            self.network.settle()
            self.assert_freed()
            self.connect(port)
            self.proxy.end_connection(self.proxy.connections[0].id)
            self.assert_freed()
        self.connect(7)
        self.network.run(1.5)
        self.assertEqual(self.failures(), [TimeoutError])
        self.assert_freed()

    def test_what_has_failed_before_it_is_awaited(self):
        """Twisted raises such a failure in a frame of the failure itself, and so makes a cycle of both."""

        async def refuses(asked):
            raise Refused(
                RejectReason.NO_ROUTE
            )  # another exception would be kept by Twisted's history of the log

        self.start(
            a_route(host=refuses),
            a_route("nowhere", 81, host="nowhere.example"),
            a_route("both", 82, host="both.example"),
            served(refuses),
        )
        self.network.names["both.example"] = ["10.0.0.7", "10.0.0.8"]
        self.connect(81)  # from now on the answer is known
        self.network.settle()
        self.watch()
        for port in (80, 81, 82, 7):
            client = self.connect(port)
            self.network.run(0.3)
            self.assertTrue(client.ended or client.was_reset)
            self.assert_freed()

    def test_late_header(self):
        async def serve(connection):
            await connection.read()

        self.start(a_route(), served(serve), proxy_ips=[PEER[0]], proxy_header_timeout="1s")
        self.watch()
        for port in (80, 7):
            for said in (proxy_v1.build(PEER, PEER), b"PRO", b"payload"):
                client = self.connect(port, client=PEER)
                self.network.run(1.5)
                client.write(said)
                self.network.settle()
                client.rst()
                self.network.settle()
                self.assert_freed()


class OrdinaryEndTests(_Freed, NetworkTestCase):
    """Ends that every proxy sees each day."""

    def test_fin_within_a_proxy_header(self):
        self.start(proxy_ips=[PEER[0]])
        self.watch()
        client = self.connect(80, b"PROXY TCP4", client=PEER)
        client.fin()
        self.network.settle()
        self.assert_freed()

    def test_part_of_a_proxy_header_in_its_time(self):
        self.start(proxy_ips=[PEER[0]], proxy_header_timeout="1s")
        self.watch()
        self.connect(80, b"PROXY TCP4", client=PEER)
        self.network.run(1.5)
        self.assert_freed()

    def test_callable_that_ends_when_it_is_cancelled(self):

        async def waits(facts):
            await Deferred()

        for leave in (
            lambda client: client.rst(),
            lambda client: self.proxy.end_connection(self.proxy.connections[0].id),
            lambda client: self.network.run(2.5),
        ):
            self.start(a_route(host=waits, connection_timeout="2s"), proxy_ips=[])
            self.watch()
            leave(self.connect(80))
            self.network.settle()
            self.assert_freed()
            self.network.stop(self.proxy)


class RequestTests(_Freed, NetworkTestCase):
    """A request whose target is being connected to."""

    def ask(self, host):
        action = {"protocol": "http", "targets": [{"host": host, "port": 9000}]}
        self.start({"name": "web", "match": {"ports": 80}, "action": action}, proxy_ips=[])
        self.watch()
        return self.connect(80, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    def test_its_client_leaves(self):
        async def never(_):
            await Deferred()

        self.ask(never).rst()
        self.network.settle()
        self.assert_freed()

    def test_it_is_refused(self):
        client = self.ask("192.0.2.99")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 502"), client.received)
        client.fin()
        self.network.settle()
        self.assert_freed()


class CancelRequestTests(_Freed, CancelCase):
    """A PostgreSQL client's request to cancel a query, whose connection no target holds."""

    def start_session(self):
        self.start(self.named("a.example"))
        self.session()
        self.watch()

    def assert_only_session_held(self, seconds):
        self.network.run(seconds)
        self.assertEqual(len(self.proxy.connections), 1)
        before = {id(each) for each in self.before}
        self.assertEqual([each for each in held() if id(each) not in before], [])

    def test_it_reaches_no_target(self):
        self.start_session()
        self.backend.close()
        self.assertTrue(self.cancel().was_reset)
        self.assert_only_session_held(3)

    def test_its_target_does_not_close(self):
        self.start_session()
        self.cancel().rst()
        self.assert_only_session_held(8)


class TlsTests(_Freed, TlsTestCase):
    def test_handshake_closed_for_another(self):
        self.start(self.route(), tls={"maxHandshakes": 1})
        self.watch()
        for _ in range(2):
            below = self.network.connect(443)
            connection = client(self.authority)
            self.assertRaises(SSL.WantReadError, connection.do_handshake)
            below.write(connection.bio_read(1 << 16))
            self.network.run(2.1)
        self.assertEqual(self.rejected(), {"tls_error": 1})
        below.rst()
        self.network.settle()
        self.assert_freed()

    def test_broken_record_behind_the_handshake(self):
        """The path waits for bytes of a side that has ended already."""
        self.start(self.route(match={"path": "/api"}))
        self.watch()
        below = self.network.connect(443)
        connection = client(self.authority)
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        below.write(connection.bio_read(1 << 16))
        self.network.settle()
        connection.bio_write(below.received)
        connection.do_handshake()
        below.write(connection.bio_read(1 << 16) + BROKEN)
        self.network.settle()
        below.rst()
        self.assert_freed()

    def choose_by(self, choose):
        chosen = self.route()
        chosen["action"]["tls"]["certificate"] = choose
        settings = Settings.model_validate({"routes": [chosen], "acceleration": "off"})
        self.proxy = self.network.start(settings)
        self.addCleanup(self.network.stop, self.proxy)
        self.watch()

    def test_certificate_callable_that_raises(self):
        late = Deferred()

        async def choose(name):
            raise Refused(RejectReason.NO_ROUTE)

        for chosen in (choose, lambda _: late):
            self.choose_by(chosen)
            below = self.connect().below
            if chosen is not choose:
                late.errback(Refused(RejectReason.NO_ROUTE))
            below.rst()
            self.assert_freed()
            self.network.stop(self.proxy)

    def test_certificate_callable_that_is_cancelled(self):
        async def waits(name):
            await Deferred()

        async def swallows(name):
            with contextlib.suppress(CancelledError):
                await Deferred()

        for choose in (waits, swallows, lambda _: Deferred()):
            for seconds in (0, 11):  # the client leaves, or it takes too long
                with self.subTest(choose=choose, seconds=seconds):
                    self.choose_by(choose)
                    below = self.connect().below
                    self.network.run(seconds)
                    below.rst()
                    self.assert_freed()
                    self.network.stop(self.proxy)

    def test_broken_record_while_it_is_not_waited_for(self):
        self.start(self.route(match={"path": "/api"}))
        self.watch()
        end = self.connect()
        end.connection.send(b"GET /api HTTP/1.1\r\nHost: a.example\r\n\r\n")
        end.below.write(end.connection.bio_read(1 << 16) + BROKEN)
        self.network.settle()
        self.assert_freed()
