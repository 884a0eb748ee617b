"""Requests on one connection within TLS: each gets the route that it would get on a connection of its own."""

from __future__ import annotations

import itertools

from tests.sessions.tls_case import TlsTestCase

#: What clients send, and the route that gets it.
REQUESTS = {
    b"GET / HTTP/1.1\r\n": "rest",
    b"GET /api/1 HTTP/1.1\r\n": "api",
    b"DELETE / HTTP/1.1\r\n": "deletes",
    b"GET / HTTP/1.1\r\nX-Env: test\r\n": "test",
    b"GET /?debug=1 HTTP/1.1\r\n": "debug",
}


class RequestsWithinTlsTests(TlsTestCase):
    def saying(self, name, *, tls=None, **match):
        """A route that answers with its name."""
        tls = tls or {"mode": "terminate", "certificate": self.certificate}
        action = {"type": "respond", "protocol": "http", "response": {"body": name}, "tls": tls}
        return {"name": name, "match": {"ports": 443, "domains": ["a.example"], **match}, "action": action}

    def said(self, end, request, host="a.example"):
        """The body of the answer to ``request``."""
        before = len(end.received)
        end.write(request + b"Host: %b\r\n\r\n" % host.encode())
        self.settle()
        return bytes(end.received[before:]).partition(b"\r\n\r\n")[2].decode()

    def test_whatever_was_asked_for_before(self):
        self.start(
            self.saying("api", path="/api/*"),
            self.saying("deletes", methods=["DELETE"]),
            self.saying("test", headers={"X-Env": "test"}),
            self.saying("debug", query={"debug": "1"}),
            self.saying("rest"),
        )
        for first, second in itertools.permutations(REQUESTS, 2):
            end = self.connect()
            said = [self.said(end, request) for request in (first, second, first)]
            self.assertEqual(said, [REQUESTS[first], REQUESTS[second], REQUESTS[first]])

    def test_route_on_other_terms_is_for_other_connections(self):
        tls = {"mode": "terminate", "certificate": self.certificate, "minVersion": "1.3"}
        self.start(self.saying("strict", tls=tls, path="/strict"), self.saying("rest"))
        strict = b"GET /strict HTTP/1.1\r\n"
        self.assertEqual(self.said(self.connect(), strict), "strict")
        # The most specific route has given each connection its terms, and no other one has the same.
        self.assertEqual(self.said(self.connect(), b"GET / HTTP/1.1\r\n"), "Not Found\n")
