"""How checks connect: as clients are connected."""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.defer import Deferred

from smartproxy.errors import DialFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import OriginationPlan
from smartproxy.model.plan.check import CheckKind
from tests.upstream.health.checking import CheckCase

FOUR, SIX, OTHER = "192.0.2.4", "2001:db8::6", "192.0.2.5"


class AddressTests(CheckCase):
    names: ClassVar = {"app": [SIX, FOUR, OTHER], "one": [FOUR], "slow": None}

    def setUp(self):
        self.names = {**self.names, "slow": Deferred()}
        super().setUp()

    def dialled(self):
        return [to.host for to, _ in self.dialer.dialled]

    def test_the_addresses_of_a_name_are_raced(self):
        """A client would get the second address, so the target is up."""
        self.check(hosts=("app.test",), fall=1)
        self.dialer.refusing = {SIX}
        self.until(FOUR)
        self.dialer.accept(FOUR)
        self.advance(0.1)
        self.assertEqual((self.last().ok, self.last().detail), (True, "connected"))
        self.assertEqual(self.dialled(), [SIX, FOUR])

    def until(self, host):
        for _ in range(40):
            if host not in self.dialer.pending:
                self.advance(0.05)
        self.assertIn(host, self.dialer.pending)

    def test_a_silent_address_costs_a_quarter_of_a_second(self):
        self.check(hosts=("app.test",), fall=1, timeout=2.0)
        self.until(FOUR)
        self.dialer.accept(FOUR)
        self.advance(0.1)
        self.assertTrue(self.last().ok)
        self.assertEqual(self.dialer.cancelled, [SIX])

    def test_all_addresses_must_fail(self):
        self.check(hosts=("app.test",), fall=1)
        self.dialer.refusing = {SIX, FOUR, OTHER}
        self.until_down()
        for host in (SIX, FOUR, OTHER):
            self.assertIn(host, self.last().detail)

    def test_addresses_of_the_family_of_the_source_are_tried(self):
        self.check(hosts=("app.test",), source="10.0.0.1", fall=1)
        self.dialer.refusing = {FOUR, OTHER}
        self.until_down()
        self.assertEqual(set(self.dialled()), {FOUR, OTHER})
        self.assertEqual(set(self.dialer.sources), {"10.0.0.1"})

    def test_a_name_without_such_an_address_fails(self):
        for host, more in (("one.test", {}), (FOUR, {"hosts": (FOUR,)})):
            self.setUp()
            self.check(**({"hosts": (host,), "source": "2001:db8::1", "fall": 1} | more))
            self.until_down()
            self.assertEqual(self.last().detail, f"{host} has no IPv6 address to connect to from 2001:db8::1")

    def test_an_address_is_dialed_from_the_source(self):
        self.check(source="10.0.0.1")
        self.until_dialed()
        self.assertEqual(self.dialer.sources, ["10.0.0.1"])

    def test_a_name_that_is_not_resolved(self):
        self.check(hosts=("none.test",), fall=1)
        self.until_down()
        self.assertEqual(self.last().detail, "no such name")
        self.setUp()
        self.check(hosts=("slow.test",), fall=1)
        self.until_down()
        self.assertEqual(self.last().detail, "no answer in 1 s")

    def test_a_cancelled_race_ends_all_its_attempts(self):
        self.check(hosts=("app.test",))
        self.until(SIX)
        self.advance(0.7)
        self.checks.stop()
        self.assertEqual(set(self.dialer.cancelled), {SIX, FOUR, OTHER})


class TlsTests(CheckCase):
    def test_a_handshake_is_made_anew_for_the_name_of_the_target(self):
        """A resumed session would show less, and a target that refuses to resume it is up all the same."""
        tls = OriginationPlan(server_name="inner.test")
        self.check(CheckKind.TLS, check_tls=tls)
        self.until_dialed()
        self.advance(0.1)
        self.assertEqual(self.last().detail, "connected with TLS")
        self.assertEqual(self.originated, [(tls, "inner.test", False)])

    def test_a_failed_handshake_fails_with_its_reason(self):
        async def originate(side, *_, **__):
            raise DialFailed(RejectReason.TLS_ERROR, "TLS with a: certificate has expired")

        self.originate = originate
        self.make_checks()
        self.check(CheckKind.TLS, check_tls=OriginationPlan(), fall=1)
        far = self.until_dialed()
        self.advance(0.1)
        self.assertEqual(self.last().detail, "TLS with a: certificate has expired")
        self.assertTrue(far.was_reset)


class StopTests(CheckCase):
    def test_connections_that_are_being_closed_are_aborted(self):
        """The target has not closed yet: nothing is left in the reactor."""
        self.check()
        far = self.until_dialed()
        self.advance(0.05)
        self.assertFalse(far.was_reset)
        self.checks.stop()
        self.advance(0.05)
        self.assertTrue(far.was_reset)
        self.assertEqual(len(self.deadlines), 0)
