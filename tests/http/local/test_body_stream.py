"""What coroutine functions get of a request, and how they read its body."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from smartproxy import BodyTooLong, Exchange
from tests.http.local.case import Answer, HandlerCase, request


class RequestTests(HandlerCase):
    def test_a_handler_gets_the_request(self):
        seen = {}

        async def handler(exchange):
            seen.update(
                method=exchange.method, host=exchange.host, path=exchange.path, query=exchange.query,
                agent=exchange.headers["User-Agent"], many=exchange.headers["x-many"], params=dict(exchange.params),
                client=exchange.client.host, route=exchange.route, scheme=exchange.scheme, body=await exchange.read(10),
                all=exchange.headers.all("X-Many"), none=exchange.headers.get("x-none"), upgrade=exchange.upgrade_to,
            )  # fmt: skip
            await exchange.respond(200, {"X-A": "1"}, b"body")

        self.handle(handler, match={"path": "/u/:user/*"})
        more = "User-Agent: x\r\nX-Many: a\r\nX-Many: b\r\n"
        answer = self.ask("/u/7/a%20b?q=1&r", "A.Example:81", "POST", more, b"abc")
        self.assertEqual(answer.whole, b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 4\r\n\r\nbody")
        self.assertTrue(answer.has_date)
        self.assertEqual(
            seen,
            {
                "method": "POST", "host": "a.example", "path": "/u/7/a%20b", "query": "q=1&r", "agent": "x", "many": "a, b",
                "params": {"user": "7"}, "client": "192.0.2.1", "route": "local", "scheme": "http", "body": b"abc",
                "all": ["a", "b"], "none": None, "upgrade": "",
            },
        )  # fmt: skip

    def test_which_coroutine_functions_get_requests(self):
        async def exchange_named(exchange):
            await exchange.respond(200)

        async def annotated(given: Exchange):
            await given.respond(200)

        async def other(given):
            await given.respond(200)

        class Callable:
            async def __call__(self, exchange):
                await exchange.respond(200)

        for handler, more in [
            (exchange_named, {}), (annotated, {}), (other, {"protocol": "http"}), (Callable(), {}),
        ]:  # fmt: skip
            self.handle(handler, **more)
            self.assertEqual(self.ask().status, 200, handler)

    def test_a_body_is_read_in_pieces_as_it_comes(self):
        pieces = []

        async def handler(exchange):
            async for piece in exchange.body:
                pieces.append(piece)  # noqa: PERF401 - looked at meanwhile
            await exchange.respond(204)

        self.handle(handler)
        client = self.connect(81, request(method="PUT", more="Transfer-Encoding: chunked\r\n"))
        client.write(b"3\r\nabc\r\n")
        self.network.settle()
        self.assertEqual(pieces, [b"abc"])
        client.write(b"2\r\nde\r\n0\r\n\r\n")
        self.network.settle()
        self.assertEqual(pieces, [b"abc", b"de"])
        self.assertTrue(client.received.startswith(b"HTTP/1.1 204 "))
        self.assertFalse(client.ended)

    def test_a_body_that_is_not_read_holds_the_client(self):
        go_on = Deferred()

        async def handler(exchange):
            await go_on
            await exchange.respond(200, body=b"%d" % len(await exchange.read(10_000_000)))

        self.handle(handler)
        client = self.connect(81, request(method="PUT", body=bytes(3_000_000)))
        self.assertGreater(client.waiting, 2_000_000)
        go_on.callback(None)
        self.network.run(1)
        self.assertEqual(Answer(bytes(client.received)).body, b"3000000")

    def test_a_body_over_the_limit_is_a_413(self):
        caught = []

        async def handler(exchange):
            await exchange.read(2)

        async def catching(exchange):
            try:
                await exchange.read(2)
            except BodyTooLong:
                caught.append(1)
            await exchange.respond(200)

        self.handle(handler)
        self.assertEqual(self.ask(method="POST", body=b"abc").status, 413)
        self.handle(catching)
        self.assertEqual((self.ask(method="POST", body=b"abc").status, caught), (200, [1]))

    def test_a_client_is_told_to_send_its_body_when_it_is_read(self):
        ask, go_on = request(method="POST", more="Expect: 100-continue\r\nContent-Length: 3\r\n"), Deferred()

        async def reading(exchange):
            await go_on
            await exchange.respond(200, body=await exchange.read(10))

        async def refusing(exchange):
            await exchange.respond(403)

        self.handle(reading)
        client = self.connect(81, ask)
        self.assertEqual(client.received, b"")
        go_on.callback(None)
        self.network.settle()
        self.assertEqual(client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.write(b"abc")
        self.network.settle()
        self.assertTrue(client.received.endswith(b"abc"))
        self.handle(refusing)
        client = self.connect(81, ask)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 403 "))
        self.assertIn(b"Connection: close", client.received)
