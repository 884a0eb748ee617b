"""Redirects: which parts of a request they repeat, and that no request decides on the host."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smartproxy import http_redirect
from smartproxy.errors import ConfigurationError
from smartproxy.http.local.redirect import RedirectAnswers, is_template
from tests.http.local.case import LocalCase, local_route, request

USUAL = "https://{host}{path}{query}"


class LocationTests(LocalCase):
    def redirect(self, to, **match):
        self.local(local_route(type="redirect", to=to, match=match))

    def test_a_location_contains_the_parts_of_the_request(self):
        for target, host, to, where in [
            ("/", "a.example", USUAL, "https://a.example/"),
            ("/x/y?a=b&c", "A.Example:8080", USUAL, "https://a.example/x/y?a=b&c"),
            ("/x?", "a.example", USUAL, "https://a.example/x?"),
            ("/x?q", "a.example", "https://b.example/old{path}", "https://b.example/old/x"),
            ("/x", "[2001:db8::1]:80", USUAL, "https://[2001:db8::1]/x"),
            ("/x", "a.example", "https://{host}:8443{path}", "https://a.example:8443/x"),
            ("http://a.example/x?q", "a.example", USUAL, "https://a.example/x?q"),
            ("/x", "a.example", "/new{path}", "/new/x"),
            ("/x", "a.example", "{path}/", "/x/"),
            ("/a%20b%0d", "a.example", USUAL, "https://a.example/a%20b%0d"),
            ('/"<script>\\^`{|}', "a.example", USUAL, "https://a.example/%22%3Cscript%3E%5C%5E%60%7B%7C%7D"),
            (
                "/x",
                "a.example",
                "https://b.example/?from={client.ip}&by={route}",
                "https://b.example/?from=192.0.2.1&by=local",
            ),
        ]:
            self.redirect(to)
            self.assertEqual(self.ask(target, host).location, where)

    def test_names_of_the_path_are_variables(self):
        self.redirect("https://b.example/users/{user}", path="/u/:user")
        self.assertEqual(self.ask("/u/7%2f8").location, "https://b.example/users/7%2f8")

    def test_a_name_of_the_path_does_not_hide_a_part_of_the_request(self):
        """GET /go/.evil.example would lead to example.com.evil.example, and javascript:alert(1) would be run."""
        for name, to in (
            ("path", "https://example.com{path}"),
            ("query", "https://example.com{query}"),
            ("host", "https://{host}/"),
            ("path", "{path}"),
            ("scheme", "/by/{scheme}"),
        ):
            error = self.assertRaises(ConfigurationError, self.redirect, to, path=f"/go/:{name}")
            said = f"action.to: has {{{name}}}, which is also a name in match.path: rename :{name} there"
            self.assertIn(said, str(error))
            self.assertRaises(ValueError, RedirectAnswers, to, path=f"/go/:{name}")

    def test_the_id_in_a_path_hides_that_of_the_request(self):
        self.redirect("https://b.example/users/{id}", path="/u/:id")
        self.assertEqual(self.ask("/u/7").location, "https://b.example/users/7")

    def test_no_path_leads_to_another_host(self):
        for to, begin in (
            ("https://b.example{path}", "https://b.example/"),
            ("/stay{path}", "/stay/"),
            ("{path}", "/"),
        ):
            self.redirect(to)
            for path in (
                "//evil.example/", "///evil.example", "/\\evil.example", "/\\\\evil", "/@evil.example", "/.evil.example",
                "/:80@evil", "//\\evil.example", "/%2fevil.example", "/%5cevil.example",
            ):  # fmt: skip
                where = self.ask(path).location
                self.assertTrue(where.startswith(begin), where)
                self.assertFalse(where.startswith(("//", "/\\")), where)

    @given(
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=40)
    )
    def test_any_target_gives_one_valid_url(self, asked):
        if not hasattr(self, "client"):
            self.redirect(USUAL)
            self.client = self.connect(81)
        where = self.ask("/" + asked, client=self.client).location
        self.assertRegex(where, r"\Ahttps://a\.example/[A-Za-z0-9/?:@!$&'()*+,;=._~%-]*\Z")

    def test_templates_that_allow_open_redirects_are_refused(self):
        """A request must not decide on the host that a redirect leads to."""
        for to in (
            "", "/{path}", "//{host}", "//b.example", "/\\b.example", "https://{host}{host}", "{query}", "{id}/x",
            "https://b.example{host}", "https://{path}", "https://b{path}.example\r\nX: y", "https://b.example/{1}",
            "https://user@b.example/", "ftp://b.example/", "https://b.example /", "javascript:alert(1)",
            "https://b.example/é", "https://{route}/",
        ):  # fmt: skip
            self.assertFalse(is_template(to), to)
            self.assertRaises(ValueError, http_redirect, to)
        for to in (
            USUAL,
            "https://{host}",
            "https://b.example?to={path}",
            "/new",
            "{path}",
            "http://[::1]:80/{host}",
        ):
            self.assertTrue(is_template(to), to)
        self.assertRaises(ValueError, http_redirect, "https://b.example/{other}")
        self.assertRaises(ValueError, http_redirect, USUAL, 200)


class RedirectTests(LocalCase):
    def test_a_request_is_redirected_and_the_connection_kept(self):
        self.local(type="redirect", to=USUAL, status=301)
        client = self.connect(81)
        for _ in range(2):
            answer = self.ask("/x?q", client=client)
            self.assertEqual(
                answer.whole,
                b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://a.example/x?q\r\nContent-Length: 0\r\n\r\n",
            )
            self.assertTrue(answer.has_date)
        self.assertFalse(client.ended)

    def test_each_status_is_sent(self):
        for status in (301, 302, 303, 307, 308):
            self.local(type="redirect", to=USUAL, status=status)
            self.assertEqual(self.ask().status, status)

    def test_requests_without_a_host_or_a_path_get_no_location(self):
        self.local(type="redirect", to=USUAL)
        for asked in (request(host="", version="1.0"), request("*", method="OPTIONS")):
            client = self.connect(81, asked)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 400"), client.received)
        self.local(type="redirect", to="https://b.example{path}")
        self.assertEqual(self.ask("/x", host="", version="1.0").location, "https://b.example/x")

    def test_a_malformed_request_gets_its_status(self):
        self.local(type="redirect", to=USUAL)
        for said, status in [
            (b"\x16\x03\x01\x00", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
            (b"GET /\r\nSet-Cookie: a HTTP/1.1\r\n\r\n", b"400"),
            (b"GET / HTTP/2.0\r\n\r\n", b"505"),
            (b"GET /" + b"x" * 66_000, b"414"),
        ]:
            client = self.connect(81, said)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 " + status), (said, client.received))
            self.assertNotIn(b"Location", client.received)
            self.assertTrue(client.ended)

    def test_received_bytes_do_not_extend_the_deadline(self):
        """Otherwise a client that sends a byte now and then would hold a connection for ever."""
        self.local(type="redirect", to=USUAL, http={"request_timeout": "10s"})
        client = self.connect(81)
        for byte in b"GET / HT":
            client.write(bytes([byte]))
            self.network.run(1.2)
        self.assertEqual(client.received, b"")
        self.network.run(1)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 408 "))
        self.assertTrue(client.ended)

    def test_each_request_of_a_connection_has_its_own_route(self):
        from tests.http.case import GET, OK, http_route  # noqa: PLC0415 - of the other tests' target

        self.local(
            local_route("old", 80, match={"path": "/old/*"}, type="redirect", to="/new{path}"),
            local_route(
                "sorry",
                80,
                match={"path": "/sorry"},
                type="respond",
                response={"status": 503, "body": "later"},
            ),
            local_route("closed", 80, match={"path": "/closed"}, type="block"),
            http_route(),
        )
        client = self.connect(80)
        self.assertEqual(self.ask("/old/x", client=client).location, "/new/old/x")
        self.assertEqual(self.exchange(client, GET, OK), OK)
        self.assertEqual(self.ask("/sorry", client=client).body, b"later")
        self.assertEqual(self.exchange(client, GET, OK), OK)
        self.assertEqual(self.ask("/closed", client=client).status, 403)
        counted = self.proxy.counters
        self.assertEqual(counted.route("old").of_requests().answered, {("GET", 308): 1})
        self.assertEqual(counted.route("sorry").of_requests().answered, {("GET", 503): 1})
        self.assertEqual(counted.route("closed").of_requests().answered, {("GET", 403): 1})
        self.assertEqual(counted.route("web").of_requests().answered, {("GET", 200): 2})
