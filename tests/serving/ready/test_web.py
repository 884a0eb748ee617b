"""The ready-made HTTP handlers: which parts of a request a redirect repeats, and how each response is framed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason
from smartproxy.serving.ready import http_redirect, http_respond
from smartproxy.serving.ready.web import is_template, location
from smartproxy.wire import http_head
from smartproxy.wire.verdict import Done
from tests.serving.made import Serving

USUAL = "https://{host}{path}{query}"


def request(target="/", host="a.example", method="GET", more=""):
    return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode("latin-1")


def head_of(data):
    verdict = http_head.parse(data)
    assert isinstance(verdict, Done), verdict
    return verdict.value


class LocationTests(SynchronousTestCase):
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
            ("/a%20b%0d", "a.example", USUAL, "https://a.example/a%20b%0d"),
        ]:
            self.assertEqual(location(to, head_of(request(target, host))), where)

    def test_characters_outside_of_urls_are_escaped(self):
        where = location(USUAL, head_of(request('/"<script>\\^`{|}')))
        self.assertEqual(where, "https://a.example/%22%3Cscript%3E%5C%5E%60%7B%7C%7D")

    def test_a_target_without_a_path_becomes_a_slash(self):
        self.assertEqual(location(USUAL, head_of(request("*", method="OPTIONS"))), "https://a.example/")
        connect = head_of(request("a.example:443", "a.example:443", "CONNECT"))
        self.assertEqual(location("https://b.example{path}", connect), "https://b.example/")

    def test_no_path_leads_to_another_host(self):
        for to in ("https://b.example{path}", "/stay{path}"):
            for path in (
                "//evil.example/",
                "/\\evil.example",
                "/@evil.example",
                "/.evil.example",
                "/:80@evil",
            ):
                where = location(to, head_of(request(path)))
                self.assertTrue(where.startswith(("https://b.example/", "/stay/")), where)

    @given(
        st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=40)
    )
    def test_any_target_gives_one_valid_url(self, asked):
        where = location(USUAL, head_of(request("/" + asked)))
        self.assertRegex(where, r"\Ahttps://a\.example/[A-Za-z0-9/?:@!$&'()*+,;=._~%-]*\Z")

    def test_templates_that_allow_open_redirects_are_refused(self):
        """A request must not decide on the host that a redirect leads to."""
        for to in (
            "", "{path}", "/{path}", "//{host}", "//b.example", "/\\b.example", "https://{host}{host}",
            "https://b.example{host}", "https://{path}", "https://b{path}.example\r\nX: y", "https://b.example/{other}",
            "https://user@b.example/", "ftp://b.example/", "https://b.example /", "javascript:alert(1)",
            "https://b.example/é",
        ):  # fmt: skip
            self.assertFalse(is_template(to), to)
            self.assertRaises(ValueError, http_redirect, to)
        for to in (USUAL, "https://{host}", "https://b.example?to={path}", "/new", "http://[::1]:80/{host}"):
            self.assertTrue(is_template(to), to)


class WebTestCase(SynchronousTestCase):
    def serve(self, handler, **more):
        self.serving = Serving(self, handler, **more)
        return self.serving


class RedirectTests(WebTestCase):
    def test_a_request_is_redirected_and_closed(self):
        self.serve(None, action={"type": "redirect", "to": USUAL, "status": 301})
        client = self.serving.connect(request("/x?q"))
        self.assertEqual(
            client.received,
            b"HTTP/1.1 301 Moved Permanently\r\nLocation: https://a.example/x?q\r\n"
            b"Content-Length: 0\r\nConnection: close\r\n\r\n",
        )
        self.assertTrue(client.ended)
        client.fin()
        self.assertEqual(self.serving.closed, {CloseReason.NORMAL: 1})

    def test_a_request_in_single_bytes_is_answered(self):
        self.serve(http_redirect(USUAL))
        client = self.serving.connect()
        for byte in request("/x"):
            self.assertEqual(client.received, b"")
            self.serving.say(bytes([byte]))
        self.assertTrue(client.received.startswith(b"HTTP/1.1 308 Permanent Redirect\r\n"))

    def test_a_malformed_request_gets_its_status(self):
        for said, status in [
            (b"\x16\x03\x01\x00", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"400"),
            (b"GET /\r\nSet-Cookie: a HTTP/1.1\r\n\r\n", b"400"),
            (b"GET / HTTP/1.0\r\n\r\n", b"400"),
            (b"GET / HTTP/2.0\r\n\r\n", b"505"),
            (b"GET /" + b"x" * 66000, b"414"),
        ]:
            client = self.serve(http_redirect(USUAL)).connect(said)
            self.assertTrue(client.received.startswith(b"HTTP/1.1 " + status), (said, client.received))
            self.assertNotIn(b"Location", client.received)
            self.assertTrue(client.ended)

    def test_without_host_a_template_without_host_works(self):
        client = self.serve(http_redirect("https://b.example{path}")).connect(b"GET /x HTTP/1.0\r\n\r\n")
        self.assertIn(b"Location: https://b.example/x\r\n", client.received)

    def test_received_bytes_do_not_extend_the_deadline(self):
        """Otherwise a client that sends a byte now and then would hold a connection for ever."""
        self.serve(http_redirect(USUAL), initial_data_timeout="10s")
        client = self.serving.connect()
        for byte in b"GET / HT":
            self.serving.say(bytes([byte]))
            self.serving.network.run(1.2)
        self.assertEqual(client.received, b"")
        self.serving.network.run(1)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 408 Request Timeout\r\n"))
        self.assertTrue(client.ended)

    def test_a_client_that_closes_within_its_request_is_closed(self):
        client = self.serve(http_redirect(USUAL)).connect(b"GET /")
        client.fin()
        self.assertEqual(self.serving.closed, {CloseReason.NORMAL: 1})
        self.assertEqual(client.received, b"")

    def test_a_status_without_location_is_refused(self):
        self.assertRaises(ValueError, http_redirect, USUAL, 200)


class RespondTests(WebTestCase):
    def test_a_request_gets_the_configured_response(self):
        response = {"status": 503, "body": "later", "contentType": "text/html"}
        self.serve(None, action={"type": "respond", "response": response})
        client = self.serving.connect()
        self.assertEqual(client.received, b"")
        self.serving.say(request())
        self.assertEqual(
            client.received,
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\n"
            b"Content-Length: 5\r\nConnection: close\r\n\r\nlater",
        )

    def test_head_gets_no_body(self):
        client = self.serve(http_respond(b"later", 200)).connect(request(method="HEAD"))
        self.assertIn(b"Content-Length: 5\r\n", client.received)
        self.assertTrue(client.received.endswith(b"\r\n\r\n"))

    def test_a_204_has_no_content_length(self):
        client = self.serve(None, action={"type": "respond", "response": {"status": 204}}).connect(request())
        self.assertEqual(client.received, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        self.assertRaises(ValueError, http_respond, b"body", 204)

    def test_an_unregistered_status_is_sent_as_it_is(self):
        """The configuration allows any status from 200 to 599."""
        client = self.serve(
            None, action={"type": "respond", "response": {"status": 520, "body": "x"}}
        ).connect(request())
        self.assertTrue(client.received.startswith(b"HTTP/1.1 520 \r\n"))
