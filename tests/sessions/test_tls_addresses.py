"""A client that connects to an address sends no name: it is shown the certificate for that address."""

from __future__ import annotations

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
