"""Another path, and another Host, for the requests of a route (``action.rewrite``)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Route
from smartproxy.http.rewrite import target_rewriter
from tests.http.case import GET, HttpCase, http_route
from tests.http.made import certified, exchange
from tests.on_network import HOST


class TargetTests(SynchronousTestCase):
    def check(
        self,
        received,
        expected,
        *,
        path=None,
        prefix="",
        pattern=None,
        secured=None,
        host="a.test",
        is_shared=False,
    ):
        rewrite = target_rewriter(path, prefix, pattern, is_shared=is_shared)
        given = exchange(received, pattern=pattern, secured=secured, host=host)
        self.assertEqual(rewrite(given), expected, received)

    def test_a_prefix_ends_where_a_segment_does(self):
        for received, expected in (
            ("/api", "/"), ("/api/", "/"), ("/api/x", "/x"), ("/api/x/", "/x/"), ("/apix", "/apix"), ("/x/api", "/x/api"),
            ("/api?a=/api", "/?a=/api"), ("/api//x", "//x"), ("/API/x", "/API/x"), ("/%61pi/x", "/%61pi/x"), ("*", "*"),
        ):  # fmt: skip
            self.check(received, expected, prefix="/api")
            self.check(received, expected, prefix="/api/")

    def test_names_are_inserted_as_received(self):
        for received, expected in (
            ("/u/7", "/v2/7"), ("/u/a%2Fb%20c", "/v2/a%2Fb%20c"), ("/u/%0d%0a", "/v2/%0d%0a"), ("/u/7?a=b%20&c", "/v2/7?a=b%20&c"),
            ("/u/%c3%bc", "/v2/%c3%bc"), ("/u/%25", "/v2/%25"), ('/u/"<>^`{|}', '/v2/"<>^`{|}'),
        ):  # fmt: skip
            self.check(received, expected, path="/v2/:id", pattern="/u/:id")
            self.check(received, expected, path="/v2/{id}", pattern="/u/:id")

    def test_names_may_be_put_anywhere(self):
        self.check("/a/b", "/b/x-a.json/b:c", path="/:two/x-{one}.json/{two}:c", pattern="/:one/:two")

    def test_the_path_may_be_kept_behind_another_one(self):
        self.check("/x/y?z", "/v2/x/y?z", path="/v2{path}")
        self.check("/api/x", "/v2/x", path="/v2{path}", prefix="/api")
        self.check("/api", "/v2/", path="/v2{path}", prefix="/api")
        self.check("/apix", "/v2/apix", path="/v2{path}", prefix="/api")

    def test_a_name_is_not_taken_for_a_variable(self):
        """``/pub{path}`` would lead to ``/public``, and ``/{host}`` to the files of another host."""
        self.check("/x/lic", "/pub/lic", path="/pub/:path", pattern="/x/:path")
        self.check("/x/b.test", "/b.test/y", path="/:host/y", pattern="/x/:host")
        for name in ("path", "host", "scheme"):
            error = self.assertRaises(ValueError, target_rewriter, f"/v{{{name}}}", "", f"/x/:{name}")
            self.assertIn(f"has {{{name}}}, which is also a name in match.path", str(error))

    def test_a_path_for_several_routes_means_the_variable(self):
        self.check("/x/b.test", "/a.test/b.test", path="/{host}/:host", pattern="/x/:host", is_shared=True)
        self.check("/x/lic", "/pub/x/lic", path="/pub{path}", pattern="/x/:path", is_shared=True)

    def test_values_of_the_proxy_are_encoded(self):
        self.check(
            "/", "/a.test/a%20%2F%3F%23%0A%C3%BC%2E".replace("%2E", ".").replace("%0A", "%3F"),
            path="/{host}/{tls.clientCertificate}", secured=certified("a /?#\n\xfc."),
        )  # fmt: skip
        self.check("/", "/%5B2001:db8::1%5D", path="/{host}", host="2001:db8::1")

    def test_the_query_is_kept_whatever_the_path_is(self):
        self.check("/u/7?a=1?b", "/fixed?a=1?b", path="/fixed")
        self.check("/?", "/fixed?", path="/fixed")

    def test_a_target_in_absolute_form_is_sent_in_origin_form(self):
        given = exchange("/api/x?y")
        given.head = given.head._replace(target="http://a.test/api/x?y")
        self.assertEqual(target_rewriter(None, "/api", None)(given), "/x?y")

    def test_a_parent_segment_in_the_result_is_refused(self):
        for received in (
            "/api/../x", "/api/..", "/api/%2e%2e/x", "/api/.%2E", "/api/a%2f..%2fx", "/api/..;/x", "/api/..%5cx", "/api/a\\..\\b", "/..",
        ):  # fmt: skip
            self.check(received, "", prefix="/api")
        for received in ("/api/...", "/api/a..", "/api/..a", "/api/.", "/api/.well-known", "/api/x?../.."):
            self.check(received, received[4:], prefix="/api")

    def test_names_do_not_make_a_parent_segment(self):
        self.check("/...json", "", path="/v2/:id/x", pattern="/:id.json")
        self.check("/..", "", path="/v2/:id", pattern="/:id")
        self.check("/x/.", "", path="/v2/.{id}", pattern="/x/:id")

    def test_what_changes_nothing_is_nothing(self):
        self.assertIsNone(target_rewriter(None, "", None))

    def test_malformed_paths_are_refused(self):
        for path, message in (
            ("v2", "must begin with /"), ("/v2/:id", "has :id, which is not a name in match.path"), ("/v2/*", "must not have *; {path} is"),
            ("/v2{query}", "must not have {query}: the query is kept"), ("/v2?a=1", "without blanks, query and fragment"),
            ("/a b", "without blanks"), ("/a#b", "without blanks"), ("/{usr}", "did you mean {user}?"), ("/:host", "has :host, which"),
        ):  # fmt: skip
            error = self.assertRaises(ValueError, target_rewriter, path, "", "/:user")
            self.assertIn(message, str(error))


class RewriteTests(HttpCase):
    def rewrite(self, rewrite, *, targets=None, port=81, more=None, **match):
        action = {"rewrite": rewrite, **({"targets": targets} if targets else {}), **(more or {})}
        self.start(http_route("rewritten", port, action=action, **match))

    def lines(self, target=b"/", fields=b"", port=81):
        self.connect(port, b"GET %b HTTP/1.1\r\nHost: a.test:81\r\n%b\r\n" % (target, fields))
        return self.received()[0]

    def test_a_target_gets_the_new_path(self):
        self.rewrite({"path": "/v2/:id"}, path="/users/:id")
        self.assertEqual(self.lines(b"/users/a%20b?c=d")[0], b"GET /v2/a%20b?c=d HTTP/1.1")

    def test_an_absolute_target_is_rewritten(self):
        self.rewrite({"strip_prefix": "/api"})
        self.assertEqual(self.lines(b"http://a.test:81/api/x?y")[0], b"GET /x?y HTTP/1.1")

    def test_a_path_out_of_the_route_is_a_400(self):
        self.rewrite({"strip_prefix": "/api"})
        client = self.connect(81, GET.replace(b"/ ", b"/api/%2e%2e/admin "))
        self.assertEqual(client.received[9:12], b"400")
        self.assertEqual(self.backend.connections, [])

    def test_host_is_preserved_unless_it_is_rewritten(self):
        self.rewrite({"strip_prefix": "/api"})
        self.assertIn(b"Host: a.test:81", self.lines())

    def test_host_of_the_target_has_its_port_where_it_is_not_the_default(self):
        self.rewrite({"host": "target"})
        self.assertEqual(self.hosts(self.lines()), [b"Host: 10.0.0.5:9000"])
        backend = self.network.backend(HOST, 80)
        self.rewrite({"host": "target"}, targets=[{"host": HOST, "port": 80}], port=82)
        self.connect(82, GET)
        sent = bytes(backend.connections[-1].received).split(b"\r\n")
        self.assertEqual(self.hosts(sent), [b"Host: 10.0.0.5"])

    def test_host_of_the_target_is_its_name(self):
        self.network.names["app.test"] = [HOST]
        self.rewrite({"host": "target"}, targets=[{"host": "app.test", "port": 9000}])
        self.assertEqual(self.hosts(self.lines()), [b"Host: app.test:9000"])

    def test_host_may_be_a_name(self):
        self.rewrite({"host": "b.test:8080"})
        lines = self.lines()
        self.assertEqual(self.hosts(lines), [b"Host: b.test:8080"])
        self.assertIn(b"X-Forwarded-Host: a.test:81", lines)

    def test_a_request_without_host_gets_the_new_one(self):
        self.rewrite({"host": "b.test"})
        for target in (b"/", b"http://a.test/"):
            self.connect(81, b"GET %b HTTP/1.0\r\n\r\n" % target)
            self.assertEqual(self.hosts(self.received()[0]), [b"Host: b.test"])

    def hosts(self, lines):
        return [line for line in lines if line.lower().startswith(b"host:")]

    def test_a_route_inherits_key_by_key(self):
        action = {
            "targets": [{"host": HOST, "port": 9000}],
            "protocol": "http",
            "rewrite": {"host": "b.test"},
        }
        self.start(
            Route(name="own", match={"ports": 81}, action=action),
            defaults={"rewrite": {"strip_prefix": "/api", "host": "c.test"}},
        )
        lines = self.lines(b"/api/x")
        self.assertEqual((lines[0], self.hosts(lines)), (b"GET /x HTTP/1.1", [b"Host: b.test"]))

    def test_the_request_is_rewritten_again_on_another_connection(self):
        self.rewrite({"path": "/v2{path}", "host": "target"})
        client = self.connect(81)
        self.exchange(client, GET)
        client.write(GET)
        self.network.settle()
        self.backend.connections[-1].rst()  # the idle connection was closed as it was used again
        self.network.settle()
        self.assertEqual(len(self.backend.connections), 2)
        self.assertEqual(self.received()[0][0], b"GET /v2/ HTTP/1.1")
