"""A callable that chooses a handler of requests: its connection is one of HTTP, as that of any such handler."""

from __future__ import annotations

import gc

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from smartproxy import Refused, RejectReason, Route
from smartproxy.connections.timeouts import ConnectionTimeouts, TimeoutWatch
from smartproxy.model.outcome import ConnectionState
from tests.http.case import GET
from tests.on_network import NetworkTestCase, served

WEBSOCKET = (
    b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def tunnelled(exchange):
    connection = exchange.upgrade()
    while await connection.read():
        pass


async def echoing(exchange):
    await exchange.respond(200, body=await exchange.read(1 << 20))


async def answering(exchange):
    await exchange.respond(200, body=b"chosen")


class ChosenRequestHandlerTests(NetworkTestCase):
    def start_chosen(self, handler, *, more=None, **keys):
        route = served(lambda facts: handler, ports=80, keep_alive_treatment="standard", **keys)
        self.start(route, **(more or {}))

    def late(self, seconds):
        async def handle(exchange):
            await deferLater(self.network, seconds, lambda: None)
            await exchange.respond(200, body=b"late")

        return handle

    def test_late_answer_is_not_cut_by_the_inactivity_timeout_of_tcp(self):
        self.start_chosen(self.late(30), inactivity_timeout="10s")
        client = self.connect(said=GET)
        self.network.run(40)
        self.assertIn(b"late", client.received)

    def test_lifetime_ends_the_connection_after_the_exchange_under_way(self):
        self.start_chosen(self.late(30), max_connection_lifetime="10s")
        client = self.connect(said=GET)
        self.network.run(40)
        self.assertIn(b"late", client.received)

    def test_tunnel_has_its_own_idle_timeout(self):
        self.start_chosen(tunnelled, inactivity_timeout="10s")
        client = self.connect(said=WEBSOCKET)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 101 "), client.received)
        self.network.run(40)
        self.assertFalse(client.gone)

    def test_nothing_watches_a_tunnel_that_has_ended(self):
        self.start_chosen(tunnelled)
        for _ in range(5):
            self.connect(said=WEBSOCKET).fin()
            self.network.run(5)
        self.assertEqual(self.proxy.connections, [])
        gc.collect()
        ended = [
            each
            for each in gc.get_objects()
            if isinstance(each, TimeoutWatch)
            and each._record.state is ConnectionState.CLOSING
            and each._deadline is not None
        ]
        self.assertEqual(len(ended), 0)

    def test_memory_does_not_grow_with_each_tunnel(self):
        self.start_chosen(tunnelled)
        for _ in range(20):
            self.connect(said=WEBSOCKET).fin()
            self.network.run(5)
        sizes = [len(each._limits) for each in gc.get_objects() if isinstance(each, ConnectionTimeouts)]
        self.assertLess(max(sizes), 5)

    def test_defaults_of_http_hold(self):
        self.start_chosen(answering, more={"defaults": {"http": {"maxBodySize": 1}}})
        client = self.connect(said=b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        self.assertTrue(client.received.startswith(b"HTTP/1.1 413 "), client.received)


class LaterRequestTests(NetworkTestCase):
    """Requests for a route whose callable chooses, on a connection that began with another one."""

    def begin(self, choose):
        web = {"type": "respond", "protocol": "http", "response": {"body": "web"}}
        self.start(
            Route(name="web", match={"ports": 80}, action=web),
            Route(
                name="chosen",
                match={"ports": 80, "path": "/c"},
                action={"type": "handler", "handler": choose},
            ),
        )
        self.client = self.connect(said=GET)
        self.assertTrue(self.client.received.endswith(b"web"))

    def said(self, request):
        before = len(self.client.received)
        self.client.write(request)
        self.network.settle()
        return bytes(self.client.received[before:])

    def post(self, body=b"abc"):
        return b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def test_handler_is_asked_for_and_answers(self):
        asked = []

        def choose(facts):
            asked.append(facts.detected.request.path)
            return echoing

        self.begin(choose)
        for body in (b"abc", b"", b"x" * 100_000):
            self.assertTrue(self.said(self.post(body)).endswith(b"\r\n\r\n" + body))
        self.assertEqual(asked, ["/c"] * 3)
        self.assertTrue(self.said(GET).endswith(b"web"))

    def test_body_waits_for_the_choice(self):
        chosen = Deferred()
        self.begin(lambda facts: chosen)
        self.assertEqual(self.said(self.post(b"x" * 500_000)), b"")
        self.assertFalse(self.proxy.connections[0].owner.transport.reading)
        chosen.callback(echoing)
        self.network.settle()
        self.assertTrue(self.client.received.endswith(b"x" * 500_000))

    def test_client_that_leaves_meanwhile(self):
        ended = []
        chosen = Deferred(lambda _: ended.append("cancelled"))
        self.begin(lambda facts: chosen)
        self.said(self.post())
        self.client.transport.abortConnection()
        self.network.settle()
        self.assertEqual((ended, self.proxy.connections), (["cancelled"], []))

    def test_refusal(self):
        def choose(facts):
            raise Refused(RejectReason.IP_BLOCKED, "not you")

        self.begin(choose)
        self.assertTrue(self.said(GET.replace(b" / ", b" /c ")).startswith(b"HTTP/1.1 403 "))
        self.assertTrue(self.said(GET).endswith(b"web"))

    def test_callable_that_fails_or_gives_no_handler_of_requests(self):
        async def connection(connection):
            await connection.read()

        for choose in (lambda facts: 1 // 0, lambda facts: connection):
            self.begin(choose)
            self.assertTrue(self.said(self.post()).startswith(b"HTTP/1.1 500 "))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, TypeError)), 1)
            self.network.stop(self.proxy)
