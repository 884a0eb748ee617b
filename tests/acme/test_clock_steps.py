"""A wall clock that is wrong at first, or jumps."""

from __future__ import annotations

from smartproxy.errors import AcmeError
from tests.acme.service_case import ServiceTestCase, entry


class WallClockTests(ServiceTestCase):
    """A machine may start with a wrong date, and sleep."""

    def test_clock_that_is_set_back_does_not_delay_a_retry(self) -> None:
        """With the wrong date the directory's own certificate looks expired, so the first order fails."""
        self.wall_set = 400 * 86400.0
        self.start(entry("a.example"))
        self.issuer.answer(AcmeError("certificate verify failed"))
        self.wall_set = 0.0
        self.advance(7)
        self.assertEqual(len(self.issuer.waiting), 1)

    def test_clock_that_is_set_back_does_not_delay_what_waits_for_another_process(self) -> None:
        self.wall_set = 86400.0
        self.start(entry("a.example"))
        self.issuer.answer(None)
        self.wall_set = 0.0
        self.advance(4)
        self.assertEqual(len(self.issuer.waiting), 1)

    def test_clock_that_is_set_back_does_not_change_when_it_is_renewed(self) -> None:
        """That follows from the dates of the certificate."""
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example"))
        self.advance(30)
        self.wall_set = -20.0
        self.advance(25)
        self.assertEqual(self.issuer.waiting, [])
        self.advance(10)
        self.assertEqual(len(self.issuer.waiting), 1)

    def test_clock_that_is_set_forward_by_sleep_renews_what_is_due(self) -> None:
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example", life=600.0))
        self.wall_set = 500.0
        self.advance(1)
        self.assertEqual(len(self.issuer.waiting), 1)
