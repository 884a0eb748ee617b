"""When a certificate is renewed, and when a failed order is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme.schedule import renewal_time, retry_delay

DAY = 86400.0


class RenewalTests(SynchronousTestCase):
    def test_a_third_of_the_lifetime_is_left(self) -> None:
        for lifetime in (90 * DAY, 6 * DAY, 60.0):
            self.assertAlmostEqual(
                renewal_time(1000.0, 1000.0 + lifetime, None, 0.0), 1000.0 + lifetime * 2 / 3
            )

    def test_chance_makes_it_earlier_by_a_tenth_of_what_is_left(self) -> None:
        self.assertAlmostEqual(renewal_time(0.0, 90 * DAY, None, 1.0), 57 * DAY)

    def test_the_operator_may_say_how_long_before(self) -> None:
        self.assertAlmostEqual(renewal_time(0.0, 90 * DAY, 10 * DAY, 0.0), 80 * DAY)

    def test_longer_than_the_lifetime_is_a_third_of_it(self) -> None:
        """30 days before the end of a certificate for 6 days would be an order each second."""
        self.assertAlmostEqual(renewal_time(0.0, 6 * DAY, 30 * DAY, 0.0), 4 * DAY)

    @given(st.floats(60, 1e9), st.none() | st.floats(0, 1e9), st.floats(0, 1))
    def test_is_within_the_last_nine_tenths(
        self, lifetime: float, before: float | None, chance: float
    ) -> None:
        """No setting makes it order again and again."""
        at = renewal_time(0.0, lifetime, before, chance)
        self.assertTrue(lifetime * 0.0999 <= at <= lifetime)


class RetryTests(SynchronousTestCase):
    def test_first_retry_is_after_5_s_and_doubles_up_to_an_hour(self) -> None:
        delays = [retry_delay(failures, 0.0) for failures in range(1, 13)]
        self.assertEqual(delays[:5], [5.0, 10.0, 20.0, 40.0, 80.0])
        self.assertEqual(delays[-2:], [3600.0, 3600.0])
        self.assertEqual(retry_delay(10_000, 1.0), 3600.0)

    def test_chance_adds_a_fifth(self) -> None:
        self.assertEqual(retry_delay(1, 1.0), 6.0)

    def test_what_the_directory_asks_for_wins(self) -> None:
        self.assertEqual(retry_delay(1, 0.0, 7200.0), 7200.0)
        self.assertEqual(retry_delay(9, 0.0, 30.0), 30.0)

    def test_what_it_asks_for_is_bounded(self) -> None:
        self.assertEqual(retry_delay(1, 0.0, 0.0), 5.0)
        self.assertEqual(retry_delay(1, 0.0, 1e12), DAY)
