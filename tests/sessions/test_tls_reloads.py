"""TLS over a reload of the routes: handshakes under way, session tickets, sessions with targets."""

from __future__ import annotations

from OpenSSL import SSL

from smartproxy.security.handshake_limit import STALLED
from tests.sessions.tls_case import TlsTestCase
from tests.tls.talk import client, client_context


class ReloadTests(TlsTestCase):
    def update(self, *routes):
        self.network.result(self.proxy.update_routes(routes))

    def another(self, **match):
        """A route that has nothing to do with the others."""
        return self.route("another", match={"ports": 444, **match}, tls={"mode": "passthrough"})

    def test_handshakes_begun_before_a_reload_count_to_the_limit(self):
        """A reload in a flood must not let the same number in again."""
        self.start(self.route(), tls={"maxHandshakes": 2})
        stalled = []
        for _ in range(2):
            stalled.append(self.network.connect(443))
            connection = client(self.authority)
            self.assertRaises(SSL.WantReadError, connection.do_handshake)
            stalled[-1].write(connection.bio_read(1 << 16))
            self.network.settle()
        self.update(self.route(), self.another())
        self.network.run(STALLED)
        self.assertTrue(self.connect().shaken)
        self.assertEqual([below.ended for below in stalled], [True, False])

    def test_ticket_is_resumed_after_a_reload_of_another_route(self):
        self.start(self.route(), self.another())
        for number, most in enumerate((0, SSL.TLS1_2_VERSION)):
            context = client_context(self.authority, most=most)
            first = self.connect(context=context)
            self.backend.connections[-1].write(b"tickets come before it")
            self.settle()
            self.update(self.route(), self.another(domains=[f"{number}.example"]))
            again = client(context=context)
            again.set_session(first.connection.get_session())
            end = self.within(self.network.connect(443), again)
            self.settle()
            self.assertTrue(end.resumed)

    def test_session_with_a_target_is_resumed_after_a_reload(self):
        encrypted = {"tls": {"ca": self.ca, "serverName": "a.example"}}
        to = {"match": {"ports": 80}, "target": encrypted, "tls": {"mode": "passthrough"}}
        self.start(self.route("plain", **to), self.another())
        self.assert_target_sessions_resume(
            "a.example",
            80,
            lambda: self.update(self.route("plain", **to), self.another(domains=["b.example"])),
        )
