"""Several processes check the same targets: one asks, and tells the others."""

from __future__ import annotations

from tests.upstream.health.checking import CheckCase


class ToldTests(CheckCase):
    def setUp(self):
        super().setUp()
        self.results = []
        self.checks.on_result = lambda *result: self.results.append(result)

    def tell(self, *, passed, address=None, name="a"):
        member = self.group.candidates[0]
        known = f"{member.host}:{member.target.port}"
        self.checks.told("app", name, address or known, "told", passed=passed)

    def asked(self):
        """How often the target was dialed since this was asked last."""
        count, self.dialer.dialled[:] = len(self.dialer.dialled), []
        return count

    def test_own_results_are_told(self):
        self.check()
        self.until_dialed()
        [(group, name, _, passed, _)] = self.results
        self.assertEqual((group, name, passed), ("app", "a", True))

    def test_what_was_told_counts_as_a_result(self):
        self.check(fall=3)
        for _ in range(3):
            self.assertTrue(self.member("a").passed)
            self.tell(passed=False)
            self.clock.advance(0.5)
        self.assertFalse(self.member("a").passed)
        self.assertEqual(self.member("a").last_check.detail, "told")
        self.assertEqual(self.member("a").checks, {"ok": 0, "failed": 0})
        self.assertEqual(self.results, [])

    def test_the_target_is_not_asked_while_another_process_asks(self):
        self.check()
        for _ in range(10):
            self.tell(passed=True)
            self.advance(1)
        self.assertEqual(self.asked(), 0)

    def test_it_is_asked_when_the_other_process_is_gone(self):
        self.check()
        self.tell(passed=True)
        self.advance(1.1)
        self.assertEqual(self.asked(), 0)
        self.advance(0.2)
        self.assertEqual(self.asked(), 1)

    def test_a_result_of_the_same_interval_is_not_counted_twice(self):
        self.check(fall=2)
        self.tell(passed=False)
        self.clock.advance(0.1)
        self.tell(passed=False)
        self.assertTrue(self.member("a").passed)

    def test_a_target_with_another_address_or_name_is_another_one(self):
        self.check(fall=1)
        self.tell(passed=False, address="192.0.2.9:1")
        self.tell(passed=False, name="unknown")
        self.assertTrue(self.member("a").passed)
