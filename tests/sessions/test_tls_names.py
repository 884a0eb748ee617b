"""The name that a client asks for, on a listener whose routes end TLS: no spelling of it leads past a route."""

from __future__ import annotations

import struct

from smartproxy.wire import client_hello, tls_alert
from smartproxy.wire.tls_alert import Alert
from tests.sessions.test_tls_routes import RouteCase
from tests.tls.talk import client_context

#: server_name (RFC 6066, 3).
_SERVER_NAME = 0


def _listed(*names):
    """The extension with these names in its list."""
    listed = b"".join(b"\0" + struct.pack(">H", len(name)) + name for name in names)
    return _SERVER_NAME, struct.pack(">H", len(listed)) + listed


class NameTests(RouteCase):
    """Beside a route for any name, whose certificate is for any name: who gets to that one has asked for another."""

    def start_beside(self, *routes):
        anyone = self.ending("open")
        anyone["action"]["tls"]["certificate"] = "selfSigned"
        self.start(anyone, *routes)

    def ask(self, name):
        """A client that takes whatever it is shown."""
        return self.connect(name, context=client_context())

    def test_case_and_final_dot_do_not_lead_past_a_route(self):
        self.start_beside(self.ending("guarded", "b.example", client_auth=self.asking(), number=1))
        for name in ("b.example", "B.Example", "b.example.", "B.EXAMPLE."):
            self.ask(name)
        self.assertEqual(self.rejected(), {"tls_error": 4})
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))
        self.assertTrue(self.ask("c.example").shaken)

    def test_a_wildcard_with_client_certificates_covers_every_depth(self):
        self.start_beside(self.ending("guarded", "*.wild.example", client_auth=self.asking(), number=1))
        for name in ("x.wild.example", "X.Wild.example.", "y.x.wild.example"):
            self.ask(name)
        self.assertEqual(self.rejected(), {"tls_error": 3})
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))
        self.assertTrue(self.ask("wild.example").shaken)

    def test_no_name_does_not_meet_a_domain(self):
        """Such a client comes to a route that asks for none, or nowhere."""
        self.start(self.ending("guarded", "a.example"))
        end = self.connect(None)
        self.assertEqual(end.below.received, tls_alert.build(Alert.UNRECOGNIZED_NAME))
        self.assertEqual(self.rejected(), {"no_route": 1})


class NoNameTests(RouteCase):
    """F19: what stands in SNI and is no name."""

    def setUp(self):
        super().setUp()
        self.start(
            self.ending("open"),
            self.ending("guarded", "a.example", client_auth=self.asking(), number=1),
            self.ending("wide", "*.example", number=1),
        )

    def test_it_is_refused_before_a_certificate_is_shown(self):
        """A NUL, 256 bytes, two names, none: whoever reads them as one may take them for another than we do."""
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
                end.write(client_hello.build(extensions=[_listed(*names)]))
                self.settle()
                self.assertEqual(end.received, tls_alert.build(Alert.DECODE_ERROR))
                self.assertEqual(self.rejected(), {"tls_error": refused + 1})
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))

    def test_an_address_is_no_name(self):
        """Such a client is one that asks for none (RFC 6066, 3 has no addresses)."""
        for address in ("192.0.2.1", "2001:db8::1"):
            end = self.connect(address)
            self.assertEqual((end.problem, self.proxy.connections[-1].sni), (None, None), address)
        self.assertEqual(self.opened(), {"open": 2})
