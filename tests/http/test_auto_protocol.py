"""``protocol: auto``: HTTP is spoken where requests decide between the routes of a port, on connections that begin with one.

The first request of a connection alone must not decide: a client could ask for what anyone may see, and then, on the same
connection, for what another route refuses it.
"""

from __future__ import annotations

from smartproxy import Route
from tests.http.case import OK, SWITCHED, UPGRADE, parts
from tests.on_network import NetworkTestCase
from tests.sessions.tls_case import TlsTestCase

HOSTS = {"api": "10.0.0.31", "rest": "10.0.0.32"}


def forwarding(name, *, match=None, action=None, **more):
    action = {"targets": [{"host": HOSTS[name], "port": 9000}], **(action or {})}
    return Route(name=name, match={"ports": 80, **(match or {})}, action=action, **more)


def asking(path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: a.test\r\n{more}\r\n".encode()


async def answering(exchange):
    await exchange.respond(200, body=b"answered")


def choosing(facts):
    return answering


API = forwarding("api", match={"path": "/api/*"})
REST = forwarding("rest")


class AutoCase(NetworkTestCase):
    def setUp(self):
        super().setUp()
        self.backends = {name: self.network.backend(host, 9000) for name, host in HOSTS.items()}

    def seen_by(self, name):
        """What the target of a route was sent on its last connection."""
        return bytes(self.backends[name].connections[-1].received)

    def ask(self, client, path, name):
        """Ask for ``path`` on a connection that may be kept; the target of the route ``name`` answers."""
        before = len(client.received)
        client.write(asking(path))
        self.network.settle()
        self.assertIn(f"GET {path} HTTP/1.1\r\n".encode(), self.seen_by(name))
        self.backends[name].connections[-1].write(OK)
        self.network.settle()
        self.assertEqual(parts(client.received[before:])[0], 200)

    def assert_keeps_out(self, client):
        """Behind a request for the route ``rest``, one for another name is refused, and no target gets it."""
        self.ask(client, "/", "rest")
        client.write(asking("/secret").replace(b"a.test", b"api.test"))
        self.network.settle()
        self.assertIn(b"HTTP/1.1 403 ", client.received)
        self.assertNotIn(b"secret", self.seen_by("rest"))


class RoutesByRequestTests(AutoCase):
    def test_each_request_of_a_connection_has_its_own_route(self):
        for match in ({"path": "/api/*"}, {"query": {"v": "*"}}):
            self.start(forwarding("api", match=match), REST)
            client = self.connect()
            for path, name in (("/", "rest"), ("/api/a?v=1", "api"), ("/b", "rest")):
                self.ask(client, path, name)
            self.assertIn(b"X-Forwarded-For: ", self.seen_by("rest"))
            self.network.stop(self.proxy)

    def test_a_later_request_is_refused_by_the_lists_of_its_own_route(self):
        self.start(
            forwarding("api", match={"path": "/api/*"}, security={"ip_block_list": ["0.0.0.0/0"]}), REST
        )
        client = self.connect()
        self.ask(client, "/", "rest")
        client.write(asking("/api/secret"))
        self.network.settle()
        self.assertIn(b"HTTP/1.1 403 ", client.received)
        self.assertEqual(self.backends["api"].connections, [])

    def test_a_later_request_meets_a_route_that_blocks(self):
        self.start(Route(name="no", match={"ports": 80, "path": "/api/*"}, action={"type": "block"}), REST)
        client = self.connect()
        self.ask(client, "/", "rest")
        client.write(asking("/api/secret"))
        self.network.settle()
        self.assertIn(b"HTTP/1.1 403 ", client.received)

    def test_a_reload_finds_the_route_of_the_next_request(self):
        self.start(API, REST)
        client = self.connect()
        self.ask(client, "/api/a", "api")
        self.update(forwarding("api", match={"path": "/other"}), REST)
        self.ask(client, "/api/a", "rest")

    def test_names_of_a_route_that_speaks_http_count(self):
        named = forwarding("api", match={"domains": ["api.test"]}, action={"protocol": "http"})
        self.start(named, REST)
        client = self.connect()
        self.ask(client, "/", "rest")
        client.write(asking("/").replace(b"a.test", b"api.test"))
        self.network.settle()
        self.assertIn(b"Host: api.test", self.seen_by("api"))

    def test_names_count_where_another_route_speaks_http(self):
        named = forwarding("api", match={"domains": ["api.test"]})
        respond = {"type": "respond", "response": {"status": 200, "body": "rest"}}
        for rest in (
            forwarding("rest", action={"protocol": "http"}),
            Route(name="rest", match={"ports": 80}, action=respond),
            Route(name="rest", match={"ports": 80}, action={"type": "handler", "handler": answering}),
            Route(name="rest", match={"ports": 80}, action={"type": "handler", "handler": choosing}),
        ):
            self.start(named, rest)
            client = self.connect(said=asking("/"))
            if self.backends["rest"].connections:
                self.backends["rest"].connections[-1].write(OK)
            client.write(asking("/named").replace(b"a.test", b"api.test"))
            self.network.settle()
            self.assertIn(b"GET /named ", self.seen_by("api"), rest.action)
            self.network.stop(self.proxy)

    def test_a_later_request_meets_a_handler_by_its_name(self):
        match = {"ports": 80, "domains": ["api.test"]}
        self.start(Route(name="h", match=match, action={"type": "handler", "handler": answering}), REST)
        client = self.connect()
        self.ask(client, "/", "rest")
        client.write(asking("/").replace(b"a.test", b"api.test"))
        self.network.settle()
        self.assertTrue(client.received.endswith(b"answered"))

    def test_a_later_request_meets_a_route_that_blocks_its_name(self):
        match = {"ports": 80, "domains": ["no.test"]}
        self.start(Route(name="no", match=match, action={"type": "block"}), REST)
        client = self.connect()
        self.ask(client, "/", "rest")
        client.write(asking("/").replace(b"a.test", b"no.test"))
        self.network.settle()
        self.assertIn(b"HTTP/1.1 403 ", client.received)

    def test_each_port_of_a_route_counts_by_itself(self):
        named = forwarding("api", match={"domains": ["api.test"]})
        asked = Route(name="asked", match={"ports": 81, "path": "/x"}, action={"type": "block"})
        self.start(named, asked, forwarding("rest", match={"ports": "80-81"}))
        self.connect(80, asking("/"))
        self.assertEqual(self.seen_by("rest"), asking("/"))
        self.connect(81, asking("/"))
        self.assertIn(b"X-Forwarded-For", self.seen_by("rest"))

    def test_a_reload_after_which_only_another_port_counts_ends_the_connection(self):
        rest = forwarding("rest", match={"ports": "80-81"})
        asked = Route(name="asked", match={"ports": 81, "path": "/x"}, action={"type": "block"})
        self.start(API, asked, rest)
        client = self.connect()
        self.ask(client, "/", "rest")
        self.update(asked, rest)
        self.ask(client, "/", "rest")
        self.assertTrue(client.ended)

    def test_names_of_a_route_with_lists_count(self):
        """Targets of several names are often one server, which goes by the Host of each request."""
        for lists in ({"ip_block_list": ["0.0.0.0/0"]}, {"ip_allow_list": ["10.9.9.9"]}):
            self.start(forwarding("api", match={"domains": ["api.test"]}, security=lists), REST)
            client = self.connect()
            self.assert_keeps_out(client)
            self.network.stop(self.proxy)

    def test_a_route_with_the_lists_of_defaults_counts(self):
        """Another route of the port is open to everyone."""
        open_ = forwarding("rest", match={"domains": ["a.test"]}, security={"ip_allow_list": []})
        closed = forwarding("api", match={"domains": ["api.test"]})
        self.start(open_, closed, defaults={"security": {"ip_allow_list": ["10.9.9.9"]}})
        client = self.connect()
        self.assert_keeps_out(client)

    def test_a_route_for_other_names_counts(self):
        """A client with a name that all may have must not get past the route of all other names."""
        named = forwarding("api", match={"domains": ["api.test"]})
        for other in (
            Route(name="no", match={"ports": 80}, action={"type": "block"}),
            forwarding("rest", security={"ip_block_list": ["0.0.0.0/0"]}),
        ):
            self.start(named, other)
            client = self.connect(said=asking("/").replace(b"a.test", b"api.test"))
            self.backends["api"].connections[-1].write(OK)
            self.network.settle()
            client.write(asking("/secret"))
            self.network.settle()
            self.assertIn(b"HTTP/1.1 403 ", client.received)
            self.assertNotIn(b"secret", self.seen_by("api"))
            self.network.stop(self.proxy)

    def test_an_upgraded_connection_has_the_timeout_of_tunnels(self):
        self.start(API, forwarding("rest", inactivity_timeout="10s", keep_alive=False))
        client = self.connect(said=UPGRADE)
        self.backends["rest"].connections[-1].write(SWITCHED)
        self.network.settle()
        self.network.run(60)
        client.write(b"frames")
        self.network.settle()
        self.assertTrue(self.seen_by("rest").endswith(b"frames"))
        self.assertFalse(client.ended)


class MalformedRequestsTests(AutoCase):
    """A target that is not as strict might read them, and the requests behind them, as ones for another route."""

    def test_a_first_request_that_cannot_be_read_is_refused(self):
        for head, status in (
            (b"GET /api/x HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
            (b"GET /api/x HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400),
            (b"GET /api/x HTTP/1.1\nHost: a\n\n", 400),
            (b"GET /api/x HTTP/1.1\r\n\r\n", 400),
            (b"GET /api/x#y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET http://b/api/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET api HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET /api/x\r\n", 400),
            (b"GET /api/x HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            (b"GET /api/x HTTP/1.1\r\nHost: a\r\nX: " + bytes(70_000).replace(b"\0", b"x"), 431),
            (b"GET /api/" + bytes(70_000).replace(b"\0", b"x"), 414),
            (b"\r\nGET /api/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"\r\n", 400),
            (b" GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ):
            self.start(API, REST)
            client = self.connect(said=head)
            self.assertEqual(parts(client.received)[0], status, head[:60])
            self.network.stop(self.proxy)
        self.assertEqual(self.backends["rest"].connections, [])

    def test_any_word_may_be_a_method(self):
        """Each request with one is routed as others are, where the line is there at once."""
        for method in ("get", "A_B", "A" * 20):
            self.start(API, REST)
            self.connect(said=asking("/api/x").replace(b"GET", method.encode()))
            self.assertIn(f"{method} /api/x HTTP/1.1\r\n".encode(), self.seen_by("api"))
            self.network.stop(self.proxy)
        self.assertEqual(self.backends["rest"].connections, [])

    def test_it_is_refused_byte_by_byte_too(self):
        self.start(API, REST)
        client = self.connect()
        for byte in b"GET /api/x HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n":
            client.write(bytes([byte]))
            self.network.settle()
        self.assertEqual(parts(client.received)[0], 400)
        self.assertEqual(self.backends["rest"].connections, [])

    def test_protocols_with_the_words_of_http_are_forwarded_as_they_are(self):
        for said in (
            b"OPTIONS rtsp://a.test/x RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            b"SOURCE /mount ICE/1.0\r\n\r\n",
            b"GET key\r\n",
        ):
            self.start(API, REST)
            self.connect(said=said)
            self.assertEqual(self.seen_by("rest"), said)
            self.network.stop(self.proxy)


class OtherBytesTests(AutoCase):
    def test_what_is_no_request_is_forwarded_as_it_is(self):
        self.start(API, forwarding("rest", inactivity_timeout="10s", keep_alive=False))
        client = self.connect(said=b"SSH-2.0-client\r\n")
        self.assertEqual(self.seen_by("rest"), b"SSH-2.0-client\r\n")
        self.backends["rest"].connections[-1].write(b"SSH-2.0-server\r\n")
        self.network.settle()
        self.assertEqual(client.received, b"SSH-2.0-server\r\n")
        self.network.run(30)
        self.assertTrue(client.was_reset, "inactivityTimeout")

    def test_http_2_is_forwarded_as_it_is(self):
        self.start(API, REST)
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self.connect(said=preface)
        self.assertEqual(self.seen_by("rest"), preface)

    def test_a_request_is_forwarded_as_it_is_where_none_is_asked_for(self):
        for routes in (
            (REST,),
            (forwarding("rest", match={"domains": ["a.test"]}),),
            (forwarding("api", match={"ports": 81, "path": "/api/*"}), REST),
            (API, forwarding("rest", action={"protocol": "tcp"})),
            (forwarding("api", match={"path": "/api/*"}, enabled=False), REST),
        ):
            self.start(*routes)
            self.connect(said=asking("/"))
            self.assertEqual(self.seen_by("rest"), asking("/"))
            self.network.stop(self.proxy)

    def test_a_refused_client_that_has_sent_nothing_is_not_answered(self):
        """Whether it speaks HTTP is not known."""
        self.start(API, forwarding("rest"), max_connections_per_ip=1)
        self.connect(client=("192.0.2.7", 1))
        self.assertEqual(self.connect(client=("192.0.2.7", 2)).received, b"")


class WithinTlsTests(TlsTestCase):
    def setUp(self):
        super().setUp()
        tls = {"mode": "terminate", "certificate": self.pem("a.example")}
        self.backends = {name: self.network.backend(host, 9000) for name, host in HOSTS.items()}
        routes = [
            {
                "name": name,
                "match": {"ports": 443, **match},
                "action": {"targets": [{"host": HOSTS[name], "port": 9000}], "tls": tls},
            }
            for name, match in (("api", {"path": "/api/*"}), ("rest", {}))
        ]
        self.start(*routes)

    def test_a_malformed_request_within_tls_is_refused(self):
        end = self.connect()
        end.write(b"GET /api/x HTTP/1.1\r\nHost: a.example\r\nX : y\r\n\r\n")
        self.settle()
        self.assertIn(b"HTTP/1.1 400 ", end.received)
        self.assertEqual(self.backends["rest"].connections, [])

    def test_each_request_within_tls_has_its_own_route(self):
        end = self.connect()
        for path, name in (("/", "rest"), ("/api/a", "api")):
            end.write(asking(path))
            self.settle()
            self.assertIn(f"GET {path} ".encode(), bytes(self.backends[name].connections[-1].received))
            self.backends[name].connections[-1].write(OK)
            self.settle()
        self.assertEqual(end.received.count(b"200 OK"), 2)
