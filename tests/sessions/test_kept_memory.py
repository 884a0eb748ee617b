"""What an established connection keeps of its client's first bytes: no more than is still needed."""

from __future__ import annotations

from smartproxy import Route
from smartproxy.wire import client_hello
from smartproxy.wire.client_hello import ClientHello
from smartproxy.wire.http_fields import Fields
from tests.http.case import http_route
from tests.on_network import HOST, NetworkTestCase
from tests.reachable import reachable

COOKIE = b"Cookie: " + b"c" * 60_000
REQUEST = b"GET /a HTTP/1.1\r\nHost: a.test\r\n%b\r\n\r\n" % COOKIE
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: It takes 60 KB, and 1.2 MB when it is parsed.
HELLO = client_hello.build("a.test", cipher_suites=range(1000, 31_000))


class KeptTests(NetworkTestCase):
    def large_heads(self):
        return [each for each in reachable(Fields) if COOKIE in each.block]

    def established(self, first, *routes):
        """A connection that is relayed, or has been answered."""
        self.start(*routes)
        client = self.connect(80, first)
        self.backend.connections[0].write(OK)
        self.network.run(3)  # the dial is not watched any more
        self.assertEqual(client.received[:8], OK[:8])
        return client

    def test_a_relayed_connection_keeps_no_client_hello(self):
        route = Route(
            name="tls",
            match={"ports": 80, "domains": ["a.test"]},
            action={"targets": [{"host": HOST, "port": 9000}]},
        )
        self.established(HELLO, route)
        self.assertEqual(reachable(ClientHello), [])

    def test_a_relayed_connection_keeps_no_head(self):
        route = Route(
            name="tcp",
            match={"ports": 80, "path": "/a"},
            action={"targets": [{"host": HOST, "port": 9000}], "protocol": "tcp"},
        )
        self.established(REQUEST, route)
        self.assertEqual(self.large_heads(), [])

    def test_an_idle_http_connection_keeps_no_head(self):
        """With two routes the first head is looked at before it is known which speaks HTTP."""
        other = http_route("other", path="/other")
        client = self.established(REQUEST, http_route(path="/a"), other)
        self.assertEqual(self.large_heads(), [])
        client.write(b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.network.settle()
        self.backend.connections[0].write(OK)
        self.network.settle()
        self.assertEqual(client.received.count(b"200 OK"), 2)

    def test_of_a_long_path_is_kept_what_is_shown(self):
        request = b"GET /a%b HTTP/1.1\r\nHost: a.test\r\n\r\n" % (b"p" * 60_000)
        self.established(request, http_route(path="/a*"), http_route("other", path="/other"))
        (record,) = self.proxy.registry.live.values()
        self.assertEqual(record.path, "/a" + "p" * 510)

    def test_what_a_handler_is_given_is_bounded(self):
        given = []

        async def handler(connection):
            given.append(connection.facts.detected.hello)
            await connection.read()
            await connection.read()

        route = Route(
            name="served",
            match={"ports": 80, "domains": ["a.test"]},
            action={"type": "handler", "handler": handler},
        )
        self.start(route)
        self.connect(80, HELLO)
        self.assertEqual(given[0].server_name, "a.test")
        self.assertLess(len(given[0].cipher_suites), 200)
        self.assertEqual(reachable(ClientHello), given)
