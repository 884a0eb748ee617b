"""Peers that take nothing of what was written, and bodies behind requests that are held: none of them is forgotten."""

from __future__ import annotations

from smartproxy import Route
from smartproxy.testing import Nature
from tests.http.case import GET, OK, AnswerCase, http_route
from tests.on_network import NetworkTestCase, served

LARGE = 200_000


def posting(size, path="/", more=""):
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n{more}\r\n".encode()


class PipelinedBodyTests(AnswerCase):
    def test_body_of_a_pipelined_request_that_a_handler_reads(self):
        read = []

        async def handle(exchange):
            read.append(len(await exchange.read()))
            await exchange.respond(204)

        upload = Route(
            name="upload", match={"ports": 80, "path": "/up"}, action={"type": "handler", "handler": handle}
        )
        self.network.stop(self.proxy)
        self.start(http_route(), upload)
        self.connect(said=GET + posting(LARGE, "/up") + b"x" * LARGE)
        self.answer()
        self.network.run(5)
        self.assertEqual(read, [LARGE])

    def test_body_of_a_pipelined_request_for_an_idle_connection_to_the_target(self):
        self.network.nature = Nature(sizes=(4096,))
        more = f"X-Forwarded-For: {'1' * 20_000}\r\n"
        client = self.connect(said=GET + posting(LARGE, more=more) + b"x" * LARGE)
        self.answer()
        self.network.run(5)
        self.assertEqual(len(self.received()[1].rpartition(b"\r\n\r\n")[2]), LARGE)
        self.answer()
        self.assertEqual(client.received, OK * 2)


class SlowPeerTests(AnswerCase):
    """Connections whose peer takes nothing of what was written must be closed."""

    def setUp(self):
        super().setUp()
        self.network.nature = Nature(window=1000)

    def test_client_that_ends_its_direction_and_reads_nothing(self):
        client = self.connect()
        client.reading = False
        client.write(GET)
        client.fin()
        self.network.settle()
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"z" * 50_000)
        self.network.run(200)
        self.assertEqual(list(self.proxy.registry.live), [])

    def answered_unread(self, answer):
        """The target answers a request whose body it does not read."""
        client = self.connect(said=posting(50_000))
        target = self.backend.connections[0]
        target.reading = False
        client.write(b"x" * 50_000)
        self.network.run(1)
        self.answer(answer)
        self.assertIn(b"200 OK", client.received)
        return target

    def test_target_that_answers_a_body_which_it_does_not_read_and_closes(self):
        target = self.answered_unread(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        self.network.run(200)
        self.assertFalse(target.transport.peer.connected)

    def test_target_that_answers_a_body_which_it_does_not_read(self):
        target = self.answered_unread(OK)
        self.network.run(200)
        self.assertFalse(target.transport.peer.connected)

    def test_request_after_a_body_that_the_target_does_not_read(self):
        self.answered_unread(OK)
        other = self.connect(said=GET)
        self.network.run(1)
        self.assertEqual(len(self.backend.connections), 2)
        self.answer()
        self.assertEqual(other.received, OK)

    def test_client_is_not_read_while_a_new_connection_to_a_target_is_full(self):
        made = self.network.pair

        def pair(near, far):
            ends = made(near, far)
            if far[1] == 9000:
                ends[1].reading = False
            else:
                for end in ends:
                    end.nature = Nature(window=200_000)
            return ends

        self.network.pair = pair
        client = self.connect(said=posting(1_000_000) + b"x" * 150_000)
        to_target = self.backend.connections[0].transport.peer
        self.assertGreater(len(to_target.out), 64 * 1024)
        before = len(to_target.out)
        client.write(b"x" * 100_000)
        self.network.settle()
        self.assertEqual(len(to_target.out), before)


class ContinueTests(NetworkTestCase):
    def serve(self, begin):
        """A handler that answers with the pieces of the body, behind ``begin``."""

        async def echo(exchange):
            async def pieces():
                for piece in begin:
                    yield piece
                async for piece in exchange.body:
                    yield piece

            await exchange.respond(200, {}, pieces())

        self.start(served(echo, ports=80))
        client = self.connect(said=posting(2, more="Expect: 100-continue\r\n"))
        self.network.run(1)
        before = bytes(client.received)
        client.write(b"ok")
        self.network.run(1)
        return before, bytes(client.received[len(before) :])

    def test_continue_before_the_begin_of_the_answer(self):
        """A client that waits for it would else wait for ever: the head of the answer is not what it waits for."""
        before, after = self.serve([])
        self.assertEqual(before, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertTrue(after.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertTrue(after.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n"))

    def test_no_continue_after_the_begin_of_the_answer(self):
        before, after = self.serve([b"a"])
        self.assertTrue(before.endswith(b"\r\n\r\n1\r\na\r\n"))
        self.assertEqual(after, b"2\r\nok\r\n0\r\n\r\n")

    def test_client_that_leaves_before_it_is_told_to_continue(self):
        closed = []

        async def echo(exchange):
            async def pieces():
                try:
                    async for piece in exchange.body:
                        yield piece
                finally:
                    closed.append(True)

            await exchange.respond(200, {}, pieces())

        self.start(served(echo, ports=80))
        self.connect(said=posting(2, more="Expect: 100-continue\r\n")).rst()
        self.network.run(1)
        self.assertEqual((closed, self.proxy.registry.active), ([True], 0))


class AnswerWithinRequestTests(AnswerCase):
    """A target may begin to answer while the client still sends: from then on only ``inactivityTimeout`` holds."""

    BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"

    def exchange_with(self, inactivity, http):
        self.update(http_route(http=http).model_copy(update={"inactivity_timeout": inactivity}))
        client = self.connect(said=posting(10) + b"he")
        self.answer(self.BEGUN)
        client.write(b"llo")
        self.network.settle()
        return client

    def test_exchange_without_inactivity_timeout_is_not_ended(self):
        client = self.exchange_with(0, {})
        self.network.run(3600)
        client.write(b"world")
        self.network.settle()
        self.answer(b"world")
        self.assertTrue(client.received.endswith(b"helloworld"))

    def test_silent_exchange_without_request_timeout_is_ended(self):
        client = self.exchange_with(60, {"request_timeout": 0})
        self.network.run(200)
        self.assertTrue(client.was_reset)
