"""Asking an authority when to renew: how often, and what its answer may change."""

from __future__ import annotations

import datetime as dt
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.acme import ari
from smartproxy.acme.advice import MAX_QUESTIONS, RenewalAdvice
from smartproxy.acme.ari import DEFAULT_INTERVAL, RenewalInfo, RenewalWindow
from smartproxy.acme.managed import ManagedCertificate
from smartproxy.errors import AcmeError
from smartproxy.model.plan import AcmePlan
from smartproxy.tls.certificate import Certificate
from tests.acme.service_case import URL
from tests.tls.made import NOW, Authority

CA = Authority()
BEGAN = NOW.timestamp()
DAY = 86400.0


class Client:
    """Stands for a registration and the client that it gives."""

    def __init__(self) -> None:
        self.questions: list[Deferred[RenewalInfo | None]] = []
        self.cancelled = 0

    async def client(self) -> Client:
        return self

    async def renewal_info(self, _identifier: str) -> RenewalInfo | None:
        question: Deferred[RenewalInfo | None] = Deferred(self._cancel)
        self.questions.append(question)
        return await question

    def _cancel(self, _question: object) -> None:
        self.cancelled += 1


class AdviceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client: Any = Client()
        self.advice = RenewalAdvice(self.client, lambda: BEGAN, lambda: 0.5)
        self.patch(ari, "certificate_id", lambda _: "identifier")

    def managed(self) -> ManagedCertificate:
        """A certificate of 90 days that begins now."""
        leaf = CA.leaf("a.example", end=dt.timedelta(days=90))
        managed = ManagedCertificate(("a.example",))
        managed.adopt(Certificate(leaf.plan("acme")), AcmePlan(URL, "store"), 0.0)
        return managed

    def ask(self, managed: ManagedCertificate) -> None:
        assert managed.certificate is not None
        self.advice.ask(managed, managed.certificate)

    def answer(self, start: float, end: float) -> None:
        self.client.questions.pop(0).callback(RenewalInfo(RenewalWindow(BEGAN + start, BEGAN + end), 3600.0))

    def test_window_of_the_authority_decides(self) -> None:
        managed = self.managed()
        self.ask(managed)
        self.answer(2 * DAY, 4 * DAY)
        self.assertEqual((managed.due, managed.renewal_info_due), (BEGAN + 3 * DAY, BEGAN + 3600))
        self.assertEqual(managed.status().next_try, managed.due, "it is shown at once")

    def test_only_a_few_are_asked_about_at_once(self) -> None:
        """A proxy with 10,000 certificates would open 10,000 connections at its start."""
        all_ = [self.managed() for _ in range(MAX_QUESTIONS + 2)]
        for managed in all_:
            self.ask(managed)
        self.assertEqual(len(self.client.questions), MAX_QUESTIONS)
        self.assertEqual(all_[-1].renewal_info_due, 0.0, "it is asked about at the next sweep")
        self.answer(2 * DAY, 4 * DAY)
        self.client.questions.pop().errback(AcmeError("down"))
        for managed in all_[-2:]:
            self.ask(managed)
        self.assertEqual(len(self.client.questions), MAX_QUESTIONS)

    def test_answer_does_not_end_a_back_off(self) -> None:
        """The directory may have named a time in Retry-After, and a window in the past means now."""
        managed = self.managed()
        self.ask(managed)
        managed.fail("too many", BEGAN, 0.0, retry_after=DAY)
        self.answer(-2 * DAY, -1 * DAY)
        self.assertEqual(managed.due, BEGAN + DAY)

    def test_window_after_the_expiry_is_not_waited_for(self) -> None:
        managed = self.managed()
        due = managed.due
        self.ask(managed)
        self.answer(300 * DAY, 400 * DAY)
        self.assertEqual(managed.due, due)

    def test_nothing_is_asked_any_more_when_it_is_stopped(self) -> None:
        """Another directory takes its place, or the proxy stops: its answer would undo what was decided since."""
        managed = self.managed()
        self.ask(managed)
        self.assertEqual(managed.renewal_info_due, BEGAN + DEFAULT_INTERVAL)
        self.advice.stop()
        self.assertEqual((self.client.cancelled, managed.renewal_info_due), (1, 0.0))
