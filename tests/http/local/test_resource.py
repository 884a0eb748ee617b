"""Resources of twisted.web as handlers."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from smartproxy.testing import MemoryNetwork, Nature
from tests.http.case import GET, OK, http_route
from tests.http.local.case import Answer, LocalCase, local_route, request


class Page(Resource):
    """Answers by a function."""

    isLeaf = True

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def render(self, request):
        return self.answer(request)


class ResourceCase(LocalCase):
    def mount(self, resource, **more):
        self.local(local_route(type="handler", handler=resource, **more))

    def page(self, answer, **more):
        self.mount(Page(answer), **more)


class ResourceTests(ResourceCase):
    def test_a_resource_answers_requests_of_a_connection(self):
        root = Resource()

        def plain(asked):
            asked.setHeader(b"content-type", b"text/plain")
            return b"content"

        root.putChild(b"a", Page(plain))
        self.mount(root)
        client = self.connect(81)
        for _ in range(2):
            answer = self.ask("/a", client=client)
            self.assertEqual(
                (answer.status, answer.content_type, answer.body), (200, "text/plain", b"content")
            )
            self.assertTrue(answer.has_date)
            self.assertIsNone(answer.server)
        head = self.ask("/a", method="HEAD", client=client)
        self.assertEqual((head.content_length, head.body), ("7", b""))
        self.assertEqual(self.ask("/a", client=client).body, b"content")

    def test_it_serves_beside_proxied_routes(self):
        self.local(
            local_route(
                "app", 80, match={"path": "/app/*"}, type="handler", handler=Page(lambda request: b"app")
            ),
            http_route(),
        )
        client = self.connect(80)
        self.assertEqual(self.ask("/app/", client=client).body, b"app")
        self.assertEqual(self.exchange(client, GET, OK), OK)
        self.assertEqual(self.ask("/app/", client=client).body, b"app")

    def test_a_callable_without_parameters_gives_the_resource_once(self):
        made = []

        def make():
            made.append(1)
            return Page(lambda request: b"made")

        @implementer(IResource)
        class Made(Page):
            def __init__(self):
                super().__init__(lambda request: b"class")

        self.mount(make)
        client = self.connect(81)
        self.assertEqual([self.ask(client=client).body for _ in range(3)], [b"made"] * 3)
        self.assertEqual(made, [1])
        self.mount(Made)
        self.assertEqual(self.ask().body, b"class")

    def test_a_callable_that_fails_is_a_500(self):
        def make():
            raise LookupError("secret")

        self.mount(make)
        answer = self.ask()
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"secret", answer.whole)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
        self.mount(lambda: "no resource")
        self.assertEqual(self.ask().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_a_resource_gets_the_request(self):
        seen = {}

        def answer(asked):
            seen.update(
                method=asked.method, uri=asked.uri, path=asked.path, args=asked.args, body=asked.content.read(),
                header=asked.getHeader("x-a"), client=asked.getClientAddress().host, secure=asked.isSecure(),
                cookie=asked.getCookie(b"c"), port=asked.getHost().port, host=asked.getRequestHostname(), proto=asked.clientproto,
            )  # fmt: skip
            return b""

        self.page(answer)
        more = "X-A: 1\r\nCookie: c=d\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        self.ask("/p?q=1", "a.example", "POST", more, b"b=2")
        self.assertEqual(
            seen,
            {
                "method": b"POST", "uri": b"/p?q=1", "path": b"/p", "args": {b"q": [b"1"], b"b": [b"2"]}, "body": b"b=2",
                "header": "1", "client": "192.0.2.1", "secure": False, "cookie": b"d", "port": 81, "host": b"a.example",
                "proto": b"HTTP/1.1",
            },
        )  # fmt: skip

    def test_headers_that_say_who_the_client_is_are_those_of_a_trusted_proxy(self):
        """An application believes them, as those of the proxy that it is behind."""
        claims = "X-Forwarded-Proto: https\r\nx_forwarded_for: 10.9.9.9\r\nX-Real-IP: 10.9.9.9\r\nForwarded: for=a\r\nProxy: b\r\n"

        def names(asked):
            return b" ".join(sorted(name.lower() for name, _ in asked.requestHeaders.getAllRawHeaders()))

        async def handle(exchange):
            await exchange.respond(200, body=" ".join(sorted(exchange.headers)).encode())

        for handler in (Page(names), handle):
            for trusted, seen in (
                ([], b"host x-other"),
                (
                    ["192.0.2.0/24"],
                    b"forwarded host proxy x-forwarded-proto x-other x-real-ip x_forwarded_for",
                ),
            ):
                with self.subTest(handler=handler, trusted=trusted):
                    self.network.stop(self.proxy)
                    route = local_route(type="handler", handler=handler)
                    self.start(route, proxy_ips=trusted, accept_proxy_protocol=False)
                    self.assertEqual(self.ask(more=claims + "X-Other: 1\r\n").body, seen)

    def test_one_that_raises_is_a_500_with_nothing_internal(self):
        def answer(asked):
            raise LookupError("secret")

        self.page(answer)
        got = self.ask()
        self.assertEqual(got.status, 500)
        self.assertNotIn(b"secret", got.whole)
        self.assertNotIn(b"Traceback", got.whole)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)

    def test_an_answer_may_be_late_and_in_pieces(self):
        asked = []

        def answer(request):
            asked.append(request)
            return NOT_DONE_YET

        self.page(answer)
        client = self.connect(81, request("/late"))
        self.assertEqual(client.received, b"")
        asked[0].write(b"one")
        self.network.settle()
        self.assertTrue(client.received.endswith(b"3\r\none\r\n"), client.received)
        asked[0].write(b"two")
        asked[0].finish()
        self.network.settle()
        self.assertTrue(client.received.endswith(b"3\r\ntwo\r\n0\r\n\r\n"))
        self.assertFalse(client.ended)
        client.write(request("/again"))
        self.network.settle()
        self.assertEqual(len(asked), 2)
        asked[1].finish()
        self.network.settle()
        self.assertTrue(client.received.endswith(b"0\r\n\r\n"))

    def test_an_answer_shorter_than_its_length_cuts_the_connection(self):
        def answer(asked):
            asked.setHeader(b"content-length", b"10")
            asked.write(b"abc")
            asked.finish()
            return NOT_DONE_YET

        self.page(answer)
        client = self.connect(81, request())
        self.assertTrue(client.was_reset)

    def test_a_body_over_the_limit_is_a_413(self):
        self.page(lambda asked: b"", http={"max_body_size": 1000})
        self.assertEqual(self.ask(method="POST", body=bytes(1001)).status, 413)
        self.assertEqual(self.ask(method="POST", body=bytes(1000)).status, 200)

    def test_a_reason_phrase_begins_no_field(self):
        def answer(asked):
            asked.setResponseCode(200, b"OK\r\nSet-Cookie: a=b")
            return b""

        self.page(answer)
        got = self.ask()
        self.assertEqual((got.whole[:17], got.set_cookie), (b"HTTP/1.1 200 OK\r\n", None))

    def test_a_form_that_cannot_be_parsed_is_a_400(self):
        self.page(lambda asked: b"")
        more = "Content-Type: multipart/form-data; boundary=x\r\n"
        self.assertEqual(self.ask(method="POST", more=more, body=b"rubbish").status, 400)

    def test_a_client_that_expects_100_gets_it(self):
        self.page(lambda asked: asked.content.read())
        client = self.connect(
            81, request(method="POST", more="Expect: 100-continue\r\nContent-Length: 3\r\n")
        )
        self.assertEqual(client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.write(b"abc")
        self.network.settle()
        self.assertTrue(client.received.endswith(b"abc"))


class EndTests(ResourceCase):
    def test_a_client_that_disconnects_is_told_of(self):
        for leave in ("rst", "close"):
            ends = []

            def answer(asked):
                asked.notifyFinish().addBoth(ends.append)  # noqa: B023 - of this turn
                return NOT_DONE_YET

            self.page(answer)
            getattr(self.connect(81, request()), leave)()
            self.network.run(2.5)
            self.assertEqual((len(ends), self.proxy.registry.active), (1, 0), leave)

    def test_the_end_of_an_answer_is_told_of(self):
        ends = []

        def answer(asked):
            asked.notifyFinish().addCallback(ends.append)
            return b"x"

        self.page(answer)
        self.ask()
        self.assertEqual(ends, [None])

    def test_an_answer_after_the_client_left_has_no_effect(self):
        go_on = Deferred()

        def answer(asked):
            def late(_):
                asked.write(b"late")
                asked.finish()

            go_on.addCallback(late)
            return NOT_DONE_YET

        self.page(answer)
        self.connect(81, request()).rst()
        self.network.settle()
        errors = []
        go_on.addErrback(errors.append)
        go_on.callback(None)
        self.assertEqual(
            [error.type for error in errors], [RuntimeError]
        )  # twisted.web's: notifyFinish was not used


class PushedNumbers:
    """A producer that writes as long as it is not paused."""

    def __init__(self, asked):
        self.asked, self.left, self.is_paused, self.is_stopped = asked, 40, False, False

    def resumeProducing(self):
        self.is_paused = False
        while not self.is_paused and self.left:
            self.left -= 1
            self.asked.write(bytes(50_000))
            if not self.left:
                self.asked.unregisterProducer()
                self.asked.finish()

    def pauseProducing(self):
        self.is_paused = True

    def stopProducing(self):
        self.is_stopped = True


class PulledNumbers(PushedNumbers):
    """A producer that writes when it is asked."""

    def resumeProducing(self):
        self.left -= 1
        self.asked.write(bytes(50_000))
        if not self.left:
            self.asked.unregisterProducer()
            self.asked.finish()


class ProducerTests(ResourceCase):
    def produce(self, kind, streaming):
        self.network.stop(self.proxy)
        self.network = MemoryNetwork(Nature(window=50_000))
        self.backend = self.network.backend("10.0.0.5", 9000)
        self.made = []

        def answer(asked):
            producer = kind(asked)
            self.made.append(producer)
            asked.registerProducer(producer, streaming)
            if streaming:
                producer.resumeProducing()
            return NOT_DONE_YET

        self.start(local_route(type="handler", handler=Page(answer)))
        client = self.connect(81)
        client.reading = False
        client.write(request())
        self.network.settle()
        return client

    def test_producers_are_paused_by_a_slow_client(self):
        for kind, streaming in ((PushedNumbers, True), (PulledNumbers, False)):
            client = self.produce(kind, streaming)
            self.assertGreater(self.made[0].left, 30)
            client.reading = True
            self.network.run(1)
            self.assertEqual(self.made[0].left, 0)
            self.assertTrue(client.received.endswith(b"\r\n0\r\n\r\n"))
            self.assertEqual(Answer(bytes(client.received)).status, 200)

    def test_producers_are_stopped_when_the_client_leaves(self):
        for kind, streaming in ((PushedNumbers, True), (PulledNumbers, False)):
            client = self.produce(kind, streaming)
            client.rst()
            self.network.settle()
            self.assertTrue(self.made[0].is_stopped)
            self.assertEqual(self.proxy.registry.active, 0)
