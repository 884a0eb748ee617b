"""Connections of clients across a change of routes: a request is answered by those in force when it is received."""

from __future__ import annotations

import gc

from smartproxy import Route
from smartproxy.phases.exchange import ExchangeHttp
from tests.http.case import GET
from tests.on_network import NetworkTestCase, a_route
from tests.sessions.tls_case import TlsTestCase

LAST = b"\r\nConnection: close\r\n"


def saying(text, name="web", *, http=None, tls=None, security=None, **match):
    """A route that answers with ``text``."""
    action = {"type": "respond", "protocol": "http", "response": {"body": text}, "http": http or {}}
    if tls is not None:
        action["tls"] = tls
    match = {"ports": 80 if tls is None else 443, **match}
    return Route(name=name, match=match, action=action, security=security or {})


def exchanges():
    """How many configurations of listeners are in memory."""
    gc.collect()
    return sum(type(each) is ExchangeHttp for each in gc.get_objects())


class ChangedRoutesTests(NetworkTestCase):
    def setUp(self):
        super().setUp()
        self.start(saying("before"))
        self.client = self.connect()

    def answer(self, request=GET):
        """The answer to ``request``: head, and body."""
        before = len(self.client.received)
        self.client.write(request)
        self.network.settle()
        head, _, body = bytes(self.client.received[before:]).partition(b"\r\n\r\n")
        return head + b"\r\n", body

    def assert_said(self, text, *, last=False, request=GET):
        head, body = self.answer(request)
        self.assertEqual((body, LAST in head), (text, last))
        self.assertEqual(self.client.ended, last)

    def test_next_request_of_a_connection(self):
        self.assert_said(b"before")
        for text in ("after", "much later"):
            self.update(saying("between"))
            self.update(saying(text))
            self.assert_said(text.encode())

    def test_a_route_that_moved_to_another_listener_ends_its_connections(self):
        for ports, address in ((81, ""), (80, "10.0.0.1")):
            self.assert_said(b"before")
            self.update(saying("moved", ports=ports, address=address), a_route("raw"))
            self.assert_said(b"before", last=True)
            self.update(saying("before"))
            self.client = self.connect()

    def test_first_request_of_a_connection_from_before(self):
        self.update(saying("after"))
        self.assert_said(b"after")

    def test_request_that_is_received_in_pieces(self):
        self.assertEqual(self.answer(GET[:9])[1], b"")
        self.update(saying("after"))
        self.assert_said(b"after", request=GET[9:])

    def test_request_whose_body_is_under_way_is_answered_as_it_began(self):
        self.assertEqual(self.answer(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")[0], b"\r\n")
        self.update(saying("after"))
        self.assert_said(b"before", request=b"2")
        self.assert_said(b"after")

    def test_route_that_is_new(self):
        self.assert_said(b"before")
        self.update(saying("before"), saying("new", name="new", path="/"))
        self.assert_said(b"new")

    def test_narrower_limits(self):
        self.update(saying("after", http={"maxHeaderSize": 1024}))
        head, _ = self.answer(GET[:-2] + b"X: %b\r\n\r\n" % (b"x" * 1024))
        self.assertTrue(head.startswith(b"HTTP/1.1 431 "), head)

    def test_client_that_is_not_admitted_any_more(self):
        self.assert_said(b"before")
        self.update(saying("after", security={"ipBlockList": ["0.0.0.0/0", "::/0"]}))
        self.assertTrue(self.answer()[0].startswith(b"HTTP/1.1 403 "))

    def test_time_between_requests(self):
        self.assert_said(b"before")
        self.update(saying("after", http={"keepAliveTimeout": "5s"}))
        self.assert_said(b"after")
        self.network.run(6)
        self.assertTrue(self.client.ended)

    def test_listener_on_a_wider_address(self):
        self.network.stop(self.proxy)
        self.start(saying("before", address="127.0.0.1"))
        self.client = self.connect()
        self.assert_said(b"before")
        self.update(saying("after"))
        self.assert_said(b"after")

    def test_connection_that_cannot_be_had_any_more_gets_a_last_answer(self):
        for routes in (
            [saying("other", name="other")],  # its route is removed
            [a_route()],  # speaks HTTP no more
            [saying("after", ports=81)],  # the listener is closed
        ):
            self.network.stop(self.proxy)
            self.start(saying("before"))
            self.client = self.connect()
            self.assert_said(b"before")
            self.update(*routes)
            self.assert_said(b"before", last=True)

    def test_idle_connection_keeps_one_former_configuration_at_most(self):
        self.assert_said(b"before")
        self.update(saying("after"))
        after_one = exchanges()
        for _ in range(4):
            self.update(saying("after"))
        self.assertEqual(exchanges(), after_one)
        self.assert_said(b"after")


class ChangedTlsTests(TlsTestCase):
    def setUp(self):
        super().setUp()
        self.begin(self.saying("before"))

    def begin(self, *routes):
        self.start(*routes)
        self.end = self.connect()

    def saying(self, text, name="web", *, tls=None, **match):
        """Settings of a route that answers with ``text``."""
        tls = {"mode": "terminate", "certificate": self.certificate} | (tls or {})
        action = {"type": "respond", "protocol": "http", "response": {"body": text}, "tls": tls}
        return {"name": name, "match": {"ports": 443, **match}, "action": action}

    def update(self, *routes):
        self.network.result(self.proxy.update_routes([Route.model_validate(route) for route in routes]))

    def assert_said(self, text, *, last=False, path=b"/"):
        before = len(self.end.received)
        self.end.write(b"GET %b HTTP/1.1\r\nHost: a.example\r\n\r\n" % path)
        self.settle()
        head, _, body = bytes(self.end.received[before:]).partition(b"\r\n\r\n")
        self.assertEqual((body, LAST in head + b"\r\n"), (text, last))

    def test_terms_that_are_the_same(self):
        self.assert_said(b"before")
        self.update(self.saying("after", tls={"certificate": self.pem("a.example")}))
        self.assert_said(b"after")

    def test_route_that_is_new_on_the_same_terms(self):
        self.update(self.saying("before"), self.saying("api", name="api", path="/api/*"))
        for path in (b"/", b"/api/1", b"/"):
            self.assert_said(b"api" if path != b"/" else b"before", path=path)

    def test_terms_that_have_changed(self):
        for terms in ({"minVersion": "1.3"}, {"clientAuth": {"ca": self.ca, "mode": "request"}}):
            self.network.stop(self.proxy)
            self.begin(self.saying("before"))
            self.assert_said(b"before")
            self.update(self.saying("after", tls=terms))
            self.assert_said(b"before", last=True)

    def test_route_with_other_terms_that_is_for_this_name_now(self):
        self.update(
            self.saying("after"),
            self.saying("strict", name="strict", tls={"minVersion": "1.3"}, domains=["a.example"]),
        )
        self.assert_said(b"before", last=True)

    def test_route_that_is_plain_now(self):
        plain = self.saying("after")
        del plain["action"]["tls"]
        self.update(plain)
        self.assert_said(b"before", last=True)

    def test_route_of_tcp_that_is_for_this_name_now(self):
        special = self.route("special", match={"domains": ["a.example"]})
        special["action"]["protocol"] = "tcp"
        self.update(self.saying("after"), special)
        self.assert_said(b"before", last=True)
