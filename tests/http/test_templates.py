"""Text with variables of a request: compiled when a configuration is loaded."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.http.templates import captured, compiled, variables
from tests.http.made import certified, exchange


class ValueTests(SynchronousTestCase):
    def check(self, text, expected, given=None, **terms):
        self.assertEqual(compiled(text, **terms)(given or exchange("/a/b?c=1")), expected)

    def test_every_variable_has_a_value(self):
        given = exchange("/u/7?c=1", pattern="/u/:user", secured=certified("robot"), host="a.test")
        given.id = "f00d"
        values = {name: compiled(f"{{{name}}}", path="/u/:user")(given) for name in variables("/u/:user")}
        self.assertEqual(
            values,
            {
                "client.ip": "192.0.2.1",
                "client.port": "50000",
                "host": "a.test",
                "path": "/u/7",
                "query": "?c=1",
                "scheme": "https",
                "route": "web",
                "tls.version": "TLSv1.3",
                "tls.clientCertificate": "robot",
                "id": "f00d",
                "user": "7",
            },
        )

    def test_text_and_variables_may_be_mixed(self):
        self.check("{scheme}://{host}{path}{query}#{client.port}", "http://a.test/a/b?c=1#50000")
        self.check("", "")

    def test_what_a_request_does_not_have_is_empty(self):
        given = exchange("/", host=None)
        self.check("<{host}{query}{tls.version}{tls.clientCertificate}>", "<>", given)

    def test_an_ipv6_host_is_in_brackets(self):
        self.check("{host}", "[2001:db8::1]", exchange(host="2001:db8::1"))

    def test_braces_without_a_letter_stand_for_themselves(self):
        """Header fields such as NEL and Report-To are JSON."""
        self.check('{"a": {"b": [1]}} {} {1}', '{"a": {"b": [1]}} {} {1}')

    def test_doubled_braces_are_a_literal_variable(self):
        self.check("{{path}} {path}", "{path} /a/b")
        self.assertEqual(compiled("{{path}}").constant, "{path}")

    def test_a_template_says_whether_it_depends_on_the_request(self):
        self.assertEqual(compiled("max-age=1").constant, "max-age=1")
        self.assertIsNone(compiled("{id}").constant)

    def test_an_escape_applies_to_values_only(self):
        self.check("/x y{path}", "/x yAAAA", escape=lambda value: "A" * len(value))

    def test_a_request_keeps_its_id(self):
        given = exchange()
        self.check("{id}", compiled("{id}")(given), given)
        self.assertRegex(given.id, r"\A[0-9a-f]{32}\Z")


class CaptureTests(SynchronousTestCase):
    def test_names_of_the_path_are_inserted_as_received(self):
        given = exchange("/u/%0d%0aX:%20y/%2e%2e", pattern="/u/:name/:rest")
        self.assertEqual(compiled("{rest}-{name}", path="/u/:name/:rest")(given), "%2e%2e-%0d%0aX:%20y")

    def test_a_star_beside_a_name_takes_no_part_of_it(self):
        given = exchange("/t/files/a/b", pattern="/:tenant/files/*")
        self.assertEqual(captured(given), {"tenant": "t"})

    def test_the_name_id_hides_the_id_of_the_request_on_its_route_only(self):
        """What is written for all routes must not begin to mean what a client has put into its path."""
        given = exchange("/7", pattern="/:id")
        self.assertEqual(compiled("{id}", path="/:id")(given), "7")
        shared = compiled("{id}", path="/:id", is_shared=True)(given)
        self.assertEqual((shared, len(shared)), (given.id, 32))

    def test_no_name_hides_another_variable(self):
        """A client would choose what is meant to be the host or the path of its request."""
        for name in ("host", "path", "query", "scheme", "route"):
            pattern, text = f"/x/:{name}", f"a{{{name}}}"
            error = self.assertRaises(ValueError, compiled, text, path=pattern)
            said = f"has {{{name}}}, which is also a name in match.path: rename :{name} there"
            self.assertEqual(str(error), said)
            given = exchange("/x/evil.example", pattern=pattern)
            self.assertEqual(
                compiled(text, path=pattern, is_shared=True)(given),
                compiled(text)(exchange("/x/evil.example")),
            )

    def test_a_route_without_a_path_has_no_names(self):
        self.assertEqual(captured(exchange()), {})


class SafetyTests(SynchronousTestCase):
    def test_controls_of_a_certificate_are_replaced(self):
        """A certificate may contain any text that its owner had an authority sign."""
        for name in ("a\r\nX-Admin: 1", "a\x00b", "\ta", "a ", "a\x85b", "a\u2028b"):
            value = compiled("{tls.clientCertificate}")(exchange(secured=certified(name)))
            self.assertTrue(value.isprintable(), value)
            self.assertEqual(value, value.strip())
            self.assertIn("?", value)

    def test_the_name_of_a_certificate_that_was_not_verified_is_not_given(self):
        given = exchange(secured=certified("admin", verified=False))
        self.assertEqual(compiled("{tls.clientCertificate}")(given), "")


class RefusalTests(SynchronousTestCase):
    def check(self, text, message, **terms):
        error = self.assertRaises(ValueError, compiled, text, **terms)
        self.assertIn(message, str(error))

    def test_an_unknown_variable_is_refused_with_the_nearest(self):
        self.check("{client.ipp}", "has no such variable: {client.ipp}; did you mean {client.ip}?")
        self.check("{Host}", "did you mean {host}?")
        self.check("{usr}", "did you mean {user}?", path="/:user")
        self.check("{remote_addr}", "the variables are {client.ip}, {client.port}")

    def test_a_name_that_is_not_in_the_path_is_refused(self):
        self.check("{user}", "has no such variable: {user}", path="/:name")

    def test_an_open_brace_is_refused(self):
        self.check("{host", "has { without }: {host")
        self.check("a {client.ip {host}", "has { without }: {client.ip {host}")
