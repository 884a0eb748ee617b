"""Server names on a listener that terminates TLS: no spelling of a name bypasses its route."""

from __future__ import annotations

import struct

from smartproxy.wire import client_hello, tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.test_tls_routes import RouteCase
from tests.tls.talk import client_context

#: server_name (RFC 6066, 3).
_SERVER_NAME = 0


def _server_name_extension(*names):
    """A server_name extension with these names in its list."""
    listed = b"".join(b"\0" + struct.pack(">H", len(name)) + name for name in names)
    return _SERVER_NAME, struct.pack(">H", len(listed)) + listed


class NameTests(RouteCase):
    """A guarded route beside an open one for any name: a client of the open one must have asked for another name."""

    def start_with_open_route(self, *routes):
        anyone = self.terminating("open")
        anyone["action"]["tls"]["certificate"] = "selfSigned"
        self.start(anyone, *routes)

    def connect_unverified(self, name):
        """A client that accepts any certificate."""
        return self.connect(name, context=client_context())

    def test_case_and_final_dot_do_not_bypass_a_route(self):
        self.start_with_open_route(
            self.terminating("guarded", "b.example", client_auth=self.client_auth(), number=1)
        )
        for name in ("b.example", "B.Example", "b.example.", "B.EXAMPLE."):
            self.connect_unverified(name)
        self.assertEqual(self.rejected(), {"tls_error": 4})
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))
        self.assertTrue(self.connect_unverified("c.example").shaken)

    def test_a_wildcard_with_client_certificates_covers_every_depth(self):
        self.start_with_open_route(
            self.terminating("guarded", "*.wild.example", client_auth=self.client_auth(), number=1)
        )
        for name in ("x.wild.example", "X.Wild.example.", "y.x.wild.example"):
            self.connect_unverified(name)
        self.assertEqual(self.rejected(), {"tls_error": 3})
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))
        self.assertTrue(self.connect_unverified("wild.example").shaken)

    def test_client_without_sni_matches_no_domain(self):
        """Such a client is served by a route without domains, or refused."""
        self.start(self.terminating("guarded", "a.example"))
        end = self.connect(None)
        self.assertEqual(end.below.received, tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual(self.rejected(), {"no_route": 1})


class InvalidNameTests(RouteCase):
    """SNI values that are not host names: two parsers could read them as different names."""

    def setUp(self):
        super().setUp()
        self.start(
            self.terminating("open"),
            self.terminating("guarded", "a.example", client_auth=self.client_auth(), number=1),
            self.terminating("wide", "*.example", number=1),
        )

    def test_invalid_name_is_refused_before_the_certificate(self):
        """A NUL, 256 bytes, two names, none: a backend may read another name in them than the proxy does."""
        long = (b"x" * 61 + b".") * 4 + b"example"
        self.assertEqual(len(long), 255)
        for names in (
            (b"a.example\0.evil.test",),
            (b"b.example\0",),
            (b"x" + long,),
            (b"b.example", b"a.example"),
            (b"a.example", b"b.example"),
            (b"",),
            (),
            (b"b.example/",),
            ("\u00e4.example".encode(),),
            (b".a.example",),
        ):
            with self.subTest(names=names):
                refused = self.rejected().get("tls_error", 0)
                end = self.network.connect(443)
                end.write(client_hello.build(extensions=[_server_name_extension(*names)]))
                self.settle()
                self.assertEqual(end.received, tls_alert.build(Alert.DECODE_ERROR))
                self.assertEqual(self.rejected(), {"tls_error": refused + 1})
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))

    def test_ip_address_counts_as_no_name(self):
        """RFC 6066, 3 permits no addresses in server_name, so that it is treated as absent."""
        for address in ("192.0.2.1", "2001:db8::1"):
            end = self.connect(address)
            self.assertEqual((end.problem, self.proxy.connections[-1].sni), (None, None), address)
        self.assertEqual(self.opened(), {"open": 2})
