"""Routing of connections whose TLS is terminated: never to a route whose conditions are not met."""

from __future__ import annotations

from pathlib import Path

from smartproxy.wire import tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.tls_case import REQUEST, TlsTestCase


class RouteCase(TlsTestCase):
    """Routes that share one certificate; the second target is the guarded one."""

    def setUp(self):
        super().setUp()
        self.shown = self.pem("a.example", "b.example", "m.example", "*.wild.example")

    def terminating(self, name, *domains, path=None, client_auth=None, number=0, **more):
        match = {"domains": list(domains)} if domains else {}
        if path is not None:
            match["path"] = path
        tls = {"mode": "terminate", "certificate": self.shown}
        if client_auth is not None:
            tls["clientAuth"] = client_auth
        target = {"host": ("10.0.0.1", "10.0.0.2")[number]}
        return self.route(name, match=match, tls=tls, target=target, **more)

    def client_auth(self, mode="require"):
        """Settings that request a client certificate."""
        return {"mode": mode, "ca": self.ca}

    def request(self, name, path=b"/", host=None, **more):
        """Connect with SNI ``name`` and send a request; the client's end."""
        end = self.connect(name, **more)
        end.write(
            REQUEST.replace(b"/api", path).replace(b"a.example", host or (name or "a.example").encode())
        )
        self.settle()
        return end

    def opened(self):
        """Number of connections by route."""
        return {name: tally.opened for name, tally in self.proxy.counters.routes.items() if tally.opened}


class PlainBytesTests(RouteCase):
    """Clients without TLS on a port whose routes are all for TLS."""

    def refused(self, *routes, sent=REQUEST):
        """What such a client is answered, and the reason that is counted."""
        self.start(*routes)
        end = self.network.connect(443)
        end.write(sent)
        self.settle()
        return end.received, self.rejected(), self.handshakes()

    def assert_explained(self, *routes, sent=REQUEST):
        answer, rejected, handshakes = self.refused(*routes, sent=sent)
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), answer)
        self.assertIn(b"speaks TLS", answer)
        self.assertEqual((rejected, handshakes), ({"tls_error": 1}, {("not_tls", "none"): 1}))

    def test_plain_http_for_a_host_of_no_route_gets_the_400(self):
        """A 404 would say that the page is missing, and not that the s of https is."""
        self.assert_explained(self.terminating("web", "b.example"))

    def test_plain_http_for_a_path_of_no_route_gets_the_400(self):
        self.assert_explained(self.terminating("web", path="/other"))

    def test_plain_http_where_the_protocol_is_tls_gets_the_400(self):
        route = self.terminating("web")
        route["match"] = {"ports": 443, "protocol": "tls"}
        self.assert_explained(route)

    def test_malformed_plain_http_gets_the_400(self):
        self.assert_explained(
            self.terminating("web", "b.example"), sent=b"GET / HTTP/1.1\r\nno colon\r\n\r\n"
        )

    def test_plain_http_beside_a_route_that_blocks_gets_the_400(self):
        blocking = self.route("blocked", match={"clientIp": "203.0.113.9"})
        blocking["action"] = {"type": "block"}
        self.assert_explained(blocking, self.terminating("web", "b.example"))

    def test_other_plain_bytes_get_no_answer(self):
        """Their protocol is not known."""
        answer, rejected, _ = self.refused(self.terminating("web", "b.example"), sent=b"hello\r\n")
        self.assertEqual((answer, rejected), (b"", {"no_route": 1}))

    def test_plain_http_beside_a_plain_route_gets_404(self):
        """The port is for both: that no route matches is what is wrong."""
        plain = self.route("plain", match={"domains": "c.example"}, tls={})
        answer, rejected, _ = self.refused(self.terminating("web", "b.example"), plain)
        self.assertTrue(answer.startswith(b"HTTP/1.1 404 "), answer)
        self.assertEqual(rejected, {"no_route": 1})

    def test_client_with_tls_for_a_name_of_no_route_gets_an_alert(self):
        self.start(self.terminating("web", "b.example"))
        end = self.connect("a.example")
        self.assertEqual(end.below.received, tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual(self.rejected(), {"no_route": 1})


class SecondLookTests(RouteCase):
    def test_route_without_inspection_does_not_wait_for_bytes(self):
        """Its server sends first, although a wider route with the same TLS settings matches by path."""
        self.start(self.terminating("mail", "m.example"), self.terminating("api", path="/api*", number=1))
        end = self.connect("m.example")
        (far,) = self.backend.connections
        far.write(b"220 ready")
        self.settle()
        self.assertEqual(end.received, b"220 ready")

    def test_other_certificates_and_timeouts_allow_rerouting(self):
        """Which certificate was shown does not matter to the route that the request is for."""
        api = self.terminating("api", "a.example", path="/api*", number=1)
        api["action"]["tls"]["certificate"] = self.pem("a.example", "z.example")
        api["tlsHandshakeTimeout"] = "5s"
        self.start(self.terminating("web", "a.example"), api)
        for path in (b"/", b"/api/x"):
            self.request("a.example", path)
        self.assertEqual(self.opened(), {"web": 1, "api": 1})

    def test_lists_and_limits_are_those_of_the_final_route(self):
        """Each connection is counted once, on the final route, whichever route matched its ClientHello."""
        inner = self.terminating(
            "api", "a.example", path="/api*", number=1, security={"ipAllowList": ["10.0.0.0/8"]}
        )
        outer = self.terminating("web", "a.example", security={"maxConnections": 1})
        self.start(inner, outer)
        refused = self.request("a.example", b"/api/x")
        self.assertTrue(refused.received.startswith(b"HTTP/1.1 403 "), refused.received)
        self.request("a.example")
        full = self.request("a.example")
        self.assertTrue(full.received.startswith(b"HTTP/1.1 503 "), full.received)
        self.assertEqual(self.rejected(), {"ip_not_allowed": 1, "route_limit": 1})
        self.assertEqual((self.opened(), self.proxy.registry.by_route), ({"web": 1}, {"web": 1}))
        self.assertEqual(self.other.connections, [])

    def test_refusal_has_the_page_of_the_final_route(self):
        page = Path(self.mktemp()).absolute()
        page.write_text("page of a")
        first, second = (
            self.terminating(name, "a.example", path=f"/{name}*", number=number)
            for number, name in enumerate("ab")
        )
        first["action"]["errorPages"] = {"502": str(page)}
        second["action"] |= {"protocol": "tcp", "targets": [{"host": "10.0.0.9", "port": 1}]}
        self.start(first, second)
        end = self.request("a.example", b"/b")
        self.assertTrue(end.received.startswith(b"HTTP/1.1 502 "), end.received)
        self.assertNotIn(b"page of a", end.received)

    def test_record_has_sni_and_the_host_inside_of_terminated_tls(self):
        """The two may differ, and a reader of the access log needs both. A refused request is logged with its Host, too."""
        self.start(
            self.terminating("web", "a.example", path="/*"),
            self.terminating("guarded", "b.example", client_auth=self.client_auth(), number=1),
        )
        closed = []
        self.proxy.registry.on_closed.append(closed.append)
        self.request("a.example", host=b"other.example")
        (record,) = self.proxy.connections
        self.assertEqual((record.sni, record.host), ("a.example", "other.example"))
        self.request("a.example", host=b"b.example")
        self.network.run(1)
        ((refused, outcome, _),) = closed
        self.assertEqual((outcome, refused.sni, refused.host), ("no_route", "a.example", "b.example"))

    def test_record_has_no_host_where_no_route_looks_inside(self):
        self.start(self.terminating("web", "a.example"))
        self.request("a.example")
        (record,) = self.proxy.connections
        self.assertEqual((record.sni, record.host), ("a.example", None))


class MisdirectedTests(RouteCase):
    """A request for a host that requires client certificates, on a connection that was not asked for one: 421."""

    def start_both(self, mode="require", **more):
        self.start(
            self.terminating("web", "a.example", path="/*"),
            self.terminating("guarded", "b.example", client_auth=self.client_auth(mode), number=1),
            **more,
        )

    def assert_misdirected(self, end):
        self.assertTrue(end.received.startswith(b"HTTP/1.1 421 Misdirected Request\r\n"), end.received)
        self.assertTrue(end.ended)
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))

    def test_request_for_a_guarded_host_gets_421_and_is_counted(self):
        for mode in ("require", "request"):
            self.start_both(mode)
            for count, host in enumerate((b"b.example", b"B.Example", b"b.example.", b"b.example:443"), 1):
                self.assert_misdirected(self.request("a.example", host=host))
                self.assertEqual(self.rejected(), {"no_route": count})
            self.network.stop(self.proxy)

    def test_later_request_of_a_kept_connection_gets_421(self):
        """What client certificates guard is checked for each request, and not for the first alone."""
        web = self.terminating("web", "a.example", path="/*")
        guarded = self.terminating("guarded", "b.example", client_auth=self.client_auth(), number=1)
        for made in (web, guarded):
            made["action"]["protocol"] = "http"
        self.start(web, guarded)
        end = self.request("a.example")
        self.backend.connections[0].write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.settle()
        answered = len(end.received)
        end.write(REQUEST.replace(b"a.example", b"b.example"))
        self.settle()
        self.assertTrue(end.received[answered:].startswith(b"HTTP/1.1 421 Misdirected Request\r\n"))
        self.assertEqual(self.other.connections, [])

    def test_client_without_sni_gets_421(self):
        self.start(
            self.terminating("web", path="/*"),
            self.terminating("guarded", "b.example", client_auth=self.client_auth(), number=1),
        )
        self.assert_misdirected(self.request(None, host=b"b.example"))

    def test_certificate_for_other_rules_gets_421(self):
        """A certificate that meets the rules of one route does not prove anything for other names or authorities."""
        other = self.client_auth() | {"match": ["CN:robot"]}
        self.start(
            self.terminating("web", "a.example", path="/*", client_auth=self.client_auth()),
            self.terminating("guarded", "b.example", client_auth=other, number=1),
        )
        person = self.authority.leaf("person.example", client=True)
        self.assert_misdirected(self.request("a.example", host=b"b.example", certificate=person))

    def test_request_for_a_host_with_no_stricter_rules_is_served(self):
        """With the same client certificate rules, or none. The host name itself does not choose the route again."""
        self.start(
            self.terminating("web", "a.example", path="/*"),
            self.terminating("same", "b.example", path="/*", number=1),
            self.terminating("strict", "m.example", path="/*", client_auth=self.client_auth()),
        )
        self.request("a.example", host=b"b.example")
        robot = self.authority.leaf("robot.example", client=True)
        self.request("m.example", host=b"b.example", certificate=robot)
        self.request("a.example", host=b"nobody.example")
        self.assertEqual(self.opened(), {"web": 2, "strict": 1})
        self.assertEqual(self.other.connections, [], "Host chooses no route where SNI did")


class ChosenCertificateTests(TlsTestCase):
    def test_handshake_whose_certificate_cannot_be_chosen_is_counted(self):
        """An alert on failed handshakes must not stay silent where it is our side that fails."""
        self.start()
        chosen = self.route()
        chosen["action"]["tls"]["certificate"] = lambda name: {}[name]
        self.network.result(self.proxy.update_routes([chosen]))
        self.connect()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.handshakes(), {("failed", "none"): 1})
