"""Failing responders and revoked certificates: what is stapled and logged then, and when requests are retried."""

from __future__ import annotations

from smartproxy.model.certificate_status import ShownStaple
from smartproxy.tls.ocsp.stapling import FIRST_RETRY, MAX_RETRY, SWEEP_INTERVAL
from tests.tls.responders import HOUR, REVOKED, UNKNOWN, URL
from tests.tls.stapling_case import CA, DOWN, LEAF, OTHER, OURS, StaplingCase


class FailureTests(StaplingCase):
    def test_retry_intervals_double_up_to_an_hour(self) -> None:
        self.luck = 1.0
        self.asked.at_once = DOWN
        self.begin()
        waits = [self.asks_after() for _ in range(10)]
        self.assertEqual(waits[:4], [FIRST_RETRY * factor for factor in (1, 2, 4, 8)])
        self.assertEqual(waits[-2:], [MAX_RETRY, MAX_RETRY])
        self.assertEqual(self.results(), {"unanswered": 11})

    def test_half_of_a_retry_interval_is_random(self) -> None:
        self.asked.at_once = DOWN
        self.begin()
        self.assertEqual(self.asks_after(), FIRST_RETRY / 2)

    def test_first_interval_applies_again_after_a_response(self) -> None:
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

    def test_responder_that_is_down_is_logged_once(self) -> None:
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

    def test_unusable_response_is_logged_once_and_so_is_its_end(self) -> None:
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

    def test_failure_keeps_the_good_response(self) -> None:
        """Whether there is no response, or garbage, an expired one or the status *unknown*."""
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

    def test_status_unknown_is_a_failure(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF, UNKNOWN))
        self.assertEqual((self.staple(), self.status().status), (b"", "failed"))
        self.assertEqual(self.results(), {"unknown": 1})
        self.assertEqual(self.asks_after(), FIRST_RETRY / 2)


class RevokedTests(StaplingCase):
    def test_revocation_is_logged_once_and_replaces_the_response(self) -> None:
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

    def test_status_stays_revoked_after_the_response_expired(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF, REVOKED, end=HOUR))
        self.asked.at_once = DOWN
        self.clock.pump([600.0] * 12)
        self.assertEqual(self.status().status, "revoked")

    def test_good_response_ends_a_revocation(self) -> None:
        """certificateHold is the only revocation that can be lifted (RFC 5280, 5.3.1)."""
        self.begin()
        self.asked.answer(OURS.answer(LEAF, REVOKED))
        self.asks_after()
        good = OURS.answer(LEAF, start=HOUR)
        self.asked.answer(good)
        self.assertEqual((self.staple(), self.status().status), (good, "good"))
        self.assertEqual(self.lines[1:], [("info", "certificate a.example is no longer revoked")])
