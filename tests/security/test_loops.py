"""Connections of the proxy to its own listeners: which routes they have passed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import DialFailed
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted
from smartproxy.model.outcome import RejectReason
from smartproxy.net.own_addresses import is_own_address, reaches
from smartproxy.security.loops import Loops, own_source

OWN = Endpoint("127.0.0.1", 8080)


def accepted(peer: Endpoint, port: int = 8080) -> Accepted:
    return Accepted(f":{port}", port, peer, 0.0)


CLIENT = accepted(Endpoint("192.0.2.1", 50000))


def source(port: int, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(host, port)


class LoopsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loops = Loops()

    def test_connection_that_passed_the_route_is_refused(self) -> None:
        self.loops.check(OWN, CLIENT, "a")
        self.assertTrue(self.loops.add(source(1), OWN, CLIENT, "a"))
        self.loops.check(OWN, accepted(source(1)), "b")
        refused = self.assertRaises(DialFailed, self.loops.check, OWN, accepted(source(1)), "a")
        self.assertEqual(refused.reason, RejectReason.UPSTREAM_UNREACHABLE)
        self.assertIn("127.0.0.1:8080 is a listener of this proxy", refused.detail)

    def test_routes_are_remembered_through_other_routes(self) -> None:
        self.loops.add(source(1), OWN, CLIENT, "a")
        self.loops.add(source(2), OWN, accepted(source(1)), "b")
        self.assertRaises(DialFailed, self.loops.check, OWN, accepted(source(2)), "a")

    def test_target_on_another_machine_is_never_refused(self) -> None:
        """The same port number is usual there: 443 to 443."""
        elsewhere = Endpoint("203.0.113.9", 8080)
        self.loops.add(source(1), OWN, CLIENT, "a")
        self.loops.check(elsewhere, accepted(source(1)), "a")
        self.assertFalse(self.loops.add(source(2, "192.0.2.77"), elsewhere, CLIENT, "a"))
        self.assertEqual(len(self.loops), 1)

    def test_ended_connection_is_forgotten(self) -> None:
        """Its port number may be that of any client next."""
        self.loops.add(source(1), OWN, CLIENT, "a")
        self.loops.forget(source(1), OWN.port)
        self.loops.forget(source(1), OWN.port)
        self.loops.check(OWN, accepted(source(1)), "a")
        self.assertEqual(len(self.loops), 0)

    def test_client_of_another_port_may_have_the_same_local_address(self) -> None:
        """The kernel gives one local port to several sockets, where they are connected to different ones."""
        self.loops.add(source(1), OWN, CLIENT, "a")
        self.loops.check(OWN, accepted(source(1), 8081), "a")
        self.loops.add(source(1), Endpoint("127.0.0.1", 8081), CLIENT, "b")
        self.loops.forget(source(1), 8081)
        self.assertRaises(DialFailed, self.loops.check, OWN, accepted(source(1)), "a")

    def test_own_address_of_the_machine_counts(self) -> None:
        own = Endpoint("192.0.2.77", 8080)
        self.assertTrue(self.loops.add(source(1, "192.0.2.77"), own, CLIENT, "a"))


class OwnAddressTests(SynchronousTestCase):
    def test_loopback_wildcards_and_localhost_are_own(self) -> None:
        for host in ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "localhost"):
            self.assertTrue(is_own_address(host), host)

    def test_addresses_of_others_and_names_are_not(self) -> None:
        for host in ("192.0.2.1", "2001:db8::1", "example.com", ""):
            self.assertFalse(is_own_address(host), host)

    def test_a_listener_is_reached_on_its_address(self) -> None:
        reached = [
            ("127.0.0.1", ""), ("::1", "::"), ("localhost", "127.0.0.1"), ("localhost", "::1"), ("0.0.0.0", "127.0.0.1"),
            ("127.0.0.2", "127.0.0.2"), ("::ffff:127.0.0.1", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"),
        ]  # fmt: skip
        self.assertEqual([pair for pair in reached if not reaches(*pair)], [])
        others = [
            ("127.0.0.1", "127.0.0.2"),
            ("localhost", "192.0.2.1"),
            ("192.0.2.1", ""),
            ("0.0.0.0", "192.0.2.1"),
        ]
        self.assertEqual([pair for pair in others if reaches(*pair)], [])

    def test_source_is_the_address_that_the_kernel_would_take(self) -> None:
        found = [own_source(host) for host in ("127.0.0.2", "::1", "0.0.0.0", "::", "192.0.2.1")]
        self.assertEqual(found, ["127.0.0.2", "::1", "127.0.0.1", "::1", ""])
