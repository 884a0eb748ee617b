"""A client that connects to an address sends no name: it is shown the certificate for that address."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent

from smartproxy.model.address import Endpoint
from smartproxy.wire import proxy_v2
from tests.sessions.tls_case import TlsTestCase
from tests.tls.talk import client

SOURCE, LOCAL = Endpoint("198.51.100.7", 4711), Endpoint("192.0.2.1", 443)


class AddressTests(TlsTestCase):
    def setUp(self):
        super().setUp()
        listed = [self.pem("a.example"), self.pem("192.0.2.1"), self.pem("2001:db8::1")]
        tls = {"mode": "terminate", "certificate": listed}
        self.start(self.route(tls=tls), proxyIPs=["203.0.113.1"])

    def shown(self, *, host="127.0.0.1", client_ip="198.51.100.9", header=b""):
        """The common name of the certificate for a client that sends no name."""
        below = self.network.connect(443, host, client=(client_ip, 50000))
        below.write(header)
        end = self.within(below, client(self.authority, None))
        self.settle()
        return end.connection.get_peer_certificate(as_cryptography=True).subject.rfc4514_string()

    def test_local_address_selects(self):
        for host, name in (
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("192.0.2.9", "a.example"),
        ):
            self.assertEqual(self.shown(host=host), f"CN={name}")

    def test_mapped_address_selects_as_the_plain_one(self):
        """A listener for every address sees clients of IPv4 in this form."""
        self.assertEqual(self.shown(host="::ffff:192.0.2.1"), "CN=192.0.2.1")

    def test_announced_address_is_the_one_that_the_client_connected_to(self):
        header = proxy_v2.build(SOURCE, LOCAL)
        self.assertEqual(self.shown(client_ip="203.0.113.1", header=header), "CN=192.0.2.1")


class AddressDomainTests(TlsTestCase):
    """Routes whose domains are addresses."""

    def setUp(self):
        super().setUp()
        own = {"mode": "terminate", "certificate": self.pem("192.0.2.1")}
        self.own = self.route("own", match={"domains": ["192.0.2.1"]}, tls=own)
        self.named = self.route("named", match={"domains": "a.example"}, target={"host": "10.0.0.2"})

    def to(self, host, name=None, header=b"", client_ip="198.51.100.9"):
        """Connect to ``host``; return the route, and what the record has as SNI."""
        below = self.network.connect(443, host, client=(client_ip, 50000))
        below.write(header)
        self.within(below, client(self.authority, name))
        self.settle()
        records = list(self.proxy.connections)
        record = records[-1] if records else None
        return (None, None) if record is None else (record.route, record.sni)

    def test_client_without_a_name_is_routed_by_the_local_address(self):
        self.start(self.own, self.named)
        self.assertEqual(self.to("192.0.2.1"), ("own", None))
        self.assertEqual(self.to("192.0.2.1", "a.example"), ("named", "a.example"))

    def test_other_address_is_no_route(self):
        self.start(self.own, self.named)
        self.assertEqual(self.to("192.0.2.2"), (None, None))
        self.assertEqual(self.rejected(), {"no_route": 1})

    def test_fallback_takes_clients_of_other_addresses(self):
        self.start(self.own, self.named | {"fallback": True})
        self.assertEqual(self.to("192.0.2.1"), ("own", None))
        self.assertEqual(self.to("192.0.2.2"), ("named", None))

    def test_announced_address_is_compared(self):
        self.start(self.own, self.named, proxyIPs=["203.0.113.1"])
        header = proxy_v2.build(SOURCE, LOCAL)
        self.assertEqual(self.to("10.9.9.9", header=header, client_ip="203.0.113.1"), ("own", None))

    def test_mapped_address_is_the_plain_one(self):
        self.start(self.own)
        self.assertEqual(self.to("::ffff:192.0.2.1"), ("own", None))

    def test_target_of_the_clients_choice_is_none(self):
        """``{domain}`` is a name that the client asks for: the local address would be the proxy itself."""
        own = self.route(
            "own",
            match={"domains": ["192.0.2.1"]},
            tls=self.own["action"]["tls"],
            target={"host": "{domain}"},
        )
        self.start(own)
        with capturedLogs() as logged:
            self.to("192.0.2.1")
        self.assertEqual(self.rejected(), {"upstream_unreachable": 1})
        self.assertIn("{domain}: the client asks for no name", "".join(map(str, map(formatEvent, logged))))

    def test_request_for_a_guarded_host_gets_421(self):
        """A route by address must not open a host for which clients must show a certificate."""
        guarded = {"mode": "require", "ca": self.ca}
        tls = {"mode": "terminate", "certificate": self.pem("b.example"), "clientAuth": guarded}
        own = self.route("own", match={"domains": ["192.0.2.1"], "path": "/*"}, tls=self.own["action"]["tls"])
        self.start(own, self.route("guarded", match={"domains": "b.example"}, tls=tls))
        below = self.network.connect(443, "192.0.2.1", client=("198.51.100.9", 50000))
        end = self.within(below, client(self.authority, None))
        self.settle()
        end.write(b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n")
        self.settle()
        self.assertTrue(end.received.startswith(b"HTTP/1.1 421 "), end.received)
