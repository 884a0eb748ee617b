"""A connection to a target: what it is called in Host."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.address import Endpoint, UnixEndpoint
from smartproxy.model.plan import OriginationPlan, TargetPlan
from smartproxy.upstream.connected import Connected


def authority(host, port=80, *, known_as="", tls=None):
    address = host if isinstance(host, UnixEndpoint) else Endpoint("192.0.2.1", port)
    target = TargetPlan((host,), port, known_as=known_as, tls=tls)
    return Connected(None, address, target, None, None, b"", host).authority


class AuthorityTests(SynchronousTestCase):
    def test_the_default_port_is_left_out(self):
        tls = OriginationPlan()
        self.assertEqual(
            [authority("a.test", port, tls=terms) for terms in (None, tls) for port in (80, 443, 8080)],
            ["a.test", "a.test:443", "a.test:8080", "a.test:80", "a.test", "a.test:8080"],
        )

    def test_an_ipv6_address_is_in_brackets(self):
        self.assertEqual(authority("2001:db8::1"), "[2001:db8::1]")
        self.assertEqual(authority("2001:db8::1", 81), "[2001:db8::1]:81")

    def test_a_unix_socket_is_localhost(self):
        self.assertEqual(authority(UnixEndpoint("/run/app.sock")), "localhost")

    def test_an_address_that_was_found_for_a_name_is_called_by_it(self):
        self.assertEqual(authority("192.0.2.1", 81, known_as="a.test"), "a.test:81")
