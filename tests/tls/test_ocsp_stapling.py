"""When OCSP requests are sent, and which responses are kept for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.x509 import ocsp

from smartproxy.model.certificate_status import ShownStaple
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.ocsp.stapling import (
    FIRST_RETRY,
    JITTER,
    MAX_CONCURRENT,
    MAX_NEW,
    MAX_REFRESH,
    MIN_REFRESH,
    SWEEP_INTERVAL,
    WAIT_FOR_OTHERS,
    Stapling,
)
from tests.tls.made import DAY, Leaf
from tests.tls.responders import HOUR, REVOKED, URL
from tests.tls.stapling_case import CA, DOWN, EPOCH, LEAF, OTHER, OURS, StaplingCase

if TYPE_CHECKING:
    from smartproxy.model.plan import CertificatePlan


class RequestTests(StaplingCase):
    def test_response_is_requested_at_start_and_stapled_as_it_is(self) -> None:
        self.begin()
        [(url, question)] = self.asked.questions
        self.assertEqual(url, URL)
        serial = ocsp.load_der_ocsp_request(question).serial_number
        self.assertEqual(serial, LEAF.certificate.serial_number)
        self.assertEqual((self.staple(), self.status().status), (b"", "none"))
        der = OURS.answer(LEAF)
        self.asked.answer(der)
        self.assertEqual(self.staple(), der)
        self.assertEqual(self.status(), ShownStaple("good", EPOCH + 7 * 3600.0))
        self.assertEqual((self.results(), self.lines), ({"good": 1}, []))

    def test_no_second_request_while_one_is_under_way(self) -> None:
        self.begin()
        self.clock.pump([SWEEP_INTERVAL] * 5)
        self.assertEqual(len(self.asked.questions), 1)

    def test_no_request_without_a_responder_or_the_issuer(self) -> None:
        plain, alone = CA.leaf("a.example"), Leaf(LEAF.certificate, LEAF.key)
        self.begin(plain, alone)
        self.assertEqual(self.asked.questions, [])
        for leaf, why in ((plain, "names no responder"), (alone, "issuer is not in the file")):
            self.assertIsNone(self.staples.source(Certificate(leaf.plan())))
            self.assertEqual(self.status(leaf).status, "none")
            self.assertIn(why, self.status(leaf).detail)

    def test_no_request_if_stapling_is_disabled(self) -> None:
        self.begin(ocsp_stapling=False)
        self.assertEqual(self.asked.questions, [])
        [shown] = self.store.statuses(self.stapling.status)
        self.assertEqual(shown.ocsp, ShownStaple("none", None, "tls.ocspStapling is false"))

    def test_concurrent_requests_to_one_responder_are_limited(self) -> None:
        leaves = [CA.leaf(f"{number}.example", ocsp=URL) for number in range(MAX_CONCURRENT + 2)]
        elsewhere = CA.leaf("elsewhere.example", ocsp="http://other.example/")
        self.begin(*leaves, elsewhere)
        urls = [url for url, _ in self.asked.questions]
        self.assertEqual((urls.count(URL), len(urls)), (MAX_CONCURRENT, MAX_CONCURRENT + 1))
        self.asked.answer(DOWN, urls.index(URL))
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual(len(self.asked.questions), MAX_CONCURRENT + 2)

    def test_many_new_certificates_are_noted_in_several_sweeps(self) -> None:
        self.begin(*(CA.leaf(f"{number}.example", ocsp=f"{URL}{number}") for number in range(MAX_NEW + 1)))
        self.assertEqual(len(self.asked.questions), MAX_NEW)
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual(len(self.asked.questions), MAX_NEW + 1)

    def test_stop_cancels_requests_and_leaves_no_delayed_call(self) -> None:
        self.begin()
        self.stapling.stop()
        self.assertEqual((self.asked.cancelled, self.clock.getDelayedCalls()), (1, []))
        self.assertEqual((self.results(), self.lines), ({}, []))
        self.stapling.start()
        self.assertEqual(len(self.asked.questions), 2)


class RefreshTests(StaplingCase):
    def test_response_is_refreshed_after_half_of_its_validity(self) -> None:
        self.begin()
        first, second = OURS.answer(LEAF, end=8 * HOUR), OURS.answer(LEAF, start=4 * HOUR, end=16 * HOUR)
        self.asked.answer(first)
        self.assertEqual(self.asks_after(), 4 * 3600)
        self.assertEqual(self.staple(), first)
        self.asked.answer(second)
        self.assertEqual(self.staple(), second)
        self.assertEqual(self.asks_after(), 6 * 3600)

    def test_jitter_makes_a_refresh_earlier_and_never_later(self) -> None:
        self.luck = 1.0
        self.begin()
        self.asked.answer(OURS.answer(LEAF, end=10 * HOUR))
        self.assertEqual(self.asks_after(), 5 * 3600 * (1 - JITTER))

    def test_refresh_interval_is_at_least_a_minute_at_most_a_day(self) -> None:
        # Half of a minute and a half is less than a minute; half of 90 days is more than a day.
        for end, wait, step in (
            (HOUR / 40, MIN_REFRESH, SWEEP_INTERVAL),
            (90 * DAY, MAX_REFRESH, MIN_REFRESH),
        ):
            self.asked.at_once = OURS.answer(LEAF, end=end)
            self.begin()
            self.asked.at_once = None
            self.assertEqual(self.asks_after(step), wait)
            self.stapling.stop()
            self.setUp()

    def test_expired_response_is_dropped_and_that_is_logged_once(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF, end=HOUR))
        self.asked.at_once = DOWN
        self.clock.pump([60.0] * 59)
        self.assertEqual(self.status().status, "good")
        self.assertEqual(self.status().detail, f"{URL}: connection refused")
        self.assertTrue(self.staple())
        self.clock.advance(60.0)
        self.assertEqual((self.staple(), self.status().status), (b"", "failed"))
        self.clock.pump([60.0] * 600)
        self.assertEqual(
            self.lines,
            [
                ("warn", f"OCSP responder {URL} did not answer: connection refused"),
                ("warn", f"OCSP response for a.example dropped: {URL}: connection refused"),
            ],
        )
        self.asked.at_once = OURS.answer(LEAF, end=90 * DAY)
        self.asks_after(60.0)
        self.assertEqual(
            self.lines[2:],
            [
                ("info", f"OCSP responder {URL} answers again"),
                ("info", "OCSP response for a.example is valid again"),
            ],
        )
        self.asks_after(3600.0)
        self.assertEqual(len(self.lines), 4)

    def test_after_a_suspend_an_expired_response_is_not_stapled(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF, end=HOUR))
        self.slept = 3600.0
        self.assertEqual(self.staple(), b"")
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual(len(self.asked.questions), 2)

    def test_older_response_does_not_replace_a_newer_one(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF, REVOKED, start=-HOUR))
        self.asks_after()
        self.asked.answer(OURS.answer(LEAF, start=-2 * HOUR, end=24 * HOUR))
        self.assertEqual((self.staple(), self.status().status), (b"", "revoked"))


class ReplacedTests(StaplingCase):
    """Certificates that are renewed on disk, added and removed."""

    def renew(self, leaf: Leaf) -> CertificatePlan:
        plan = leaf.plan("0.pem")
        self.store.show(self.store.changed({self.plans[0]: plan}))
        return plan

    def test_renewed_certificate_does_not_get_the_former_response(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF))
        renewed = CA.leaf("a.example", ocsp=URL, end=60 * DAY)
        self.renew(renewed)
        self.assertEqual(self.staple(renewed), b"")
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual(len(self.asked.questions), 2)
        der = OURS.answer(renewed)
        self.asked.answer(der)
        self.assertEqual(self.staple(renewed), der)

    def test_issuer_that_is_added_to_the_chain_is_asked_about(self) -> None:
        """The certificate is the same one: its file had no chain, and is completed without a restart."""
        alone = Leaf(LEAF.certificate, LEAF.key)
        self.begin(alone)
        self.assertIn("issuer is not in the file", self.status(alone).detail)
        self.renew(LEAF)
        self.assertEqual(self.staple(), b"")
        self.clock.advance(SWEEP_INTERVAL)
        der = OURS.answer(LEAF)
        self.asked.answer(der)
        self.assertEqual((self.staple(), self.status().status), (der, "good"))

    def test_issuer_that_is_added_is_noticed_by_a_sweep(self) -> None:
        """Without a client in between: a context for the longer chain is made only when one connects."""
        self.begin(Leaf(LEAF.certificate, LEAF.key))
        self.renew(LEAF)
        self.clock.advance(SWEEP_INTERVAL)
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual(len(self.asked.questions), 1)

    def test_one_chain_of_two_with_the_issuer_is_enough(self) -> None:
        """Two routes show the same certificate, and the file of one has no chain."""
        self.begin(Leaf(LEAF.certificate, LEAF.key), LEAF)
        self.clock.pump([SWEEP_INTERVAL] * 5)
        self.assertEqual(len(self.asked.questions), 1)
        der = OURS.answer(LEAF)
        self.asked.answer(der)
        self.assertEqual(self.staple(), der)

    def test_request_for_a_replaced_certificate_is_cancelled(self) -> None:
        self.begin()
        renewed = CA.leaf("a.example", ocsp=URL, end=60 * DAY)
        self.renew(renewed)
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual((self.asked.cancelled, len(self.asked.waiting)), (1, 1))
        self.assertEqual((self.results(), self.lines), ({}, []))

    def test_response_is_kept_over_a_reload(self) -> None:
        self.begin(LEAF)
        der = OURS.answer(LEAF)
        self.asked.answer(der)
        self.follow(OTHER, LEAF)
        self.assertEqual(self.staple(), der)
        [_, (_, question)] = self.asked.questions
        serial = ocsp.load_der_ocsp_request(question).serial_number
        self.assertEqual(serial, OTHER.certificate.serial_number)

    def test_response_of_a_removed_certificate_is_dropped(self) -> None:
        self.begin()
        self.asked.answer(OURS.answer(LEAF))
        self.follow(OTHER)
        self.assertEqual(self.staple(), b"")

    def test_context_staples_nothing_after_stapling_is_disabled(self) -> None:
        self.begin()
        source = self.staples.source(Certificate(LEAF.plan()))
        assert source is not None
        self.asked.answer(OURS.answer(LEAF))
        self.assertTrue(source())
        self.follow(LEAF, ocsp_stapling=False)
        self.assertEqual(source(), b"")


class SeveralProcessesTests(StaplingCase):
    """One of several processes asks, and the others are told."""

    def setUp(self) -> None:
        super().setUp()
        self.told: list[tuple[str, object]] = []
        self.stapling.on_answered = lambda fingerprint, der: self.told.append((fingerprint, der))
        self.stapling.on_failed = lambda fingerprint, why: self.told.append((fingerprint, why))

    def wait_for_others(self) -> None:
        self.stapling = Stapling(
            self.staples,
            self.store,
            self.clock,
            self.counters,
            self.asked,
            lambda: self.luck,
            waits_for_others=True,
        )

    @property
    def fingerprint(self) -> str:
        return Certificate(LEAF.plan()).fingerprint

    def test_the_others_are_to_be_told_what_has_come_of_a_request(self) -> None:
        self.begin()
        self.asked.answer(DOWN)
        [(fingerprint, why)] = self.told
        self.assertEqual(fingerprint, self.fingerprint)
        self.assertIn("connection refused", str(why))
        self.asks_after()
        self.asked.answer(OURS.answer(OTHER))
        self.asks_after()
        der = OURS.answer(LEAF)
        self.asked.answer(der)
        self.assertEqual(len(self.told), 3)
        self.assertEqual(self.told[-1], (self.fingerprint, der))

    def test_one_that_waits_asks_if_it_is_not_told(self) -> None:
        self.wait_for_others()
        self.begin()
        self.clock.advance(WAIT_FOR_OTHERS[0] - SWEEP_INTERVAL)
        self.assertEqual(self.asked.questions, [])
        self.clock.advance(SWEEP_INTERVAL)
        self.assertEqual(len(self.asked.questions), 1)

    def test_one_that_is_told_staples_and_neither_asks_nor_counts(self) -> None:
        self.wait_for_others()
        self.begin()
        der = OURS.answer(LEAF)
        self.stapling.told(self.fingerprint, der)
        self.assertEqual((self.staple(), self.status().status), (der, "good"))
        self.assertGreater(self.asks_after(60.0), 3 * 3600.0)
        self.assertEqual((self.results(), self.lines), ({}, []))

    def test_being_told_ends_a_request_of_its_own(self) -> None:
        self.begin()
        self.stapling.told(self.fingerprint, OURS.answer(LEAF))
        self.assertEqual((self.asked.cancelled, self.status().status), (1, "good"))

    def test_one_that_is_told_of_a_failure_tries_later(self) -> None:
        self.wait_for_others()
        self.begin()
        self.stapling.told_failed(self.fingerprint, "it did not answer")
        self.assertEqual(self.status().detail, "it did not answer")
        self.assertEqual(self.asks_after(), WAIT_FOR_OTHERS[0] + FIRST_RETRY / 2)
        self.assertEqual(self.results(), {})

    def test_what_is_not_valid_here_changes_nothing(self) -> None:
        """The other process may have another certificate by now, or another clock."""
        self.begin()
        for fingerprint, der in ((self.fingerprint, OURS.answer(OTHER)), ("unknown", OURS.answer(LEAF))):
            self.stapling.told(fingerprint, der)
            self.stapling.told_failed("unknown", "why")
        self.assertEqual((self.staple(), self.asked.cancelled), (b"", 0))

    def test_a_response_that_is_there_from_the_beginning_is_not_asked_for(self) -> None:
        """A worker that is started later has it from the process that it was forked from."""
        self.follow(LEAF)
        self.staples.state(Certificate(LEAF.plan()))
        self.staples.take(self.fingerprint, OURS.answer(LEAF))
        self.stapling.start()
        self.addCleanup(self.stapling.stop)
        self.assertGreater(self.asks_after(60.0), 3 * 3600.0)
