"""Automatic certificates where an order of another process on the store has failed."""

from __future__ import annotations

from smartproxy.acme.store_lock import FailedOrder, OrderAttempts
from tests.acme.service_case import BEGAN, ServiceTestCase, entry


class FailedElsewhereTests(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start(entry("a.example"))
        self.issuer.answer(FailedOrder(BEGAN - 4.0, "no record", 3, 2, None))

    def test_it_is_tried_again_when_the_other_process_would(self) -> None:
        status = self.status(entry("a.example"))
        self.assertEqual(status[:5], ("failed", BEGAN + 16, "no record", BEGAN - 4, 3))
        self.advance(15)
        self.assertEqual(self.issuer.waiting, [])
        self.advance(2)
        self.assertEqual(self.issuer.waiting, [("a.example",)])
        self.assertEqual(self.issuer.attempts[-1], OrderAttempts(3, 2, BEGAN))

    def test_it_is_counted_and_announced_by_the_other_process(self) -> None:
        self.assertEqual(self.counters.acme_orders["failed"], 0)
        self.assertEqual(self.events, [])

    def test_order_on_request_does_not_wait(self) -> None:
        self.advance(2)
        self.acme.renew("a.example")
        self.assertEqual(self.issuer.attempts[-1], OrderAttempts(3, 2, BEGAN + 2))

    def test_changed_configuration_does_not_wait(self) -> None:
        self.advance(2)
        self.apply(entry("a.example"), email="other@a.example")
        self.advance(1)
        self.assertEqual(self.issuer.attempts, [OrderAttempts(3, 2, BEGAN + 2)])
