"""Orders on demand that fail, and clients that come less often than they are tried again."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from smartproxy.acme import due
from smartproxy.acme.schedule import MAX_RETRY
from smartproxy.acme.storage import AcmeStorage
from smartproxy.errors import AcmeError
from tests.acme.service_case import URL
from tests.acme.test_on_demand import OnDemandTestCase


class BackOffTests(OnDemandTestCase):
    def orders(self, name: str) -> int:
        """The number of orders in half an hour, all of which fail, where a client asks every ten seconds."""
        before = len(self.issuer.orders)
        for _ in range(180):
            client = self.client(name)
            if isinstance(client, Deferred):
                client.addErrback(lambda _: None)
            for _ in range(10):
                while self.issuer.waiting:
                    self.issuer.answer(AcmeError("port 80 cannot be reached"))
                self.advance(1)
        return len(self.issuer.orders) - before

    def order_in_vain(self, *names: str) -> None:
        for name in names:
            self.client(name).addErrback(lambda _: None)
            self.issuer.answer(AcmeError("port 80 cannot be reached"))

    def known(self) -> list[str]:
        return [managed.name for managed in self.acme.on_demand()]

    def test_delays_of_a_first_order_grow(self) -> None:
        """The authority refuses a name after five failed proofs in an hour."""
        self.begin(most=1000)
        self.assertLess(self.orders("a.example"), 12)

    def test_delays_of_a_renewal_grow(self) -> None:
        """Renewals have no limit but this one: the authority would refuse all orders of the account."""
        storage = AcmeStorage(str(self.path), URL)
        storage.prepare()
        self.begin()
        self.client()
        issued = self.issued("a.example", life=86400.0)
        storage.save(("a.example",), issued.plan.chain, issued.plan.key)
        self.issuer.answer(issued)
        self.wall_set = 86400.0 * 0.7  # it is due
        self.advance(1)
        self.assertLess(self.orders("a.example"), 12)

    def test_one_name_that_fails_leaves_orders_for_others(self) -> None:
        self.begin(most=20)
        self.orders("a.example")
        self.client("b.example")
        self.assertIn(("b.example",), self.issuer.waiting)

    def test_next_challenge_is_not_forgotten_between_two_clients(self) -> None:
        """The first kind of proof may be impossible for the name."""
        self.begin()
        self.client().addErrback(lambda _: None)
        self.issuer.answer(AcmeError("port 80 cannot be reached", "connection"))
        self.advance(60)
        self.client()
        self.assertEqual(self.issuer.failed_proofs, [0, 1])

    def test_name_that_no_client_asks_for_is_forgotten_after_an_hour(self) -> None:
        self.begin()
        self.order_in_vain("a.example")
        self.advance(MAX_RETRY)
        self.assertEqual((self.issuer.waiting, self.known()), ([], ["a.example"]))
        self.advance(7)
        self.assertEqual((self.issuer.waiting, self.known()), ([], []))

    def test_number_of_names_kept_for_their_failures_is_limited(self) -> None:
        """Those that were due last are kept: they have failed most often."""
        self.patch(due, "MOST_FAILED", 2)
        self.begin()
        self.order_in_vain("a.example", "b.example")
        self.advance(1)
        self.order_in_vain("c.example")
        self.advance(3)
        self.assertEqual(len(self.known()), 3)
        self.advance(4)
        self.assertEqual(self.known(), ["b.example", "c.example"])

    def test_one_that_is_kept_for_its_failures_has_no_next_renewal(self) -> None:
        """It would be reported as overdue."""
        self.begin()
        self.order_in_vain("a.example")
        self.assertIn("a.example", self.counters.acme_next_renewal())
        self.advance(60)
        self.assertEqual(self.counters.acme_next_renewal(), {})
        self.client()
        self.assertIn("a.example", self.counters.acme_next_renewal())
