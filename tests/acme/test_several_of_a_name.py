"""Several certificates that have a name in common."""

from __future__ import annotations

from smartproxy.acme.service import MAX_ORDERS
from smartproxy.model.plan import CertificatePlan
from tests.acme.service_case import ServiceTestCase, entry


class SeveralOfANameTests(ServiceTestCase):
    def test_next_renewal_of_a_name_is_the_first_one(self) -> None:
        """The series must not hide the one that is overdue."""
        self.start(entry("a.example"), entry("a.example", "b.example"), entry("a.example", "c.example"))
        certificates = {("a.example",): 600, ("a.example", "b.example"): 60, ("a.example", "c.example"): 6000}
        for names, life in certificates.items():
            self.issuer.answer(self.issued(*names, life=life))
        first = self.acme.find(("a.example", "b.example"))
        self.assertEqual(self.counters.acme_next_renewal(), {"a.example": first.due})

    def test_next_renewal_of_an_order_that_is_overdue_is_the_first_one(self) -> None:
        """One that is due at once has no date."""
        self.start(entry("a.example"), entry("a.example", "b.example"))
        self.issuer.answer(self.issued("a.example", life=60))
        self.assertEqual(self.counters.acme_next_renewal(), {"a.example": self.wall()})

    def test_stopped_service_has_no_next_renewal(self) -> None:
        """A proxy that drains orders nothing, and would be reported as overdue."""
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example"))
        self.acme.stop()
        self.assertEqual(self.counters.acme_next_renewal(), {})

    def begin(self, *entries: CertificatePlan) -> None:
        self.start(*entries)
        self.advance(1)
        while self.issuer.waiting:
            self.issuer.answer(self.issued(*self.issuer.waiting[0], life=6000))
            self.advance(1)

    def test_renewal_on_request_orders_each_of_them(self) -> None:
        """After its key was stolen, each certificate of the name needs another one."""
        self.begin(entry("a.example"), entry("c.example"), entry("a.example", "b.example"))
        self.assertEqual(self.acme.renew("b.example"), ("a.example", "b.example"))
        self.assertEqual(self.issuer.waiting, [("a.example", "b.example")])
        self.assertEqual(self.acme.renew("a.example"), ("a.example", "b.example"))
        self.assertEqual(sorted(self.issuer.waiting), [("a.example",), ("a.example", "b.example")])

    def test_renewal_on_request_of_many_begins_a_few_at_once(self) -> None:
        several = [entry("a.example", f"{number}.example") for number in range(MAX_ORDERS + 2)]
        self.begin(*several)
        self.assertEqual(len(self.acme.renew("a.example")), MAX_ORDERS + 3)
        self.assertEqual(len(self.issuer.waiting), MAX_ORDERS)
        before = len(self.issuer.orders)
        for _ in range(MAX_ORDERS):
            self.issuer.answer(self.issued(*self.issuer.waiting[0], life=6000, number=1))
        self.advance(1)
        self.assertEqual(len(self.issuer.orders) - before, 2)
