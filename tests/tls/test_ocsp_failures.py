"""Responders that fail, and certificates that are revoked: what is shown then, what is said, and when it is tried again."""

from __future__ import annotations

from smartproxy.model.certificate_status import ShownStaple
from smartproxy.tls.ocsp.stapling import FIRST_RETRY, MAX_RETRY, SWEEP_INTERVAL
from tests.tls.responders import HOUR, REVOKED, UNKNOWN, URL
from tests.tls.stapling_case import CA, DOWN, LEAF, OTHER, OURS, StaplingCase


class FailureTests(StaplingCase):
    def test_intervals_double_up_to_an_hour(self) -> None:
        self.luck = 1.0
        self.asked.at_once = DOWN
        self.begin()
        waits = [self.asks_after() for _ in range(10)]
        self.assertEqual(waits[:4], [FIRST_RETRY * factor for factor in (1, 2, 4, 8)])
        self.assertEqual(waits[-2:], [MAX_RETRY, MAX_RETRY])
        self.assertEqual(self.results(), {"unanswered": 11})

    def test_half_of_an_interval_is_chance(self) -> None:
        self.asked.at_once = DOWN
        self.begin()
        self.assertEqual(self.asks_after(), FIRST_RETRY / 2)

    def test_after_an_answer_it_begins_again_with_the_first(self) -> None:
        self.luck = 1.0
        self.asked.at_once = DOWN
        self.begin()
        for _ in range(5):
            self.asks_after()
        self.asked.at_once = OURS.answer(LEAF, end=2 * HOUR)
        self.asks_after()
        self.asked.at_once = DOWN
        self.asks_after()
        self.assertEqual(self.asks_after(), FIRST_RETRY)

    def test_a_responder_that_is_down_is_told_of_once_for_all_its_certificates(self) -> None:
        leaves = [CA.leaf(f"{number}.example", ocsp=URL) for number in range(9)]
        self.asked.at_once = DOWN
        self.begin(*leaves)
        self.clock.pump([SWEEP_INTERVAL] * 600)
        self.assertEqual(self.lines, [("warn", f"OCSP responder {URL} did not answer: connection refused")])
        for leaf in leaves:
            self.assertEqual(self.status(leaf), ShownStaple("failed", None, f"{URL}: connection refused"))
        self.asked.at_once = OURS.answer(leaves[0])
        self.clock.pump([60.0] * 120)
        self.assertEqual(self.lines.count(("info", f"OCSP responder {URL} answers again")), 1)
        self.assertEqual([line for _, line in self.lines if "did not answer" in line], [self.lines[0][1]])

    def test_a_response_that_is_not_to_be_used_is_told_once_and_when_it_is_over(self) -> None:
        wrong = OURS.answer(OTHER)
        self.asked.at_once = wrong
        self.begin()
        for _ in range(3):
            self.asks_after()
        self.assertEqual(self.staple(), b"")
        why = "the response is about another certificate"
        self.assertEqual(self.status(), ShownStaple("failed", None, why))
        self.assertEqual(self.results(), {"invalid": 4})
        self.asked.at_once = OURS.answer(LEAF)
        self.asks_after()
        self.assertEqual(
            self.lines,
            [
                ("warn", f"OCSP response for a.example cannot be used: {why}"),
                ("info", "OCSP response for a.example is valid again"),
            ],
        )
        self.assertEqual((self.status().status, self.status().detail), ("good", ""))
        self.asked.at_once = wrong
        self.asks_after(60.0)
        self.assertEqual(self.lines[2:], self.lines[:1])

    def test_a_failure_leaves_the_good_one_that_is_there(self) -> None:
        """Whatever it is: none, garbage, one that has expired, or a responder that has forgotten."""
        for answer in (DOWN, b"garbage", OURS.answer(LEAF, end=-HOUR / 2), OURS.answer(LEAF, UNKNOWN)):
            self.begin()
            good = OURS.answer(LEAF)
            self.asked.answer(good)
            self.asks_after()
            self.asked.answer(answer)
            self.assertEqual((self.staple(), self.status().status), (good, "good"))
            self.assertNotEqual(self.status().detail, "")
            self.stapling.stop()
            self.setUp()

    def test_unknown_is_a_failure(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF, UNKNOWN))
        self.assertEqual((self.staple(), self.status().status), (b"", "failed"))
        self.assertEqual(self.results(), {"unknown": 1})
        self.assertEqual(self.asks_after(), FIRST_RETRY / 2)


class RevokedTests(StaplingCase):
    def test_it_is_told_loudly_and_once_and_the_good_one_is_dropped(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF))
        self.asks_after()
        self.asked.at_once = OURS.answer(LEAF, REVOKED, end=24 * HOUR)
        self.asked.answer(self.asked.at_once)
        self.assertEqual((self.staple(), self.status().status), (b"", "revoked"))
        self.assertIn("keyCompromise", self.status().detail)
        self.asks_after()
        [(level, line)] = self.lines
        self.assertEqual(level, "critical")
        self.assertIn("CERTIFICATE a.example IS REVOKED, replace it: revoked on", line)
        self.assertEqual(self.results(), {"good": 1, "revoked": 2})

    def test_it_stays_revoked_while_nobody_says_otherwise(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF, REVOKED, end=HOUR))
        self.asked.at_once = DOWN
        self.clock.pump([600.0] * 12)
        self.assertEqual(self.status().status, "revoked")

    def test_a_hold_can_be_lifted(self) -> None:
        """CertificateHold is the one revocation that is not for ever (RFC 5280, 5.3.1)."""
        self.begin()
        self.asked.answer(OURS.answer(LEAF, REVOKED))
        self.asks_after()
        good = OURS.answer(LEAF, start=HOUR)
        self.asked.answer(good)
        self.assertEqual((self.staple(), self.status().status), (good, "good"))
        self.assertEqual(self.lines[1:], [("info", "certificate a.example is no longer revoked")])
