"""What a kept connection does between its requests, and at its end: each request has terms and an end of its own."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred

from smartproxy import Route
from smartproxy.http.downstream1 import HttpDownstream
from tests.http.case import GET, OK, AnswerCase, http_route, parts
from tests.on_network import NetworkTestCase, served

BLOCKS_ALL = {"ipBlockList": ["0.0.0.0/0", "::/0"]}


def saying(text, name, *, ports=80, action=None, match=None, **more):
    """A route that answers with ``text``."""
    action = {"type": "respond", "protocol": "http", "response": {"body": text}, **(action or {})}
    return Route(name=name, match={"ports": ports, **(match or {})}, action=action, **more)


def asking(path="/", host="a.test", version="1.1", more=""):
    return f"GET {path} HTTP/{version}\r\nHost: {host}\r\n{more}\r\n".encode()


class SaidCase(NetworkTestCase):
    def said(self, client, request=GET):
        before = len(client.received)
        client.write(request)
        self.network.settle()
        return parts(client.received[before:])


class SizeTests(NetworkTestCase):
    def test_attributes_are_in_slots(self):
        """A dict of over thirty attributes takes a KiB and more of each connection, however long it is idle."""
        kinds = [kind for kind in HttpDownstream.__mro__ if kind is not object]
        self.assertEqual([kind for kind in kinds if "__slots__" not in vars(kind)], [])


class HeldTests(AnswerCase):
    def test_pipelined_requests_that_are_held(self):
        client = self.connect(said=GET)
        (connection,) = self.proxy._runtime.http_clients
        client.write(GET * 100_000)
        most = 0
        for _ in range(20):
            self.network.settle()
            most = max(most, len(connection._held))
            self.answer()
        self.assertLess(most, 256 * 1024)


class EndTests(AnswerCase):
    def test_answer_begun_before_the_drain(self):
        client = self.connect(said=GET)
        self.answer(OK[:-1])
        self.proxy.drain()
        self.answer(OK[-1:])
        self.assertEqual(client.received, OK)
        self.network.run(1)
        self.assertTrue(client.ended)

    def test_answer_begun_before_the_end_of_the_lifetime(self):
        self.network.stop(self.proxy)
        self.start(
            Route(name="web", match={"ports": 80}, max_connection_lifetime="10s", action=http_route().action)
        )
        client = self.connect(said=GET)
        self.answer(OK[:-1])
        self.network.run(20)
        self.answer(OK[-1:])
        self.network.run(1)
        self.assertTrue(client.ended)

    def test_answer_begun_before_the_end_of_its_request_without_inactivity_timeout(self):
        self.network.stop(self.proxy)
        action = http_route(http={"requestTimeout": "5s"}).action
        self.start(Route(name="web", match={"ports": 80}, inactivity_timeout=0, action=action))
        client = self.connect(said=b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        self.answer(OK[:-1])
        client.write(b"2")
        self.network.run(20)
        self.answer(OK[-1:])
        self.assertTrue(client.received.endswith(b"ok"), client.received)


class OwnTermsTests(SaidCase):
    def page(self):
        file = Path(self.mktemp() + ".html")
        file.write_bytes(b"mine")
        return {403: str(file.absolute())}

    def test_error_page_of_the_route_that_refuses_a_later_request(self):
        own = {"errorPages": self.page()}
        self.start(
            saying("open", "open"),
            http_route("closed", path="/closed", action=own).model_copy(
                update={"security": saying("", "x", security=BLOCKS_ALL).security}
            ),
        )
        first = parts(self.connect(said=asking("/closed")).received)
        self.assertEqual((first[0], first[2]), (403, b"mine"))
        later = self.said(self.connect(said=GET), asking("/closed"))
        self.assertEqual((later[0], later[2]), (403, b"mine"))

    def test_later_request_that_is_blocked_does_not_have_the_limits_of_the_route_before(self):
        self.start(
            saying("small", "small", action={"http": {"maxBodySize": 1}}),
            Route(name="no", match={"ports": 80, "path": "/no"}, action={"type": "block"}),
        )
        post = b"POST /no HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        self.assertEqual(parts(self.connect(said=post).received)[0], 403)
        client = self.connect(said=GET)
        self.assertEqual(self.said(client, post)[0], 403)


class LeavingTests(NetworkTestCase):
    def left(self, *paths):
        """Whether the handler of the last one of these pipelined requests has ended 60 s behind the end of its client."""
        first, ended = Deferred(), []

        async def handle(exchange):
            try:
                await (first if exchange.path == "/first" else Deferred())
            finally:
                ended.append(exchange.path)
            await exchange.respond(200)

        self.start(served(handle, ports=80))
        client = self.connect(said=b"".join(map(asking, paths)))
        client.fin()
        self.network.run(0.5)
        first.callback(None)
        self.network.run(60)
        has_ended = "/wait" in ended
        self.network.stop(self.proxy)
        return has_ended

    def test_handler_of_a_pipelined_request_whose_client_has_left(self):
        self.assertEqual([self.left("/wait"), self.left("/first", "/wait")], [True, True])


class WhoEndedItTests(AnswerCase):
    def test_request_that_the_proxy_ends(self):
        details = []
        for end in (
            lambda: self.proxy.end_connection(next(iter(self.proxy.registry.live))),
            lambda: self.network.stop(self.proxy),
        ):
            self.log_to(http_route())
            self.connect(said=GET)
            self.answer(OK[:-1])
            end()
            (line,) = self.lines()
            details.append(line["detail"])
        self.assertNotIn("the client has left", details)

    def test_request_that_is_reset_by_a_route_that_blocks(self):
        no = Route(name="no", match={"ports": 80, "path": "/no"}, action={"type": "block", "mode": "reset"})
        self.log_to(http_route(), no)
        client = self.connect()
        self.exchange(client)
        client.write(asking("/no"))
        self.network.settle()
        self.assertTrue(client.was_reset)
        line = self.lines()[-1]
        self.assertEqual((line["path"], line["detail"]), ("/no", "the route blocks every client"))
