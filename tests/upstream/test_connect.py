"""Connecting to a target: the first in turn, and the others when it fails."""

from __future__ import annotations

import errno
import socket

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from smartproxy.errors import DialFailed, Refused
from smartproxy.model.address import Endpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import KeepAlive, OriginationPlan, TargetPlan, TerminationPlan, Timeouts
from smartproxy.net.keep_alive import Option
from tests.phases.made import routed
from tests.upstream.connecting import ConnectCase, to


class ConnectTests(ConnectCase):
    def test_first_target_is_dialled_with_the_routes_timeout(self):
        targets = to("192.0.2.1")
        connecting = self.connecting(targets, timeouts=Timeouts(connection=7.0))
        self.clock.advance(0.5)
        self.dialer.accept("192.0.2.1")
        connected = self.successResultOf(connecting)
        self.assertEqual((connected.address, connected.target), (Endpoint("192.0.2.1", 80), targets[0]))
        self.assertEqual(self.dialer.dialled, [(Endpoint("192.0.2.1", 80), 7.0)])
        self.assertEqual(self.counters.route("web").dial_seconds.total, 0.5)

    def test_keep_alive_is_that_of_the_route(self):
        connecting = self.connecting(to("192.0.2.1"), keep_alive=KeepAlive(enabled=False))
        self.dialer.accept("192.0.2.1")
        self.assertFalse(self.successResultOf(connecting).side.transport.getTcpKeepAlive())

    def test_user_timeout_of_the_route_reaches_the_targets_socket(self):
        for enabled in (True, False):
            keep_alive = KeepAlive(enabled=enabled, user_timeout=90_000)
            self.connecting(to("192.0.2.1"), keep_alive=keep_alive)
            option = Option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 90_000)
            self.assertIn(option, self.dialer.pending["192.0.2.1"].keep_alive)

    def test_bind_address_is_given_to_the_dialer(self):
        self.connecting((TargetPlan(("192.0.2.1",), 80, source="192.0.2.7"),))
        self.assertEqual(self.dialer.sources, ["192.0.2.7"])

    def test_only_addresses_of_the_family_of_bind_are_raced(self):
        """From an IPv4 address no IPv6 address can be reached: trying would cost the head start of the race."""
        for source, dialled in (
            ("192.0.2.7", ["192.0.2.1:80", "192.0.2.2:80"]),
            ("2001:db8::7", ["[2001:db8::1]:80", "[2001:db8::2]:80"]),
        ):
            self.setUp()
            self.create(a=["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"])
            self.connecting((TargetPlan(("a.example",), 80, source=source),))
            self.clock.advance(0.3)
            self.assertEqual(self.dialled(), dialled)
            self.assertEqual(set(self.dialer.sources), {source})

    def test_host_without_an_address_of_the_family_of_bind_fails(self):
        """Also one that a callable chooses; the next target is tried."""
        self.create(a=["2001:db8::1"])
        for host in (("a.example",), lambda facts: "2001:db8::1"):
            failing = self.connecting((TargetPlan(host, 80, source="192.0.2.7"),))
            why = self.failureResultOf(failing, DialFailed).value
            self.assertIs(why.reason, RejectReason.UPSTREAM_UNREACHABLE)
            self.assertIn("has no IPv4 address to connect to from 192.0.2.7", why.detail)
        self.assertEqual(self.dialled(), [])

    def test_failed_target_is_followed_by_the_next(self):
        """No client byte was sent yet, so a refusal or timeout of one target must not reach the client."""
        self.dialer.refusing = {"192.0.2.1"}
        connecting = self.connecting(to("192.0.2.1", "192.0.2.2", "192.0.2.3"))
        self.dialer.fail("192.0.2.2", error.TimeoutError())
        self.dialer.accept("192.0.2.3")
        self.assertEqual(self.successResultOf(connecting).address.host, "192.0.2.3")
        self.assertEqual(self.dialled(), ["192.0.2.1:80", "192.0.2.2:80", "192.0.2.3:80"])
        self.assertEqual(self.dials(), 1)

    def test_error_of_the_last_target_is_reported(self):
        self.dialer.refusing = {"192.0.2.1"}
        connecting = self.connecting(to("192.0.2.1", "192.0.2.2"))
        self.dialer.fail("192.0.2.2", error.TimeoutError())
        self.assertIs(
            self.failureResultOf(connecting, DialFailed).value.reason, RejectReason.UPSTREAM_TIMEOUT
        )
        self.assertEqual(self.dials(), 0)

    def test_route_without_targets_fails(self):
        refused = self.failureResultOf(self.connecting(()), Refused)
        self.assertIs(refused.value.reason, RejectReason.NO_TARGET)

    def test_targets_take_turns_across_connections(self):
        targets = to("192.0.2.1", "192.0.2.2")
        route = self.routed(targets=targets)
        for _ in range(4):
            Deferred.fromCoroutine(self.connect(route))
        self.assertEqual(self.dialled(), ["192.0.2.1:80", "192.0.2.2:80"] * 2)

    def test_preserved_port_is_the_listeners(self):
        self.connecting(to("192.0.2.1", port=None))
        self.assertEqual(self.dialled(), ["192.0.2.1:443"])

    def test_ipv4_mapped_target_is_dialled_as_ipv4(self):
        self.connecting(to("::ffff:192.0.2.1"))
        self.assertEqual(self.dialled(), ["192.0.2.1:80"])

    def test_resolution_timeout_counts_as_connection_timeout(self):
        """The next target is tried; without one, the refusal is ``upstream_timeout``."""
        self.create(slow=Deferred())
        connecting = self.connecting(to("slow.test", "192.0.2.7"), timeouts=Timeouts(connection=3.0))
        self.clock.advance(2.9)
        self.assertEqual(self.dialled(), [])
        self.clock.advance(0.1)
        self.dialer.accept("192.0.2.7")
        self.assertEqual(self.successResultOf(connecting).address.host, "192.0.2.7")
        self.create(slow=Deferred())
        connecting = self.connecting(to("slow.test"), timeouts=Timeouts(connection=3.0))
        self.clock.advance(3)
        self.assertIs(
            self.failureResultOf(connecting, DialFailed).value.reason, RejectReason.UPSTREAM_TIMEOUT
        )

    def test_cached_name_sets_no_timer(self):
        self.create(known=["192.0.2.7"])
        self.connecting(to("known.test"))
        self.assertEqual((self.dialled(), self.clock.getDelayedCalls()), (["192.0.2.7:80"], []))

    def test_addresses_of_a_name_are_raced(self):
        self.create(a=["2001:db8::1", "192.0.2.1"])
        connecting = self.connecting(to("a.example"))
        self.assertEqual(self.dialled(), ["[2001:db8::1]:80"])
        self.clock.advance(0.25)
        self.dialer.accept("192.0.2.1")
        self.assertEqual(self.successResultOf(connecting).address, Endpoint("192.0.2.1", 80))
        self.assertEqual(self.dialer.cancelled, ["2001:db8::1"])

    def test_name_with_one_address_sets_no_timer(self):
        self.create(a=["192.0.2.1"])
        connecting = self.connecting(to("a.example"))
        self.dialer.accept("192.0.2.1")
        self.successResultOf(connecting)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_unknown_name_is_followed_by_the_next_target(self):
        connecting = self.connecting(to("b.example", "192.0.2.2"))
        self.dialer.accept("192.0.2.2")
        self.successResultOf(connecting)

    def test_client_disconnect_cancels_the_dial(self):
        for targets in (to("192.0.2.1"), to("a.example")):
            self.setUp()
            self.create(a=["192.0.2.1", "192.0.2.2"])
            connecting = self.connecting(targets)
            connecting.cancel()
            self.failureResultOf(connecting, CancelledError)
            self.assertEqual(self.dialer.cancelled, ["192.0.2.1"])
            self.clock.advance(10)
            self.assertEqual(len(self.dialer.dialled), 1)

    def test_lack_of_resources_is_no_failure_of_the_target(self):
        """Without a free descriptor every target would be ejected for ten seconds, though all of them are up."""
        for code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL):
            self.create()
            connecting = self.connecting(to("192.0.2.1"))
            self.dialer.fail("192.0.2.1", error.ConnectError(code))
            self.failureResultOf(connecting, DialFailed)
            (member,) = self.groups.members
            self.assertEqual((member.state, member.results["unreachable"], member.active), ("up", 1, 0))

    def test_probe_that_lacks_resources_is_followed_by_another(self):
        """The target is not ejected again, and the next connection may try it at once."""
        for exception in (error.ConnectionRefusedError(), error.ConnectError(errno.EMFILE)):
            connecting = self.connecting(to("192.0.2.1"))
            self.dialer.fail("192.0.2.1", exception)
            self.failureResultOf(connecting, DialFailed)
            self.clock.advance(10)
        (member,) = self.groups.members
        self.assertEqual((member.state, member.ejections), ("ejected", 1))
        connecting = self.connecting(to("192.0.2.1"))
        self.dialer.accept("192.0.2.1")
        self.successResultOf(connecting)
        self.assertEqual(member.state, "up")

    def test_client_disconnect_cancels_the_resolution(self):
        resolution = Deferred()
        self.create(a=resolution)
        connecting = self.connecting(to("a.example"))
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertTrue(resolution.called)

    # -- TLS -----------------------------------------------------------------------------------------

    def test_header_is_left_to_the_relay_without_tls(self):
        connecting = Deferred.fromCoroutine(
            self.connect(self.routed(targets=to("192.0.2.1")), lambda target: b"PROXY %d" % target.port)
        )
        far = self.dialer.accept("192.0.2.1")
        self.clock.advance(0)
        self.assertEqual((self.successResultOf(connecting).header, far.received), (b"PROXY 80", b""))

    def test_header_is_sent_before_the_targets_tls(self):
        target = TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan())
        connecting = Deferred.fromCoroutine(
            self.connect(
                routed(targets=(target,), timeouts=Timeouts(tls_handshake=3.0)), lambda target: b"PROXY"
            )
        )
        far = self.dialer.accept("192.0.2.1")
        self.clock.advance(0)
        connected = self.successResultOf(connecting)
        self.assertEqual((connected.header, far.received), (b"", b"PROXY"))
        self.assertEqual(self.originated, [("192.0.2.1", "192.0.2.1", 3.0)])
        connected.on_closed()
        self.assertEqual(self.originated[1:], ["closed"])

    def test_target_is_verified_by_name_and_not_by_address(self):
        self.create(a=["192.0.2.1"])
        self.connecting((TargetPlan(("a.example",), 443, tls=OriginationPlan()),))
        self.dialer.accept("192.0.2.1")
        self.assertEqual(self.originated[0][:2], ("192.0.2.1", "a.example"))

    def test_failed_handshake_is_followed_by_the_next_target(self):
        self.handshakes = [DialFailed(RejectReason.TLS_ERROR, "it has expired")]
        connecting = self.connecting(
            (TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan()), *to("192.0.2.2"))
        )
        self.dialer.accept("192.0.2.1")
        self.dialer.accept("192.0.2.2")
        self.assertEqual(self.successResultOf(connecting).address.host, "192.0.2.2")

    def test_failed_handshake_of_the_last_target_is_a_tls_error(self):
        self.handshakes = [DialFailed(RejectReason.TLS_ERROR, "it has expired")]
        connecting = self.connecting((TargetPlan(("192.0.2.1",), 443, tls=OriginationPlan()),))
        self.dialer.accept("192.0.2.1")
        self.assertIs(self.failureResultOf(connecting, DialFailed).value.reason, RejectReason.TLS_ERROR)

    # -- PostgreSQL's SSLRequest -------------------------------------------------------------------

    def connecting_after_start_tls(self, *targets, header=b"", **more):
        facts = self.routed(targets=targets, timeouts=Timeouts(tls_handshake=3.0), **more)
        facts = facts._replace(detected=facts.detected._replace(start_tls=True))
        return Deferred.fromCoroutine(self.connect(facts, lambda target: header))

    def test_ssl_request_is_repeated_for_passed_through_tls(self):
        """It is sent after the PROXY header, and counted as payload."""
        connecting = self.connecting_after_start_tls(*to("192.0.2.1"), header=b"PROXY")
        far = self.dialer.accept("192.0.2.1")
        self.clock.advance(0)
        connected = self.successResultOf(connecting)
        self.assertEqual(self.tls_requests, [(connected.side, "192.0.2.1", 3.0, 0)])
        self.assertEqual((connected.header, far.received), (b"", b"PROXY"))
        self.assertEqual(connected.exchanged, (8, 1))

    def test_plain_target_gets_no_ssl_request_for_terminated_tls(self):
        connecting = self.connecting_after_start_tls(*to("192.0.2.1"), tls=TerminationPlan())
        self.dialer.accept("192.0.2.1")
        self.assertEqual(self.successResultOf(connecting).exchanged, (0, 0))
        self.assertEqual((self.tls_requests, self.originated), ([], []))

    def test_reencrypted_target_gets_the_ssl_request_before_tls(self):
        connecting = self.connecting_after_start_tls(
            TargetPlan(("192.0.2.1",), 5432, tls=OriginationPlan()), tls=TerminationPlan(), header=b"PROXY"
        )
        far = self.dialer.accept("192.0.2.1")
        self.clock.advance(0)
        connected = self.successResultOf(connecting)
        ((side, *_, originated),) = self.tls_requests
        self.assertEqual((originated, len(self.originated)), (0, 1))
        self.assertIsNot(side, connected.side)
        self.assertEqual((connected.exchanged, connected.header, far.received), ((0, 0), b"", b"PROXY"))

    def test_ssl_request_is_sent_within_tls_that_wraps_passthrough(self):
        connecting = self.connecting_after_start_tls(TargetPlan(("192.0.2.1",), 5432, tls=OriginationPlan()))
        self.dialer.accept("192.0.2.1")
        connected = self.successResultOf(connecting)
        self.assertEqual(self.tls_requests, [(connected.side, "192.0.2.1", 3.0, 1)])
        self.assertEqual(connected.exchanged, (8, 1))

    def test_target_gets_no_ssl_request_without_the_clients(self):
        for tls in (None, OriginationPlan()):
            self.setUp()
            connecting = self.connecting((TargetPlan(("192.0.2.1",), 443, tls=tls),))
            self.dialer.accept("192.0.2.1")
            self.assertEqual(self.successResultOf(connecting).exchanged, (0, 0))
            self.assertEqual(self.tls_requests, [])

    def test_target_declining_tls_is_followed_by_the_next(self):
        self.unwilling = ["192.0.2.1"]
        connecting = self.connecting_after_start_tls(*to("192.0.2.1", "192.0.2.2"))
        self.dialer.accept("192.0.2.1")
        self.dialer.accept("192.0.2.2")
        self.assertEqual(self.successResultOf(connecting).address.host, "192.0.2.2")

    def test_all_targets_declining_tls_is_a_tls_error(self):
        self.unwilling = ["192.0.2.1"]
        connecting = self.connecting_after_start_tls(*to("192.0.2.1"))
        self.dialer.accept("192.0.2.1")
        self.assertIs(self.failureResultOf(connecting, DialFailed).value.reason, RejectReason.TLS_ERROR)

    # -- callables -----------------------------------------------------------------------------------

    def test_callables_may_return_values_awaitables_and_deferreds(self):
        async def soon(facts):
            return await succeed("192.0.2.1")

        for host in (lambda facts: "192.0.2.1", soon, lambda facts: succeed("192.0.2.1")):
            self.setUp()
            connecting = self.connecting((TargetPlan(host, lambda facts: 8080),))
            self.dialer.accept("192.0.2.1")
            self.assertEqual(str(self.successResultOf(connecting).address), "192.0.2.1:8080")

    def test_callables_receive_the_facts(self):
        given = []
        self.connecting((TargetPlan(lambda facts: given.append(facts) or "192.0.2.1", 80),))
        self.assertEqual(given[0].route.name, "web")
        self.assertEqual(given[0].detected.client_ip, "192.0.2.1")

    def test_name_returned_by_a_callable_is_resolved(self):
        self.create(a=["192.0.2.7"])
        self.connecting((TargetPlan(lambda facts: "a.example", 80),))
        self.assertEqual(self.dialled(), ["192.0.2.7:80"])

    def test_exception_of_a_callable_tries_no_other_target(self):
        async def raises(facts):
            raise ZeroDivisionError

        for host in (lambda facts: 1 / 0, raises, lambda facts: fail(ZeroDivisionError())):
            self.setUp()
            connecting = self.connecting((TargetPlan(host, 80), *to("192.0.2.2")))
            self.failureResultOf(connecting, ZeroDivisionError)
            self.assertEqual(self.dialled(), [])

    def test_callable_is_called_for_each_connection(self):
        hosts = iter(["192.0.2.1", "192.0.2.2"])
        target = (TargetPlan(lambda facts: next(hosts), 80),)
        route = self.routed(targets=target)
        for _ in range(2):
            Deferred.fromCoroutine(self.connect(route))
        self.assertEqual(self.dialled(), ["192.0.2.1:80", "192.0.2.2:80"])
