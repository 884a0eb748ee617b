"""Which route a connection comes to whose TLS ends here: never one whose conditions it has not met."""

from __future__ import annotations

from tests.sessions.tls_case import REQUEST, TlsTestCase


class RouteCase(TlsTestCase):
    """Names of one certificate, which all routes show; the second target is the one to be kept from."""

    def setUp(self):
        super().setUp()
        self.shown = self.pem("a.example", "b.example", "m.example", "*.wild.example")

    def ending(self, name, *domains, path=None, client_auth=None, number=0, **more):
        match = {"domains": list(domains)} if domains else {}
        if path is not None:
            match["path"] = path
        tls = {"mode": "terminate", "certificate": self.shown}
        if client_auth is not None:
            tls["clientAuth"] = client_auth
        target = {"host": ("10.0.0.1", "10.0.0.2")[number]}
        return self.route(name, match=match, tls=tls, target=target, **more)

    def asking(self, mode="require"):
        """For a client certificate."""
        return {"mode": mode, "ca": self.ca}

    def asked(self, name, path=b"/", host=None, **more):
        """A client of ``name`` that has sent a request."""
        end = self.connect(name, **more)
        end.write(
            REQUEST.replace(b"/api", path).replace(b"a.example", host or (name or "a.example").encode())
        )
        self.settle()
        return end

    def opened(self):
        """How many connections each route was given."""
        return {name: tally.opened for name, tally in self.proxy.counters.routes.items() if tally.opened}


class SecondLookTests(RouteCase):
    def test_a_route_that_asks_nothing_inside_is_not_kept_waiting_by_others(self):
        """A server speaks first, though a wider route for the same TLS asks for a path."""
        self.start(self.ending("mail", "m.example"), self.ending("api", path="/api*", number=1))
        end = self.connect("m.example")
        (far,) = self.backend.connections
        far.write(b"220 ready")
        self.settle()
        self.assertEqual(end.received, b"220 ready")

    def test_routes_may_show_other_certificates_and_have_another_patience(self):
        """Whatever a client was shown, it is the same to the route that its request is for."""
        api = self.ending("api", "a.example", path="/api*", number=1)
        api["action"]["tls"]["certificate"] = self.pem("a.example", "z.example")
        api["tlsHandshakeTimeout"] = "5s"
        self.start(self.ending("web", "a.example"), api)
        for path in (b"/", b"/api/x"):
            self.asked("a.example", path)
        self.assertEqual(self.opened(), {"web": 1, "api": 1})

    def test_the_lists_and_limits_are_those_of_the_route_that_is_chosen_at_last(self):
        """Whether a narrower one let the client in or not: each connection is counted once, on that route."""
        inner = self.ending(
            "api", "a.example", path="/api*", number=1, security={"ipAllowList": ["10.0.0.0/8"]}
        )
        outer = self.ending("web", "a.example", security={"maxConnections": 1})
        self.start(inner, outer)
        refused = self.asked("a.example", b"/api/x")
        self.assertTrue(refused.received.startswith(b"HTTP/1.1 403 "), refused.received)
        self.asked("a.example")
        full = self.asked("a.example")
        self.assertTrue(full.received.startswith(b"HTTP/1.1 503 "), full.received)
        self.assertEqual(self.rejected(), {"ip_not_allowed": 1, "route_limit": 1})
        self.assertEqual((self.opened(), self.proxy.registry.by_route), ({"web": 1}, {"web": 1}))
        self.assertEqual(self.other.connections, [])

    def test_record_has_sni_and_the_host_inside_of_terminated_tls(self):
        """The two may differ, and a reader of the access log needs both. A refused request is logged with its Host, too."""
        self.start(
            self.ending("web", "a.example", path="/*"),
            self.ending("guarded", "b.example", client_auth=self.asking(), number=1),
        )
        closed = []
        self.proxy.registry.on_closed.append(closed.append)
        self.asked("a.example", host=b"other.example")
        (record,) = self.proxy.connections
        self.assertEqual((record.sni, record.host), ("a.example", "other.example"))
        self.asked("a.example", host=b"b.example")
        self.network.run(1)
        ((refused, outcome, _),) = closed
        self.assertEqual((outcome, refused.sni, refused.host), ("no_route", "a.example", "b.example"))

    def test_record_has_no_host_where_no_route_looks_inside(self):
        self.start(self.ending("web", "a.example"))
        self.asked("a.example")
        (record,) = self.proxy.connections
        self.assertEqual((record.sni, record.host), ("a.example", None))


class MisdirectedTests(RouteCase):
    """F20: a request for a host whose clients must show a certificate, on a connection that was asked for none."""

    def start_both(self, mode="require", **more):
        self.start(
            self.ending("web", "a.example", path="/*"),
            self.ending("guarded", "b.example", client_auth=self.asking(mode), number=1),
            **more,
        )

    def assert_misdirected(self, end):
        self.assertTrue(end.received.startswith(b"HTTP/1.1 421 Misdirected Request\r\n"), end.received)
        self.assertTrue(end.ended)
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))

    def test_it_is_told_so_and_counted(self):
        for mode in ("require", "request"):
            self.start_both(mode)
            for count, host in enumerate((b"b.example", b"B.Example", b"b.example.", b"b.example:443"), 1):
                self.assert_misdirected(self.asked("a.example", host=host))
                self.assertEqual(self.rejected(), {"no_route": count})
            self.network.stop(self.proxy)

    def test_so_is_a_client_that_asked_for_no_name(self):
        self.start(
            self.ending("web", path="/*"),
            self.ending("guarded", "b.example", client_auth=self.asking(), number=1),
        )
        self.assert_misdirected(self.asked(None, host=b"b.example"))

    def test_so_is_one_with_a_certificate_for_somebody_else(self):
        """Other authorities, or other names, are other client certificates."""
        other = self.asking() | {"match": ["CN:robot"]}
        self.start(
            self.ending("web", "a.example", path="/*", client_auth=self.asking()),
            self.ending("guarded", "b.example", client_auth=other, number=1),
        )
        person = self.authority.leaf("person.example", client=True)
        self.assert_misdirected(self.asked("a.example", host=b"b.example", certificate=person))

    def test_a_request_for_a_host_that_asks_for_no_more_goes_on(self):
        """The same certificates, or none: who has shown one may ask for what needs none. The name is not looked at."""
        self.start(
            self.ending("web", "a.example", path="/*"),
            self.ending("same", "b.example", path="/*", number=1),
            self.ending("strict", "m.example", path="/*", client_auth=self.asking()),
        )
        self.asked("a.example", host=b"b.example")
        robot = self.authority.leaf("robot.example", client=True)
        self.asked("m.example", host=b"b.example", certificate=robot)
        self.asked("a.example", host=b"nobody.example")
        self.assertEqual(self.opened(), {"web": 2, "strict": 1})
        self.assertEqual(self.other.connections, [], "Host chooses no route where SNI did")
