"""Requests answered by coroutine functions: what they get, what they send, and every way in which they end."""

from __future__ import annotations

import contextlib

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed

from smartproxy import Refused, RejectReason
from smartproxy.testing import MemoryNetwork, Nature
from tests.http.case import UPGRADE
from tests.http.local.case import HandlerCase, local_route, request


class AnswerTests(HandlerCase):
    def answered(self, *args, method="GET", version="1.1", **keys):
        async def handler(exchange):
            await exchange.respond(*args, **keys)

        self.handle(handler)
        return self.ask(method=method, version=version)

    def test_an_iterator_is_sent_in_chunks(self):
        async def body():
            yield b"one"
            yield b""
            yield b"two"

        async def handler(exchange):
            await exchange.respond(200, body=body())

        self.handle(handler)
        client = self.connect(81)
        self.assertEqual(
            self.ask(client=client).whole,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        )
        self.assertEqual(self.ask(client=client, method="HEAD").body, b"")
        old = self.ask(client=client, version="1.0")
        self.assertEqual((old.body, old.connection, client.ended), (b"onetwo", "close", True))

    def test_an_iterator_may_have_a_length(self):
        async def body():
            yield b"one"

        answer = self.answered(200, {"Content-Length": "3"}, body())
        self.assertEqual((answer.content_length, answer.body), ("3", b"one"))

    def test_a_body_unlike_its_length_cuts_the_connection(self):
        for length in ("2", "4"):

            async def body():
                yield b"one"

            async def handler(exchange):
                await exchange.respond(200, {"Content-Length": length}, body())  # noqa: B023 - called in this turn

            self.handle(handler)
            client = self.connect(81, request())
            self.assertTrue(client.was_reset, length)
            self.assertEqual(self.failures(), [ValueError])

    def test_a_slow_reader_holds_the_handler(self):
        made = []

        async def body():
            for number in range(100):
                made.append(number)
                yield bytes(50_000)

        async def handler(exchange):
            await exchange.respond(200, body=body())

        self.network.stop(self.proxy)
        self.network = MemoryNetwork(Nature(window=50_000))
        self.backend = self.network.backend("10.0.0.5", 9000)
        self.start(local_route(type="handler", handler=handler))
        client = self.connect(81)
        client.reading = False
        client.write(request())
        self.network.settle()
        self.assertLess(len(made), 10)
        client.reading = True
        self.network.run(1)
        self.assertEqual(len(made), 100)
        self.assertTrue(client.received.endswith(b"\r\n0\r\n\r\n"))

    def test_informational_answers_precede_it(self):
        async def handler(exchange):
            exchange.informational(103, {"Link": "</a>"})
            self.assertRaises(ValueError, exchange.informational, 101)
            self.assertRaises(ValueError, exchange.informational, 200)
            await exchange.respond(200)
            self.assertRaises(RuntimeError, exchange.informational, 103)

        self.handle(handler)
        client = self.connect(81, request())
        self.assertTrue(
            client.received.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK")
        )
        self.assertNotIn(b" 103 ", self.connect(81, request(version="1.0")).received)

    def test_what_cannot_be_sent_is_a_value_error_and_another_answer_may_follow(self):
        for args in (
            (200, {"X": "a\r\nSet-Cookie: b"}), (200, {"X y": "a"}), (100,), (101,), (700,), (204, {}, b"x"),
            (200, {"Content-Length": "x"}, b""),
        ):  # fmt: skip

            async def handler(exchange):
                try:
                    await exchange.respond(*args)  # noqa: B023 - called in this turn
                except ValueError:
                    await exchange.respond(299)

            self.handle(handler)
            method = "HEAD" if len(args) > 1 and "Content-Length" in args[1] else "GET"
            self.assertEqual(self.ask(method=method).status, 299, args)

    def test_a_program_cannot_frame_the_answer(self):
        answer = self.answered(
            200,
            [("Transfer-Encoding", "chunked"), ("Content-Length", "77"), ("Connection", "x"), ("A", "1")],
            b"ab",
        )
        self.assertEqual(answer.whole, b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n\r\nab")

    def test_an_answer_is_sent_once(self):
        async def handler(exchange):
            await exchange.respond(200, body=b"a")
            try:
                await exchange.respond(200, body=b"b")
            except RuntimeError:
                seen.append(1)

        seen = []
        self.handle(handler)
        client = self.connect(81)
        self.assertEqual(self.ask(client=client).body, b"a")
        self.assertEqual((self.ask(client=client).body, seen), (b"a", [1, 1]))

    def test_pipelined_requests_are_answered_in_order(self):
        waiting = []

        async def handler(exchange):
            if exchange.path == "/slow":
                waiting.append(Deferred())
                await waiting[-1]
            await exchange.respond(200, body=exchange.path.encode())

        self.handle(handler)
        client = self.connect(81, request("/slow") + request("/fast") * 200)
        self.assertEqual((client.received, len(waiting)), (b"", 1))
        waiting[0].callback(None)
        self.network.settle()
        self.assertEqual(client.received.count(b"/fast"), 200)
        self.assertLess(client.received.index(b"/slow"), client.received.index(b"/fast"))


class EndTests(HandlerCase):
    def test_one_that_raises_is_a_500_with_nothing_internal(self):
        async def handler(exchange):
            raise LookupError("the secret of the database")

        self.handle(handler)
        answer = self.ask()
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"secret", answer.whole)
        self.assertEqual(self.failures(), [LookupError])
        self.assertEqual(self.proxy.counters.route("local").of_requests().answered, {("GET", 500): 1})

    def test_one_that_returns_without_an_answer_is_a_500(self):
        async def handler(exchange):
            pass

        self.handle(handler)
        self.assertEqual(self.ask().status, 500)

    def test_one_that_raises_within_its_answer_cuts_the_connection(self):
        async def body():
            yield b"one"
            raise LookupError

        async def handler(exchange):
            await exchange.respond(200, body=body())

        self.handle(handler)
        client = self.connect(81, request())
        self.assertTrue(client.was_reset)
        self.assertFalse(client.received.endswith(b"0\r\n\r\n"))
        self.assertEqual(self.failures(), [LookupError])

    def test_one_may_refuse(self):
        async def handler(exchange):
            raise Refused(RejectReason.IP_NOT_ALLOWED)

        self.handle(handler)
        self.assertEqual((self.ask().status, self.failures()), (403, []))

    def test_a_client_that_disconnects_cancels_it(self):
        for leave in ("rst", "close"):
            ends = []

            async def handler(exchange):
                try:
                    await Deferred()
                except CancelledError:
                    ends.append("cancelled")  # noqa: B023 - of this turn
                    raise

            self.handle(handler)
            client = self.connect(81, request())
            getattr(client, leave)()
            self.network.run(2.5)
            self.assertEqual((ends, self.proxy.registry.active), (["cancelled"], 0), leave)
            self.assertEqual(self.proxy.counters.route("local").of_requests().answered, {("GET", 499): 1})
            self.assertEqual(self.failures(), [])

    def test_a_client_that_only_ends_its_direction_is_answered(self):
        go_on = Deferred()

        async def handler(exchange):
            await go_on
            await exchange.respond(200, body=b"ok")

        self.handle(handler)
        client = self.connect(81, request())
        client.fin()
        self.network.run(0.5)
        go_on.callback(None)
        self.network.settle()
        self.assertTrue(client.received.endswith(b"ok"))

    def test_one_that_swallows_its_cancel_holds_nothing(self):
        errors, go_on = [], Deferred()

        async def handler(exchange):
            with contextlib.suppress(CancelledError):
                await Deferred()
            await go_on
            for call in (exchange.read, lambda: exchange.respond(200), exchange.body.__anext__):
                try:
                    await call()
                except ConnectionClosed as why:
                    errors.append(why)

        self.handle(handler)
        self.connect(81, request()).rst()
        self.network.settle()
        self.assertEqual((self.proxy.registry.active, self.proxy.connections), (0, []))
        go_on.callback(None)
        self.assertEqual((len(errors), self.failures()), (3, []))

    def test_one_that_is_late_and_cannot_be_cancelled_is_a_504(self):
        async def handler(exchange):
            await Deferred(lambda _: 1 / 0)

        self.handle(handler, http={"response_timeout": "5s"})
        client = self.connect(81, request())
        self.network.run(6)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 504"))
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_one_that_is_late_is_a_504_and_cancelled(self):
        ends = []

        async def handler(exchange):
            try:
                await Deferred()
            finally:
                ends.append(1)

        self.handle(handler, http={"response_timeout": "5s"})
        client = self.connect(81, request())
        self.network.run(6)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 504"))
        self.assertEqual((ends, self.failures()), ([1], []))

    def test_one_that_waits_for_room_is_cancelled_with_its_client(self):
        ends = []

        async def body():
            try:
                while True:
                    yield bytes(100_000)
            finally:
                ends.append(1)

        async def handler(exchange):
            await exchange.respond(200, body=body())

        self.network.stop(self.proxy)
        self.network = MemoryNetwork(Nature(window=50_000))
        self.backend = self.network.backend("10.0.0.5", 9000)
        self.start(local_route(type="handler", handler=handler))
        client = self.connect(81)
        client.reading = False
        client.write(request())
        self.network.settle()
        client.rst()
        self.network.settle()
        self.assertEqual((ends, self.proxy.registry.active, self.failures()), ([1], 0, []))


class UpgradeTests(HandlerCase):
    def test_an_upgrade_gives_a_connection(self):
        async def handler(exchange):
            self.assertEqual(exchange.upgrade_to, "websocket")
            connection = exchange.upgrade({"Sec-WebSocket-Accept": "x"})
            while data := await connection.read():
                await connection.write(data.upper())

        self.handle(handler)
        client = self.connect(81, UPGRADE + b"early")
        self.network.settle()
        head, _, rest = bytes(client.received).partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), head)
        for line in (b"Sec-WebSocket-Accept: x", b"Connection: Upgrade", b"Upgrade: websocket"):
            self.assertIn(line, head)
        self.assertEqual(rest, b"EARLY")
        client.write(b"more")
        self.network.settle()
        self.assertTrue(client.received.endswith(b"EARLYMORE"))
        client.fin()
        self.network.run(1)
        self.assertTrue(client.ended)
        self.assertEqual(self.proxy.registry.active, 0)
        self.assertEqual(self.proxy.counters.route("local").of_requests().answered, {("GET", 101): 1})

    def test_one_that_returns_closes_the_connection(self):
        async def handler(exchange):
            await exchange.upgrade().write(b"bye")

        self.handle(handler)
        client = self.connect(81, UPGRADE)
        self.network.settle()
        self.assertTrue(client.received.endswith(b"bye"))
        self.assertTrue(client.ended)

    def test_one_that_raises_resets_the_connection(self):
        async def handler(exchange):
            exchange.upgrade()
            raise LookupError

        self.handle(handler)
        client = self.connect(81, UPGRADE)
        self.network.settle()
        self.assertTrue(client.was_reset)
        self.assertEqual(self.failures(), [LookupError])

    def test_a_client_that_resets_cancels_it(self):
        ends = []

        async def handler(exchange):
            connection = exchange.upgrade()
            try:
                await connection.read()
            except CancelledError:
                ends.append(1)
                raise

        self.handle(handler)
        client = self.connect(81, UPGRADE)
        self.network.settle()
        client.rst()
        self.network.settle()
        self.assertEqual((ends, self.proxy.registry.active, self.failures()), ([1], 0, []))

    def test_a_426_says_which_protocol_is_required(self):
        async def handler(exchange):
            await exchange.respond(426, {"Upgrade": "echo"})

        self.handle(handler)
        answer = self.ask()
        self.assertEqual((answer.status, answer.upgrade, answer.connection), (426, "echo", "Upgrade"))

    def test_a_request_that_asks_for_nothing_cannot_be_upgraded(self):
        async def handler(exchange):
            exchange.upgrade()

        self.handle(handler)
        self.assertEqual(self.ask().status, 500)
        self.assertEqual(self.failures(), [RuntimeError])
