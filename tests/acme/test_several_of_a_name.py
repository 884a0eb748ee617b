"""Several certificates that have a name in common."""

from __future__ import annotations

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
